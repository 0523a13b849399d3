"""What a report is about: the messages that a picture is made of, gathered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyAlert
from wattstream.api.analytics.v1.analytics_pb2 import (
    GetFleetSummaryResponse,
    QueryPerformanceSeriesResponse,
    VehicleOrder,
    VehiclePerformance,
)
from wattstream.report.clock import instant


@dataclass(frozen=True)
class VehicleReport:
    """One vehicle over one window.

    Attributes:
        vehicle_id: the vehicle.
        series: its buckets.
        meter_ids: the meters that the AC energy comes from, where they are known.
        alerts: of the vehicle, alone or at a meter, that touch the window.
        threshold: efficiency below which the fleet's rule finds a drop.
        paired: how readings were paired, for people.
    """

    vehicle_id: str
    series: QueryPerformanceSeriesResponse
    meter_ids: Sequence[str]
    alerts: Sequence[EfficiencyAlert]
    threshold: float
    paired: str


@dataclass(frozen=True)
class FleetReport:
    """The whole fleet over one window.

    Attributes:
        summary: totals, histogram, data quality.
        series: the fleet's buckets.
        ranking: the first vehicles by `order`.
        order: by what they are ranked.
        alerts: the open ones, the newest first; not all where `alerts_truncated`.
        alerts_truncated: there are more.
        threshold: efficiency below which the fleet's rule finds a drop.
    """

    summary: GetFleetSummaryResponse
    series: QueryPerformanceSeriesResponse
    ranking: Sequence[VehiclePerformance]
    order: "VehicleOrder.ValueType"
    alerts: Sequence[EfficiencyAlert]
    alerts_truncated: bool
    threshold: float


def zone_of(series: QueryPerformanceSeriesResponse) -> ZoneInfo:
    """Return the time zone by whose clock a series is cut."""
    return ZoneInfo(series.time_zone or "UTC")


def window_of(series: QueryPerformanceSeriesResponse) -> tuple[datetime, datetime]:
    """Return the window of a series."""
    return instant(series.window.start), instant(series.window.end)
