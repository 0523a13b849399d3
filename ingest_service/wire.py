"""Readings in the layout that every library writes, turned into columns by numpy without an object a reading.

A reading is read here only if it has exactly that layout: fields in ascending order, all measured values set, nothing
unknown. Any other is left to be decoded the ordinary way, so what it means is decided there; here it is only fast.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest_service.readings import METER, Bools, Floats, Ints, Kind

Bytes = NDArray[np.uint8]

# No step below goes further than a length byte says, and there are at most four of those and 60 bytes beside them.
PADDING = 4 * 256 + 64
_ID, _METER_OF_VEHICLE, _VARINT_1, _VARINT_2 = 0x0A, 0x12, 0x08, 0x10
_CONTINUES = 0x80


@dataclass(frozen=True)
class _Layout:
    outer: int  # the tag of the kind in Reading's oneof
    time: int  # the tag of recorded_at
    values: tuple[int, ...]  # the tags of the measured values, in the order of Kind.values


_LAYOUTS = {"meter": _Layout(0x0A, 0x12, (0x19, 0x21)), "vehicle": _Layout(0x12, 0x1A, (0x21, 0x29, 0x31))}


@dataclass(frozen=True)
class Parsed:
    """Readings of one kind that have the usual layout.

    Attributes:
        row: which of the readings given each is, (n,).
        id_start, id_end: where the device's id lies, (n,).
        meter_start, meter_end: where the id of the meter named lies, empty for none, (n,); of vehicles only.
        recorded_at_us: microseconds since 1970-01-01 UTC, (n,).
        values: measured values in the order of Kind.values, (n, k).
    """

    row: Ints
    id_start: Ints
    id_end: Ints
    meter_start: Ints
    meter_end: Ints
    recorded_at_us: Ints
    values: Floats


def parse(data: Bytes, starts: Ints, ends: Ints, kind: Kind) -> Parsed:
    """Return those of the readings data[starts:ends] that are of one kind and have the usual layout.

    `data` must have PADDING bytes behind the last reading.
    """
    layout = _LAYOUTS[kind.name]
    row = np.flatnonzero((data[starts] == layout.outer) & (data[starts + 1] == ends - starts - 2))
    start, end = starts[row] + 2, ends[row]
    usual = data[start] == _ID
    id_start = start + 2
    at = id_end = id_start + data[start + 1]
    meter_start = meter_end = at
    if kind is not METER:
        named = data[at] == _METER_OF_VEHICLE
        meter_start = np.where(named, at + 2, at)
        at = meter_end = np.where(named, meter_start + data[at + 1], at)
    usual &= data[at] == layout.time
    recorded_at_us, good = _time(data, at + 2, data[at + 1].astype(np.int64))
    usual &= good
    at = at + 2 + data[at + 1]
    values = np.empty((len(row), len(layout.values)))
    for column, tag in enumerate(layout.values):
        usual &= data[at] == tag
        values[:, column] = data[at[:, None] + np.arange(1, 9)].view("<f8")[:, 0]
        at = at + 9
    usual &= at == end
    if usual.all():
        return Parsed(row, id_start, id_end, meter_start, meter_end, recorded_at_us, values)
    whole = (row, id_start, id_end, meter_start, meter_end, recorded_at_us, values)
    return Parsed(*(column[usual] for column in whole))


def _time(data: Bytes, start: Ints, length: Ints) -> tuple[Ints, Bools]:
    """Return times in microseconds, and which of them are usual: seconds of five bytes (1978 to 3058), then nanos."""
    seconds, good = _varint(data, start + 1, np.full(len(start), 5))
    good &= data[start] == _VARINT_1
    nanos_length = length - 7
    nanos, nanos_good = _varint(data, start + 7, np.clip(nanos_length, 0, 5))
    whole = length == 6
    good &= whole | ((data[start + 6] == _VARINT_2) & (nanos_length >= 1) & (nanos_length <= 5) & nanos_good)
    nanos = np.where(whole, 0, nanos)
    good &= nanos < 1_000_000_000
    return seconds * 1_000_000 + nanos // 1000, good


def _varint(data: Bytes, start: Ints, length: Ints) -> tuple[Ints, Bools]:
    """Return varints of the given lengths, at most five bytes, and which of them really are that long."""
    value = np.zeros(len(start), np.int64)
    good = np.ones(len(start), np.bool_)
    for i in range(int(length.max(initial=0))):
        byte = data[start + i]
        inside = i < length
        value += np.where(inside, (byte & 0x7F).astype(np.int64) << 7 * i, 0)
        good &= ~inside | ((byte >= _CONTINUES) == (i < length - 1))
    return value, good
