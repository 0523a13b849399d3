"""Judges readings, one by one, without any I/O: which are acceptable, and what is wrong with the others."""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np

from ingest_service.decoding import Decoded
from ingest_service.readings import BAD_TIME, NO_TIME, Bools, Columns, Kind
from wattstream.api.ingest.v1.ingest_pb2 import RejectionReason
from wattstream.ids import ID_RULE, is_id

_SHOWN = 80


class Limits(NamedTuple):
    """What a reading may hold.

    Attributes:
        ranges: for each measured field the least and the largest value, and its unit.
        max_future_s: how far recorded_at may be ahead of the clock, in seconds.
        retention_days: how old recorded_at may be, in days.
    """

    ranges: dict[str, tuple[float, float, str]]
    max_future_s: float
    retention_days: float


@dataclass(frozen=True)
class Rejection:
    """A reading that cannot be stored: where it stood in its batch, the field at fault, and what would be right."""

    index: int
    field: str
    reason: RejectionReason.ValueType
    message: str


class Judged(NamedTuple):
    """What judgement says of decoded messages.

    Attributes:
        good: which readings of each kind are acceptable, by kind, (n,).
        rejections: those of each message that has any, in order of index.
    """

    good: dict[Kind, Bools]
    rejections: dict[int, list[Rejection]]


def judge(decoded: Decoded, limits: Limits, now_us: int) -> Judged:
    """Judge every reading; `now_us` is the server's clock, in microseconds since 1970-01-01 UTC.

    Ids that were found among the known ones were good before, and are not looked at again.
    """
    rejections: dict[int, list[Rejection]] = {}
    for message, index in decoded.empty:
        reason = RejectionReason.REJECTION_REASON_EMPTY_READING
        rejection = Rejection(index, "reading", reason, "must hold a meter's or a vehicle's values")
        rejections.setdefault(message, []).append(rejection)
    good = {}
    for kind, columns in decoded.columns.items():
        faults = _faults(columns, limits, now_us)
        good[kind] = np.ones(len(columns), np.bool_)
        good[kind][list(faults)] = False
        for row, rejection in faults.items():
            rejections.setdefault(int(columns.message[row]), []).append(rejection)
    for of_message in rejections.values():
        of_message.sort(key=lambda rejection: rejection.index)
    return Judged(good, rejections)


def _faults(columns: Columns, limits: Limits, now_us: int) -> dict[int, Rejection]:
    """Return the first fault of each row that has one, in the order of the fields: ids, time, values."""
    faults: dict[int, Rejection] = {}

    def add(row: int, field: str, reason: RejectionReason.ValueType, message: str) -> None:
        if row not in faults:
            faults[row] = Rejection(int(columns.index[row]), f"{columns.kind.name}.{field}", reason, message)

    for field, ids in ((f"{columns.kind.name}_id", columns.new_ids), ("meter_id", columns.new_meter_ids)):
        for row, data in ids.items():
            text = data.decode(errors="replace")
            if not is_id(text):
                add(row, field, *_id_fault(text))
    earliest, latest = now_us - limits.retention_days * 86_400e6, now_us + limits.max_future_s * 1e6
    for row in np.flatnonzero((columns.recorded_at_us < earliest) | (columns.recorded_at_us > latest)).tolist():
        add(row, "recorded_at", *_time_fault(int(columns.recorded_at_us[row]), limits, now_us))
    for column, name in enumerate(columns.kind.values):
        least, most, unit = limits.ranges[name]
        value, missing = columns.values[:, column], columns.missing[:, column]
        for row in np.flatnonzero(missing | ~((value >= least) & (value <= most))).tolist():
            add(row, name, *_value_fault(bool(missing[row]), float(value[row]), f"{least:g} to {most:g} {unit}"))
    return faults


def _id_fault(text: str) -> tuple[RejectionReason.ValueType, str]:
    if not text:
        return RejectionReason.REJECTION_REASON_MISSING_FIELD, f"is missing; it {ID_RULE}"
    # Cut after escaping, which makes a character up to ten: a batch's rejections must fit into one message.
    shown = ascii(text[:_SHOWN])
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    return RejectionReason.REJECTION_REASON_INVALID_ID, f"{shown} is not an id; it {ID_RULE}"


def _time_fault(time_us: int, limits: Limits, now_us: int) -> tuple[RejectionReason.ValueType, str]:
    if time_us == NO_TIME:
        return RejectionReason.REJECTION_REASON_MISSING_FIELD, "is missing"
    if time_us == BAD_TIME:
        return RejectionReason.REJECTION_REASON_INVALID_TIMESTAMP, "is not a time between the years 1970 and 9999"
    if time_us > now_us:
        ahead_s = ceil((time_us - now_us) / 1e6)
        message = f"is {ahead_s} s ahead of the server's clock; at most {limits.max_future_s:g} s are accepted"
        return RejectionReason.REJECTION_REASON_IN_FUTURE, message
    age_days = ceil((now_us - time_us) / 86_400e6)
    message = f"is {age_days} days old; at most {limits.retention_days:g} days are accepted"
    return RejectionReason.REJECTION_REASON_TOO_OLD, message


def _value_fault(missing: bool, value: float, allowed: str) -> tuple[RejectionReason.ValueType, str]:
    if missing:
        return RejectionReason.REJECTION_REASON_MISSING_FIELD, f"is missing; it must be {allowed}"
    if not np.isfinite(value):
        return RejectionReason.REJECTION_REASON_NOT_FINITE, f"{value} is not a finite number; it must be {allowed}"
    return RejectionReason.REJECTION_REASON_OUT_OF_RANGE, f"{value:g} is out of range; it must be {allowed}"


def unknown_device(columns: Columns, row: int, field: str, device_id: bytes) -> Rejection:
    """Return the rejection of a reading whose device, or named meter, is not registered."""
    message = f"{device_id.decode()!r} is not registered, and this server does not register devices on first sight"
    reason = RejectionReason.REJECTION_REASON_UNKNOWN_DEVICE
    return Rejection(int(columns.index[row]), f"{columns.kind.name}.{field}", reason, message)
