"""Between messages and questions: series, and the use of meters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from analytics_service import buckets, translate
from analytics_service.buckets import Granularity
from analytics_service.meter_use import MOST_STAYS
from analytics_service.performance import Correlation, Performance
from analytics_service.windows import Window
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.errors import bad_field

_GRANULARITIES = {
    pb.GRANULARITY_MINUTE: Granularity.MINUTE,
    pb.GRANULARITY_5_MINUTES: Granularity.MINUTES_5,
    pb.GRANULARITY_15_MINUTES: Granularity.MINUTES_15,
    pb.GRANULARITY_HOUR: Granularity.HOUR,
    pb.GRANULARITY_DAY: Granularity.DAY,
}
_MESSAGE_GRANULARITIES = {granularity: number for number, granularity in _GRANULARITIES.items()}
_KEPT = ("kwh_consumed_ac", "kwh_delivered_dc", "kwh_lost", "efficiency")
_ALWAYS = (
    "mean_soc",
    "mean_battery_temp",
    "readings_kept",
    "readings",
    "readings_without_meter",
    "minutes_kept",
    "minutes_shared",
    "minutes_without_meter_data",
)
_TOTALS = (
    "kwh_consumed_ac",
    "kwh_exclusive",
    "kwh_shared",
    "kwh_unexplained",
    "minutes",
    "minutes_without_meter_data",
)


@dataclass(frozen=True)
class Series:
    """Whose series (None: the fleet's), when, and how it is cut."""

    vehicle_id: str | None
    window: Window
    correlation: Correlation
    granularity: Granularity
    finest: Granularity
    zone: ZoneInfo


def to_series(request: pb.QueryPerformanceSeriesRequest, now: datetime, longest: timedelta) -> Series:
    """Return what a request asks for at `now`.

    Raises:
        InvalidRequestError: a field cannot be used, or not for the fleet.
    """
    correlation = translate.to_correlation(request.correlation)
    in_zone = buckets.zone(request.time_zone)
    if request.vehicle_id:
        vehicle_id = translate.to_device_id("vehicle_id", request.vehicle_id)
        window, finest = translate.to_window(request.window, now, longest), Granularity.MINUTE
    else:
        vehicle_id, finest = None, Granularity.HOUR
        window = translate.to_window_of_hours(request.window, now, longest)
        if correlation is not Correlation.EXCLUSIVE_MINUTES:
            raise bad_field("correlation", "must be CORRELATION_EXCLUSIVE_MINUTES for the fleet")
    if window.end.year == MAXYEAR:
        raise bad_field("window.end", f"must be before the year {MAXYEAR} for a series")
    if request.granularity == pb.GRANULARITY_UNSPECIFIED:
        granularity = buckets.choose(window, in_zone, finest)
    elif request.granularity in _GRANULARITIES:
        granularity = _GRANULARITIES[request.granularity]
    else:
        known = ", ".join(pb.Granularity.keys())
        raise bad_field("granularity", f"must be one of {known}; got {request.granularity}")
    return Series(vehicle_id, window, correlation, granularity, finest, in_zone)


def to_series_message(
    asked: Series, cuts: Sequence[datetime], found: Sequence[Performance]
) -> pb.QueryPerformanceSeriesResponse:
    """Return the message for a series whose buckets begin at the window's start and at `cuts`."""
    starts, ends = [asked.window.start, *cuts], [*cuts, asked.window.end]
    return pb.QueryPerformanceSeriesResponse(
        buckets=[_to_bucket(*bucket) for bucket in zip(starts, ends, found, strict=True)],
        window=translate.to_window_message(asked.window),
        granularity=_MESSAGE_GRANULARITIES[asked.granularity],
        time_zone=asked.zone.key,
    )


def to_meter_use_message(window: Window, rows: Sequence[Mapping[str, Any]]) -> pb.QueryMeterUseResponse:
    """Return the message for the rows of meter_use.sql."""
    stays = [row for row in rows if row["vehicle_id"] is not None]
    return pb.QueryMeterUseResponse(
        window=translate.to_window_message(window),
        **{name: rows[0][name] for name in _TOTALS},
        stays=[_to_stay(row) for row in reversed(stays[:MOST_STAYS])],
        stays_truncated=len(stays) > MOST_STAYS,
    )


def _to_bucket(start: datetime, end: datetime, performance: Performance) -> pb.PerformanceBucket:
    names = _ALWAYS if performance.is_empty else _KEPT + _ALWAYS
    return pb.PerformanceBucket(
        start=translate.to_timestamp(start),
        end=translate.to_timestamp(end),
        **{name: getattr(performance, name) for name in names},
    )


def _to_stay(row: Mapping[str, Any]) -> pb.MeterStay:
    return pb.MeterStay(
        vehicle_id=row["vehicle_id"],
        start=translate.to_timestamp(row["start"]),
        end=translate.to_timestamp(row["until"]),
        minutes=row["stay_minutes"],
        minutes_shared=row["minutes_shared"],
        kwh_consumed_ac=row["stay_kwh_consumed_ac"],
        kwh_delivered_dc=row["kwh_delivered_dc"],
        kwh_reported_dc=row["kwh_reported_dc"],
        mean_soc=row["mean_soc"],
    )
