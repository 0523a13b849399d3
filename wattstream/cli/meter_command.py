"""`wattstream meter`: who used a meter when, and what became of its energy."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import click

from wattstream.api.analytics.v1.analytics_pb2 import MeterStay, QueryMeterUseResponse
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import aligned, table, time, to_datetime, to_json
from wattstream.cli.windows import time_zone_option, with_window
from wattstream.client import Client


@click.command("meter", epilog=EPILOG)
@click.argument("meter")
@with_window("24h")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="How many stays, the newest.")
@click.option(
    "--time-zone", metavar="NAME", default="UTC", show_default=True, callback=time_zone_option, help="By whose clock."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer, with all stays, as JSON.")
@with_client("analytics")
def command(  # noqa: PLR0913 - one an option
    client: Client,
    *,
    meter: str,
    start: datetime | None,
    end: datetime | None,
    limit: int,
    time_zone: str,
    as_json: bool,
) -> None:
    """Show what became of a meter's energy, and which vehicles stayed at it; at most 31 days."""
    answer = client.meter_use(meter, start, end)
    if as_json:
        click.echo(to_json(answer))
        return
    click.echo(aligned(_rows(meter, answer)))
    shown = list(answer.stays)[len(answer.stays) - limit :] if limit < len(answer.stays) else list(answer.stays)
    if shown:
        zone = ZoneInfo(time_zone)
        names = (f"vehicle, {zone}", "from", "to", "alone", "shared", "AC kWh", "DC kWh", "DC/AC")
        click.echo("\n" + table(names, (_stay(one, zone) for one in shown)))


def _rows(meter: str, answer: QueryMeterUseResponse) -> Iterator[tuple[str, str]]:
    whole = answer.kwh_consumed_ac

    def share(kwh: float) -> str:
        return f"{kwh:.4f} kWh" + (f" ({kwh / whole:.1%})" if whole else "")

    yield "meter", meter
    yield "window", f"{time(answer.window.start)} to {time(answer.window.end)}"
    yield "AC at the meter", f"{whole:.4f} kWh in {answer.minutes} minutes with readings"
    yield "of one vehicle", share(answer.kwh_exclusive)
    yield "of several at once", share(answer.kwh_shared)
    yield "unexplained", share(answer.kwh_unexplained)
    yield "without meter data", f"{answer.minutes_without_meter_data} minutes in which vehicles report"
    more = ", and older ones" if answer.stays_truncated else ""
    yield "stays", f"{len(answer.stays)}{more}"


def _stay(stay: MeterStay, zone: ZoneInfo) -> list[str]:
    start, end = (to_datetime(stamp).astimezone(zone) for stamp in (stay.start, stay.end))
    same_day = start.date() == end.date()
    return [
        stay.vehicle_id,
        f"{start:%Y-%m-%d %H:%M}",
        f"{end:%H:%M}" if same_day else f"{end:%Y-%m-%d %H:%M}",
        f"{stay.minutes - stay.minutes_shared} min",
        f"{stay.minutes_shared} min",
        f"{stay.kwh_consumed_ac:.4f}",
        f"{stay.kwh_delivered_dc:.4f}",
        f"{stay.kwh_delivered_dc / stay.kwh_consumed_ac:.1%}" if stay.kwh_consumed_ac else "-",
    ]
