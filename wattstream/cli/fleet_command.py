"""`wattstream fleet`: what the whole fleet consumed, got and lost."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

import click

from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyAlert
from wattstream.api.analytics.v1.analytics_pb2 import GetFleetSummaryResponse, VehicleOrder, VehiclePerformance
from wattstream.cli import pictures as drawing
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import aligned, table, time, to_datetime, to_json
from wattstream.cli.pictures import Pictures, with_pictures
from wattstream.cli.reports import fleet_report, open_alerts
from wattstream.cli.windows import time_zone_option, with_window
from wattstream.client import Client
from wattstream.report import words

_ORDERS = {
    "efficiency": VehicleOrder.VEHICLE_ORDER_EFFICIENCY,
    "lost": VehicleOrder.VEHICLE_ORDER_KWH_LOST,
    "ac": VehicleOrder.VEHICLE_ORDER_KWH_CONSUMED_AC,
    "dc": VehicleOrder.VEHICLE_ORDER_KWH_DELIVERED_DC,
}
_ALERTS = 10
_NAMES = ("vehicle", "efficiency", "AC kWh", "DC kWh", "lost kWh", "minutes kept")


@click.command("fleet", epilog=EPILOG)
@with_window("the newest 24 whole hours")
@click.option(
    "--rank",
    type=click.Choice(list(_ORDERS)),
    default="efficiency",
    show_default=True,
    help="Which vehicles to show: the least efficient, or those that lose, consume or get most.",
)
@click.option("--limit", type=click.IntRange(0, 1000), default=10, show_default=True, help="How many vehicles.")
@click.option("--min-kwh", type=click.FloatRange(0), default=0.0, help="Leave out vehicles with less AC energy.")
@click.option(
    "--time-zone",
    metavar="NAME",
    default="UTC",
    show_default=True,
    callback=time_zone_option,
    help="By whose clock pictures are labelled, such as Europe/Zurich.",
)
@with_pictures
@click.option("--json", "as_json", is_flag=True, help="Print summary, vehicles and open alerts as one JSON object.")
@with_client("analytics")
def command(  # noqa: PLR0913 - one an option
    client: Client,
    *,
    start: datetime | None,
    end: datetime | None,
    rank: str,
    limit: int,
    min_kwh: float,
    time_zone: str,
    pictures: Pictures,
    as_json: bool,
) -> None:
    """Show what the fleet consumed, got and lost, its worst vehicles, the open alerts, and how good the data are.

    In whole UTC hours: both ends are floored. With --plot, --html or --png it becomes a picture.
    """
    summary = client.fleet_summary(start, end)
    since, until = to_datetime(summary.window.start), to_datetime(summary.window.end)
    order = _ORDERS[rank]
    vehicles = client.ranking(since, until, order_by=order, min_kwh_consumed_ac=min_kwh, page_size=max(1, limit))
    ranking = list(islice(vehicles, limit))
    if pictures:
        report = fleet_report(client, summary, ranking, order, time_zone)
        drawing.write(report, pictures)
        if pictures.plot:
            drawing.plot(report)
            return
    alerts, more = open_alerts(client)
    if as_json:
        click.echo(_as_json(summary, ranking, alerts))
    else:
        click.echo(_text(summary, ranking, alerts[:_ALERTS], words.ORDERS[order]))
        if more or len(alerts) > _ALERTS:
            click.echo("There are more: wattstream alerts --open")


def _as_json(
    summary: GetFleetSummaryResponse, ranking: Sequence[VehiclePerformance], alerts: Sequence[EfficiencyAlert]
) -> str:
    parts = {
        "summary": json.loads(to_json(summary)),
        "vehicles": [json.loads(to_json(one)) for one in ranking],
        "open_alerts": [json.loads(to_json(one)) for one in alerts],
    }
    return json.dumps(parts, indent=2)


def _text(
    summary: GetFleetSummaryResponse,
    ranking: Sequence[VehiclePerformance],
    alerts: Sequence[EfficiencyAlert],
    title: str,
) -> str:
    parts = [aligned(_rows(summary))]
    if ranking:
        parts.append(f"{title}:\n" + table(_NAMES, map(_vehicle, ranking)))
    about = [(f"alert {one.alert_id}", f"{words.subject(one)}: {words.drop(one)}") for one in alerts]
    parts.append(f"open alerts:\n{aligned(about)}" if alerts else "no open alerts")
    return "\n\n".join(parts)


def _rows(summary: GetFleetSummaryResponse) -> Iterator[tuple[str, str]]:
    yield "window", f"{time(summary.window.start)} to {time(summary.window.end)}"
    yield "AC at the meters", f"{summary.kwh_consumed_ac:.4f} kWh"
    yield "DC in the batteries", f"{summary.kwh_delivered_dc:.4f} kWh"
    yield "lost", f"{summary.kwh_lost:.4f} kWh"
    yield "efficiency", f"{summary.efficiency:.2%}" if summary.HasField("efficiency") else "none: no AC energy"
    yield "vehicles", f"{summary.vehicles_reporting} reporting, {summary.vehicles_silent} silent"
    yield "meters", f"{summary.meters_reporting} reporting, {summary.meters_silent} silent"
    yield from words.quality(summary)


def _vehicle(one: VehiclePerformance) -> list[str]:
    return [
        one.vehicle_id,
        f"{one.efficiency:.2%}" if one.HasField("efficiency") else "-",
        f"{one.kwh_consumed_ac:.4f}",
        f"{one.kwh_delivered_dc:.4f}",
        f"{one.kwh_lost:.4f}",
        f"{one.minutes_kept}",
    ]
