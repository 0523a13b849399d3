"""`wattstream rules`: when a drop of efficiency is worth an alert."""

from collections.abc import Sequence

import click

from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyRule
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import table, to_json
from wattstream.client import Client

_NAMES = ("for", "threshold", "closes at", "least minutes", "window")


@click.command("rules", epilog=EPILOG)
@click.option("--meter", default="", metavar="ID", help="Of this meter.  [default: the fleet's]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="An alert opens below this efficiency, such as 0.85.")
@click.option("--hysteresis", type=click.FloatRange(0, 0.5), help="It closes so much above the threshold.")
@click.option("--minutes", type=click.IntRange(1, 10_080), help="Kept minutes that the window must have.")
@click.option("--hours", type=click.IntRange(1, 168), help="Length of the sliding window.")
@click.option("--delete", is_flag=True, help="Delete the rule of the meter, which has the fleet's from then on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one a rule.")
@with_client("analytics")
def command(  # noqa: PLR0913 - one an option
    client: Client,
    *,
    meter: str,
    threshold: float | None,
    hysteresis: float | None,
    minutes: int | None,
    hours: int | None,
    delete: bool,
    as_json: bool,
) -> None:
    """Show the rules, or set those of the fleet or of a meter.

    What is not given stays as it is; a meter that had no rule of its own begins with the fleet's.
    """
    given = {"threshold": threshold, "hysteresis": hysteresis, "least_minutes": minutes, "window_hours": hours}
    changes = {name: value for name, value in given.items() if value is not None}
    if delete and (changes or not meter):
        raise click.UsageError("--delete needs --meter, and nothing to set")
    rules = client.rules()
    if delete:
        client.delete_rule(meter)
        rules = client.rules()
    elif changes:
        rules = [client.set_rule(_changed(rules, meter, changes))]
    elif meter:
        rules = [_rule(rules, meter)]
    click.echo("\n".join(to_json(one, indent=None) for one in rules) if as_json else table(_NAMES, map(_row, rules)))


def _rule(rules: Sequence[EfficiencyRule], meter: str) -> EfficiencyRule:
    """Return the rule that is in force for a meter, or for the fleet."""
    by_meter = {rule.meter_id: rule for rule in rules}
    return by_meter.get(meter) or by_meter[""]


def _changed(rules: Sequence[EfficiencyRule], meter: str, changes: dict[str, float | int]) -> EfficiencyRule:
    rule = EfficiencyRule()
    rule.CopyFrom(_rule(rules, meter))
    rule.meter_id = meter
    for name, value in changes.items():
        setattr(rule, name, value)
    return rule


def _row(rule: EfficiencyRule) -> list[str]:
    return [
        f"meter {rule.meter_id}" if rule.meter_id else "the fleet",
        f"{rule.threshold:.1%}",
        f"{rule.threshold + rule.hysteresis:.1%}",
        f"{rule.least_minutes}",
        f"{rule.window_hours} h",
    ]
