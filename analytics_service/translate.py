"""Between the messages of the contract and the questions of this service; what cannot be used is refused here."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from analytics_service import windows
from analytics_service.performance import Correlation, Performance
from analytics_service.windows import Window
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.errors import NotFoundError, bad_field
from wattstream.ids import ID_RULE, is_id

_CORRELATIONS = {
    pb.CORRELATION_UNSPECIFIED: Correlation.EXCLUSIVE_MINUTES,
    pb.CORRELATION_EXCLUSIVE_MINUTES: Correlation.EXCLUSIVE_MINUTES,
    pb.CORRELATION_ASSIGNED_METER: Correlation.ASSIGNED_METER,
}
_MESSAGE_CORRELATIONS = {
    Correlation.EXCLUSIVE_MINUTES: pb.CORRELATION_EXCLUSIVE_MINUTES,
    Correlation.ASSIGNED_METER: pb.CORRELATION_ASSIGNED_METER,
}


def to_device_id(field: str, text: str) -> str:
    """Return `text` if a device may have it as its id.

    Raises:
        InvalidRequestError: it may not; the error names `field`.
    """
    if not text:
        raise bad_field(field, "is required")
    if not is_id(text):
        raise bad_field(field, ID_RULE)
    return text


def to_device_ids(field: str, texts: Sequence[str], most: int) -> list[str]:
    """Return the ids, each once, in the order in which each comes first.

    Raises:
        InvalidRequestError: there are none or more than `most`, or one is not an id; the error names `field`.
    """
    if not 1 <= len(texts) <= most:
        raise bad_field(field, f"must be 1 to {most:,} ids; got {len(texts):,}")
    return list(dict.fromkeys(to_device_id(f"{field}[{i}]", text) for i, text in enumerate(texts)))


def to_correlation(number: int) -> Correlation:
    """Return the correlation that a number of the enum means.

    Raises:
        InvalidRequestError: the enum has no such number.
    """
    if number not in _CORRELATIONS:
        raise bad_field("correlation", f"must be one of {', '.join(pb.Correlation.keys())}; got {number}")
    return _CORRELATIONS[pb.Correlation.ValueType(number)]


def to_window(message: pb.TimeWindow, now: datetime, longest: timedelta) -> Window:
    """Return the window that a message means at `now`.

    Raises:
        InvalidRequestError: an end is not a time of the years 1970 to 9999, or the window is empty or too long.
    """
    start = _minute("window.start", message.start) if message.HasField("start") else None
    end = _minute("window.end", message.end) if message.HasField("end") else None
    return windows.resolve(start, end, now, longest)


def to_window_of_hours(
    message: pb.TimeWindow, now: datetime, longest: timedelta, newest: datetime | None = None
) -> Window:
    """Return the window of whole UTC hours that a message means at `now`; one without an end ends at `newest`.

    Raises:
        InvalidRequestError: as for `to_window`, or there is no whole hour in it.
    """
    start = _minute("window.start", message.start) if message.HasField("start") else None
    end = _minute("window.end", message.end) if message.HasField("end") else newest or now
    return windows.resolve_hours(start, end, longest)


def to_window_message(window: Window) -> pb.TimeWindow:
    """Return the message for a window."""
    return pb.TimeWindow(start=to_timestamp(window.start), end=to_timestamp(window.end))


def to_performance_message(
    vehicle_id: str, window: Window, correlation: Correlation, performance: Performance
) -> pb.VehiclePerformance:
    """Return the message for a vehicle's performance."""
    return pb.VehiclePerformance(
        vehicle_id=vehicle_id,
        window=to_window_message(window),
        correlation=_MESSAGE_CORRELATIONS[correlation],
        kwh_consumed_ac=performance.kwh_consumed_ac,
        kwh_delivered_dc=performance.kwh_delivered_dc,
        kwh_lost=performance.kwh_lost,
        efficiency=performance.efficiency,
        mean_soc=performance.mean_soc,
        mean_battery_temp=performance.mean_battery_temp,
        readings_kept=performance.readings_kept,
        readings=performance.readings,
        readings_without_meter=performance.readings_without_meter,
        minutes_kept=performance.minutes_kept,
        minutes_shared=performance.minutes_shared,
        minutes_without_meter_data=performance.minutes_without_meter_data,
        meter_ids=performance.meter_ids,
    )


def nothing_found(vehicle_id: str, window: Window) -> NotFoundError:
    """Return the error for a vehicle for which nothing is kept."""
    return NotFoundError("vehicle", vehicle_id, f"No charging data found in last {windows.in_words(window.length)}")


def _minute(field: str, timestamp: Timestamp) -> datetime:
    return windows.minute_of(field, timestamp.seconds, timestamp.nanos)


def to_timestamp(instant: datetime) -> Timestamp:
    """Return the message for an instant."""
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp
