"""Readings as columns: what a batch becomes once it is decoded, and what everything after works on."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Kind:
    """A kind of device: how its readings are named in the contract and in the database.

    Attributes:
        number: as in DeviceKind and in the column devices.kind.
        name: the field of Reading that holds such a reading.
        values: the measured fields, in the order in which columns, tables and checks have them.
    """

    number: int
    name: str
    values: tuple[str, ...]


METER = Kind(1, "meter", ("kwh_consumed_ac", "voltage"))
VEHICLE = Kind(2, "vehicle", ("soc", "kwh_delivered_dc", "battery_temp"))
KINDS = (METER, VEHICLE)

NO_METER, UNKNOWN = 0, -1
NO_TIME, BAD_TIME = -1, -2


@dataclass(frozen=True)
class Columns:
    """n readings of one kind of device, of several messages, in the order in which they came.

    Attributes:
        kind: what kind of device they are from.
        message: which message each stood in, (n,).
        index: where it stood there, (n,).
        key: device keys, UNKNOWN for ids that have not been looked up yet, (n,).
        meter_key: keys of the meters named, NO_METER or UNKNOWN, (n,); for meters all NO_METER.
        recorded_at_us: microseconds since 1970-01-01 UTC, or NO_TIME or BAD_TIME, (n,).
        values: measured values in the order of kind.values, (n, len(kind.values)).
        missing: which values are not set, of the shape of values.
        new_ids: by row, the ids of the devices whose key is UNKNOWN.
        new_meter_ids: by row, the ids of the meters whose key is UNKNOWN.
    """

    kind: Kind
    message: Ints
    index: Ints
    key: Ints
    meter_key: Ints
    recorded_at_us: Ints
    values: Floats
    missing: Bools
    new_ids: dict[int, bytes]
    new_meter_ids: dict[int, bytes]

    def __len__(self) -> int:
        return len(self.key)


@dataclass(frozen=True)
class KeyedRows:
    """n readings of one kind, as they lie in the database: by key, sorted by (key, time), each identity once.

    Attributes:
        kind: what kind of device they are from.
        key: device keys, (n,).
        meter_key: keys of the meters named, NO_METER for none, (n,); for meters all NO_METER.
        recorded_at_us: microseconds since 1970-01-01 UTC, (n,).
        values: measured values in the order of kind.values, (n, len(kind.values)).
        received_at_us: when each was received, microseconds since 1970-01-01 UTC, (n,).
    """

    kind: Kind
    key: Ints
    meter_key: Ints
    recorded_at_us: Ints
    values: Floats
    received_at_us: Ints

    def __len__(self) -> int:
        return len(self.key)

    def take(self, chosen: Ints | Bools | slice) -> Self:
        """Return the rows at `chosen`."""
        return type(self)(
            self.kind,
            self.key[chosen],
            self.meter_key[chosen],
            self.recorded_at_us[chosen],
            self.values[chosen],
            self.received_at_us[chosen],
        )


def join(parts: list[KeyedRows]) -> KeyedRows:
    """Return rows of one kind, one part after the other (so sorted only part by part)."""
    return KeyedRows(
        parts[0].kind,
        np.concatenate([part.key for part in parts]),
        np.concatenate([part.meter_key for part in parts]),
        np.concatenate([part.recorded_at_us for part in parts]),
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.received_at_us for part in parts]),
    )


def newest_by_device(rows: KeyedRows) -> KeyedRows:
    """Return each device's newest reading; of several at the same time the first."""
    order = np.lexsort((-np.arange(len(rows)), rows.recorded_at_us, rows.key))
    keys = rows.key[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = keys[1:] != keys[:-1]
    return rows.take(order[last])
