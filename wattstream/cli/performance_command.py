"""`wattstream performance`: what a vehicle consumed, delivered and lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from wattstream.api.analytics.v1.analytics_pb2 import Correlation, VehiclePerformance
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import aligned, time, to_json
from wattstream.cli.times import duration_option, time_option
from wattstream.client import Client

_CORRELATIONS = {
    "exclusive": Correlation.CORRELATION_EXCLUSIVE_MINUTES,
    "assigned": Correlation.CORRELATION_ASSIGNED_METER,
}


@click.command("performance", epilog=EPILOG)
@click.argument("vehicle")
@click.option("--last", type=duration_option, metavar="DURATION", help="Window up to now, such as 24h.  [default: 24h]")
@click.option("--start", type=time_option, metavar="TIME", help="First instant of the window.")
@click.option("--end", type=time_option, metavar="TIME", help="First instant after the window.  [default: now]")
@click.option(
    "--correlation",
    type=click.Choice(list(_CORRELATIONS)),
    default="exclusive",
    show_default=True,
    help="Count the minutes in which the vehicle was alone behind its meter, or all of the assigned meter's energy.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@with_client("analytics")
def command(  # noqa: PLR0913, PLR0917 - one an option
    client: Client,
    vehicle: str,
    last: timedelta | None,
    start: datetime | None,
    end: datetime | None,
    correlation: str,
    as_json: bool,
) -> None:
    """Show the AC energy at the meter, the DC energy in the battery and what was lost between them.

    Times are ISO-8601 with Z or an offset, such as 2026-02-10T14:47Z; both ends are floored to whole UTC minutes.
    """
    if last is not None:
        if start is not None:
            raise click.UsageError("give --last or --start, not both")
        end = end or datetime.now(UTC)
        start = end - last
    answer = client.performance(vehicle, start, end, _CORRELATIONS[correlation])
    click.echo(to_json(answer) if as_json else aligned(_rows(answer)))


def _rows(answer: VehiclePerformance) -> Iterator[tuple[str, str]]:
    assigned = answer.correlation == Correlation.CORRELATION_ASSIGNED_METER
    yield "vehicle", answer.vehicle_id
    yield "window", f"{time(answer.window.start)} to {time(answer.window.end)}"
    yield "correlation", "assigned meter" if assigned else "exclusive minutes"
    yield "AC at the meter", f"{answer.kwh_consumed_ac:.4f} kWh ({', '.join(answer.meter_ids) or 'no meter'})"
    yield "DC in the battery", f"{answer.kwh_delivered_dc:.4f} kWh"
    yield "lost", f"{answer.kwh_lost:.4f} kWh"
    yield "efficiency", f"{answer.efficiency:.2%}" if answer.HasField("efficiency") else "none: no AC energy"
    if answer.HasField("mean_soc"):
        yield "mean SoC", f"{answer.mean_soc:.2f} %"
    if answer.HasField("mean_battery_temp"):
        yield "mean battery temperature", f"{answer.mean_battery_temp:.2f} °C"
    yield "readings", f"{answer.readings_kept} of {answer.readings} kept, {answer.readings_without_meter} without meter"
    if assigned:
        yield "minutes", f"{answer.minutes_kept} with a reading of the assigned meter"
    else:
        yield (
            "minutes",
            f"{answer.minutes_kept} kept, {answer.minutes_shared} shared with another vehicle, "
            f"{answer.minutes_without_meter_data} without meter data",
        )
