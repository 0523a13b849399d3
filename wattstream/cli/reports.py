"""What reports are made of, asked of the services; and a series as a table."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from wattstream.api.analytics.v1.alerts_pb2 import AlertFilter, AlertState, EfficiencyAlert
from wattstream.api.analytics.v1.analytics_pb2 import (
    Correlation,
    GetFleetSummaryResponse,
    PerformanceBucket,
    QueryPerformanceSeriesResponse,
    VehicleOrder,
    VehiclePerformance,
)
from wattstream.cli.output import to_datetime
from wattstream.client import Client
from wattstream.report.content import FleetReport, VehicleReport, zone_of

_MOST_ALERTS = 100


def vehicle_report(
    client: Client, series: QueryPerformanceSeriesResponse, performance: VehiclePerformance
) -> VehicleReport:
    """Return a report about a vehicle, with the alerts that touch the window; those withdrawn are no drops."""
    since, until = to_datetime(series.window.start), to_datetime(series.window.end)
    found = client.alerts(AlertFilter(vehicle_id=performance.vehicle_id), since=since, until=until)
    assigned = performance.correlation == Correlation.CORRELATION_ASSIGNED_METER
    return VehicleReport(
        vehicle_id=performance.vehicle_id,
        series=series,
        meter_ids=list(performance.meter_ids),
        alerts=_first(one for one in found if one.state != AlertState.ALERT_STATE_WITHDRAWN)[0],
        threshold=threshold(client),
        paired="all of the assigned meter" if assigned else "exclusive minutes",
    )


def fleet_report(
    client: Client,
    summary: GetFleetSummaryResponse,
    ranking: Sequence[VehiclePerformance],
    order: "VehicleOrder.ValueType",
    time_zone: str,
) -> FleetReport:
    """Return a report about the fleet over the window of a summary, with the alerts that are open now."""
    start, end = to_datetime(summary.window.start), to_datetime(summary.window.end)
    alerts, more = open_alerts(client)
    return FleetReport(
        summary=summary,
        series=client.series("", start, end, time_zone=time_zone),
        ranking=ranking,
        order=order,
        alerts=alerts,
        alerts_truncated=more,
        threshold=threshold(client),
    )


def open_alerts(client: Client) -> tuple[list[EfficiencyAlert], bool]:
    """Return the newest open alerts, and whether there are more."""
    return _first(client.alerts(AlertFilter(state=AlertState.ALERT_STATE_OPEN)))


def threshold(client: Client) -> float:
    """Return the threshold of the fleet's rule."""
    return next(rule.threshold for rule in client.rules() if not rule.meter_id)


def bucket_table(series: QueryPerformanceSeriesResponse) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """Return a series as a table: the names of the columns, and a row a bucket; - is no data."""
    zone = zone_of(series)
    names = (f"from, {zone}", "AC kWh", "DC kWh", "lost", "DC/AC", "SoC %", "°C", "kept", "left out")
    return names, (_row(one, to_datetime(one.start).astimezone(zone)) for one in series.buckets)


def _row(bucket: PerformanceBucket, start: datetime) -> list[str]:
    kept = bucket.HasField("kwh_consumed_ac")
    return [
        f"{start:%Y-%m-%d %H:%M}",
        f"{bucket.kwh_consumed_ac:.4f}" if kept else "-",
        f"{bucket.kwh_delivered_dc:.4f}" if kept else "-",
        f"{bucket.kwh_lost:.4f}" if kept else "-",
        f"{bucket.efficiency:.1%}" if bucket.HasField("efficiency") else "-",
        f"{bucket.mean_soc:.1f}" if bucket.HasField("mean_soc") else "-",
        f"{bucket.mean_battery_temp:.1f}" if bucket.HasField("mean_battery_temp") else "-",
        f"{bucket.minutes_kept}",
        f"{bucket.minutes_shared + bucket.minutes_without_meter_data}",
    ]


def _first(alerts: Iterator[EfficiencyAlert]) -> tuple[list[EfficiencyAlert], bool]:
    found = list(islice(alerts, _MOST_ALERTS + 1))
    return found[:_MOST_ALERTS], len(found) > _MOST_ALERTS
