"""`wattstream acknowledge`: notes that somebody has seen an alert."""

from zoneinfo import ZoneInfo

import click

from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import to_json
from wattstream.cli.pictures import show
from wattstream.client import Client
from wattstream.report import lines


@click.command("acknowledge", epilog=EPILOG)
@click.argument("alert", type=click.IntRange(1))
@click.option("--by", default="", metavar="NAME", help="Who has seen it.")
@click.option("--note", default="", metavar="TEXT", help="What there is to note.")
@click.option("--json", "as_json", is_flag=True, help="Print the alert as JSON.")
@with_client("analytics")
def command(client: Client, *, alert: int, by: str, note: str, as_json: bool) -> None:
    """Note that somebody has seen an alert, which `wattstream alerts` shows by its number.

    Another time replaces who and what was noted.
    """
    answer = client.acknowledge(alert, by, note)
    if as_json:
        click.echo(to_json(answer))
    else:
        show(lines.alerts([answer], ZoneInfo("UTC")))
