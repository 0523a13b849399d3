"""`wattstream alerts`: sustained drops of efficiency, as they are or as they change."""

import sys
from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import click

from wattstream.api.analytics.v1.alerts_pb2 import AlertFilter, AlertState, EfficiencyAlert
from wattstream.cli.connection import EPILOG, describe, with_client
from wattstream.cli.output import to_json
from wattstream.cli.pictures import show
from wattstream.cli.times import time_option
from wattstream.cli.windows import time_zone_option
from wattstream.client import Client, Retry
from wattstream.report import lines


@click.command("alerts", epilog=EPILOG)
@click.option("--open", "only_open", is_flag=True, help="Leave out those that are over.")
@click.option("--unacknowledged", is_flag=True, help="Leave out those that somebody has acknowledged.")
@click.option("--vehicle", default="", metavar="ID", help="Only about this vehicle.")
@click.option("--meter", default="", metavar="ID", help="Only about this meter, or a vehicle at it.")
@click.option("--since", type=time_option, metavar="TIME", help="Leave out drops that ended at or before this time.")
@click.option("--until", type=time_option, metavar="TIME", help="Leave out drops that began at or after this time.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many, the newest first.")
@click.option("--watch", is_flag=True, help="Show the open ones, then every change, until Ctrl-C.")
@click.option(
    "--time-zone", metavar="NAME", default="UTC", show_default=True, callback=time_zone_option, help="By whose clock."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one an alert.")
@with_client("analytics")
def command(  # noqa: PLR0913 - one an option
    client: Client,
    *,
    only_open: bool,
    unacknowledged: bool,
    vehicle: str,
    meter: str,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    watch: bool,
    time_zone: str,
    as_json: bool,
) -> None:
    """Show alerts: who lost how much, since when, and who has seen it. `wattstream acknowledge` notes that."""
    if watch and (since or until):
        raise click.UsageError("--watch shows what is open and what changes: leave out --since and --until")
    state = AlertState.ALERT_STATE_OPEN if only_open else AlertState.ALERT_STATE_UNSPECIFIED
    chosen = AlertFilter(state=state, vehicle_id=vehicle, meter_id=meter, unacknowledged_only=unacknowledged)
    alerts: Iterable[EfficiencyAlert]
    if watch:
        retry = Retry(on_wait=lambda error, _: click.echo(describe(error), err=True))
        alerts = (one for response in client.watch_alerts(chosen, retry=retry) for one in response.alerts)
    else:
        alerts = islice(client.alerts(chosen, since=since, until=until, page_size=min(limit, 1000)), limit)
    none = True
    for alert in alerts:
        none = False
        if as_json:
            click.echo(to_json(alert, indent=None))
        else:
            show(lines.alerts([alert], ZoneInfo(time_zone)))
        sys.stdout.flush()
    if none and not as_json:
        click.echo("No alerts.")
