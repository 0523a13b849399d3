"""`wattstream performance`: what a vehicle consumed, delivered and lost."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click

from wattstream.api.analytics.v1.analytics_pb2 import (
    Correlation,
    Granularity,
    QueryPerformanceSeriesResponse,
    VehiclePerformance,
)
from wattstream.cli import pictures as drawing
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import aligned, table, time, to_datetime, to_json
from wattstream.cli.pictures import Pictures, with_pictures
from wattstream.cli.reports import bucket_table, vehicle_report
from wattstream.cli.windows import earlier, time_zone_option, with_window
from wattstream.client import Client, ServiceError

_CORRELATIONS = {
    "exclusive": Correlation.CORRELATION_EXCLUSIVE_MINUTES,
    "assigned": Correlation.CORRELATION_ASSIGNED_METER,
}
_GRANULARITIES = {
    "minute": Granularity.GRANULARITY_MINUTE,
    "5min": Granularity.GRANULARITY_5_MINUTES,
    "15min": Granularity.GRANULARITY_15_MINUTES,
    "hour": Granularity.GRANULARITY_HOUR,
    "day": Granularity.GRANULARITY_DAY,
}
_BY_DEFAULT = timedelta(hours=24)


@click.command("performance", epilog=EPILOG)
@click.argument("vehicle")
@with_window("24h")
@click.option(
    "--correlation",
    type=click.Choice(list(_CORRELATIONS)),
    default="exclusive",
    show_default=True,
    help="Count the minutes in which the vehicle was alone behind its meter, or all of the assigned meter's energy.",
)
@click.option(
    "--granularity",
    type=click.Choice(list(_GRANULARITIES)),
    help="Print the window in buckets so long; of a picture, how long its buckets are.  [default: what fits]",
)
@click.option(
    "--time-zone",
    metavar="NAME",
    default="UTC",
    show_default=True,
    callback=time_zone_option,
    help="By whose clock buckets begin and pictures are labelled, such as Europe/Zurich.",
)
@with_pictures
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@with_client("analytics")
def command(  # noqa: PLR0913 - one an option
    client: Client,
    *,
    vehicle: str,
    start: datetime | None,
    end: datetime | None,
    correlation: str,
    granularity: str | None,
    time_zone: str,
    pictures: Pictures,
    as_json: bool,
) -> None:
    """Show the AC energy at the meter, the DC energy in the battery and what was lost between them.

    Times are ISO-8601 with Z or an offset, such as 2026-02-10T14:47Z; both ends are floored to whole UTC minutes.

    With --plot, --html or --png it becomes a picture: power or energy with what is lost, efficiency with the threshold
    of the alerts, state of charge, battery temperature, and alerts.
    """
    pairing = _CORRELATIONS[correlation]
    if not pictures and granularity is None:
        answer = client.performance(vehicle, start, end, pairing)
        click.echo(to_json(answer) if as_json else aligned(_rows(answer)))
        return
    end = end or datetime.now(UTC)  # one window for all that is asked
    start = start or earlier(end, _BY_DEFAULT)
    buckets = Granularity.GRANULARITY_UNSPECIFIED if granularity is None else _GRANULARITIES[granularity]
    series = client.series(vehicle, start, end, correlation=pairing, granularity=buckets, time_zone=time_zone)
    answer, missing = _performance(client, vehicle, series, pairing)
    if pictures:
        report = vehicle_report(client, series, answer)
        drawing.write(report, pictures)
        if pictures.plot:
            drawing.plot(report)
    if missing is not None:
        raise missing
    if granularity is not None and not pictures:
        click.echo(to_json(series) if as_json else table(*bucket_table(series)))
    elif not pictures.plot:
        click.echo(to_json(answer) if as_json else aligned(_rows(answer)))


def _performance(
    client: Client,
    vehicle: str,
    series: QueryPerformanceSeriesResponse,
    pairing: "Correlation.ValueType",
) -> tuple[VehiclePerformance, ServiceError | None]:
    """Return the performance over a series, or the error that says that nothing is kept."""
    window = series.window
    try:
        return client.performance(vehicle, to_datetime(window.start), to_datetime(window.end), pairing), None
    except ServiceError as error:
        if error.code != "NOT_FOUND":
            raise
        return VehiclePerformance(vehicle_id=vehicle, correlation=pairing), error


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
