"""From messages to columns. Nothing is judged here; what cannot be a column is marked for validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from ingest_service.framing import Form, Frames, MalformedError, frame
from ingest_service.readings import BAD_TIME, KINDS, METER, NO_METER, NO_TIME, UNKNOWN, Bools, Columns, Ints, Kind
from ingest_service.wire import PADDING, parse
from wattstream.api.telemetry.v1 import telemetry_pb2

_NOTHING = Frames(0, 0, b"", (), ())
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that google.protobuf.Timestamp allows

Keys = Mapping[Kind, Mapping[bytes, int]]


class Framed(NamedTuple):
    """A message as far as its frame tells.

    Attributes:
        batch_id: the sender's name for it, in a stream.
        readings: how many readings it holds.
        refusal: why none of them can be taken, or "".
    """

    batch_id: int
    readings: int
    refusal: str


@dataclass(frozen=True)
class Decoded:
    """Messages as columns.

    Attributes:
        messages: what their frames tell, one a message.
        columns: their readings, by kind.
        empty: (message, index) of each reading that holds neither kind, or cannot be decoded.
    """

    messages: list[Framed]
    columns: dict[Kind, Columns]
    empty: list[tuple[int, int]]


def decode(messages: Sequence[tuple[bytes, Form]], keys: Keys, most_readings: int) -> Decoded:
    """Return messages as columns; one of more than `most_readings` is refused. `keys` holds the devices known."""
    framed, frames = [], []
    for data, form in messages:
        told, found = _frame(data, form, most_readings)
        framed.append(told)
        frames.append(found)
    data = b"".join([*(found.data for found in frames), bytes(PADDING)])
    counts = np.array([len(found.starts) for found in frames], np.int64)
    lengths = np.array([len(found.data) for found in frames], np.int64)
    shift = np.repeat(np.cumsum(lengths) - lengths, counts)
    starts = np.array([start for found in frames for start in found.starts], np.int64) + shift
    ends = np.array([end for found in frames for end in found.ends], np.int64) + shift
    places = np.stack([np.repeat(np.arange(len(frames)), counts), _counted(counts)], axis=1)
    columns, left = _columns(data, starts, ends, places, keys)
    return Decoded(framed, columns, [(int(message), int(index)) for message, index in places[left].tolist()])


def _frame(data: bytes, form: Form, most: int) -> tuple[Framed, Frames]:
    try:
        found = frame(data, form, most)
    except MalformedError:
        return Framed(0, 0, "cannot be decoded"), _NOTHING
    if found.total <= most:
        return Framed(found.batch_id, found.total, ""), found
    refusal = f"holds {found.total} readings; at most {most} are accepted in one message"
    return Framed(found.batch_id, found.total, refusal), _NOTHING


def _counted(counts: Ints) -> Ints:
    """Return 0, 1, 2 ... for each count, one run after the other."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


def _columns(data: bytes, starts: Ints, ends: Ints, places: Ints, keys: Keys) -> tuple[dict[Kind, Columns], Ints]:
    """Return the readings by kind, and which of them are of neither."""
    raw = np.frombuffer(data, np.uint8)
    parsed = {kind: parse(raw, starts, ends, kind) for kind in KINDS}
    unusual = np.ones(len(starts), np.bool_)
    for found in parsed.values():
        unusual[found.row] = False
    others: dict[Kind, list[tuple[int, Any]]] = {kind: [] for kind in KINDS}
    neither = []
    for row in np.flatnonzero(unusual).tolist():
        kind, reading = _reading(data[starts[row] : ends[row]])
        if kind is None:
            neither.append(row)
        else:
            others[kind].append((row, reading))
    columns = {}
    for kind, found in parsed.items():
        ids = [data[s:e] for s, e in zip(found.id_start.tolist(), found.id_end.tolist(), strict=True)]
        meter_ids = [data[s:e] for s, e in zip(found.meter_start.tolist(), found.meter_end.tolist(), strict=True)]
        whole = _Rows(found.row, ids, meter_ids, found.recorded_at_us, found.values, np.zeros_like(found.values, bool))
        if others[kind]:
            whole = _merged(whole, _decoded(kind, others[kind]))
        columns[kind] = _with_keys(kind, whole, places, keys)
    return columns, np.array(neither, np.int64)


class _Rows(NamedTuple):
    row: Ints
    ids: list[bytes]
    meter_ids: list[bytes]
    recorded_at_us: Ints
    values: np.ndarray[Any, np.dtype[np.float64]]
    missing: Bools


def _with_keys(kind: Kind, rows: _Rows, places: Ints, keys: Keys) -> Columns:
    find = keys[kind].get
    key = np.array([find(device_id, UNKNOWN) for device_id in rows.ids], np.int64)
    meter_key = np.full(len(key), NO_METER)
    if kind is not METER:
        find = keys[METER].get
        meter_key[:] = [find(meter_id, UNKNOWN) if meter_id else NO_METER for meter_id in rows.meter_ids]
    return Columns(
        kind,
        places[rows.row, 0],
        places[rows.row, 1],
        key,
        meter_key,
        rows.recorded_at_us,
        rows.values,
        rows.missing,
        {row: rows.ids[row] for row in np.flatnonzero(key == UNKNOWN).tolist()},
        {row: rows.meter_ids[row] for row in np.flatnonzero(meter_key == UNKNOWN).tolist()},
    )


def _merged(left: _Rows, right: _Rows) -> _Rows:
    row = np.concatenate([left.row, right.row])
    order = np.argsort(row)
    ids, meter_ids = left.ids + right.ids, left.meter_ids + right.meter_ids
    return _Rows(
        row[order],
        [ids[i] for i in order.tolist()],
        [meter_ids[i] for i in order.tolist()],
        np.concatenate([left.recorded_at_us, right.recorded_at_us])[order],
        np.concatenate([left.values, right.values])[order],
        np.concatenate([left.missing, right.missing])[order],
    )


def _reading(data: bytes) -> tuple[Kind | None, Any]:
    try:
        reading = telemetry_pb2.Reading.FromString(data)
    except DecodeError:
        return None, None
    if reading.HasField("meter"):
        return METER, reading.meter
    return (KINDS[1], reading.vehicle) if reading.HasField("vehicle") else (None, None)


def _decoded(kind: Kind, readings: Sequence[tuple[int, Any]]) -> _Rows:
    """Return readings as rows, from objects; one by one."""
    row = np.array([row for row, _ in readings], np.int64)
    found = [reading for _, reading in readings]
    id_of: Callable[[Any], str] = lambda reading: getattr(reading, f"{kind.name}_id")  # noqa: E731
    return _Rows(
        row,
        [id_of(reading).encode() for reading in found],
        [b"" if kind is METER else reading.meter_id.encode() for reading in found],
        np.array([_time_us(reading) for reading in found], np.int64),
        np.array([[getattr(reading, name) for name in kind.values] for reading in found], np.float64),
        np.array([[not reading.HasField(name) for name in kind.values] for reading in found], np.bool_),
    )


def _time_us(reading: Any) -> int:
    if not reading.HasField("recorded_at"):
        return NO_TIME
    seconds, nanos = reading.recorded_at.seconds, reading.recorded_at.nanos
    if not (0 <= seconds <= _LAST_SECOND and 0 <= nanos < 1_000_000_000):
        return BAD_TIME
    return int(seconds * 1_000_000 + nanos // 1000)
