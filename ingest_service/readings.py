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


@dataclass(frozen=True)
class Columns:
    """n readings of one kind of device.

    Attributes:
        kind: what kind of device they are from.
        index: where each stood in its batch, (n,).
        device_id: ids, n of them.
        meter_id: ids of the meters named, "" for none, n of them; for meters an empty list.
        recorded_at_us: microseconds since 1970-01-01 UTC, (n,).
        values: measured values in the order of kind.values, (n, len(kind.values)).
    """

    kind: Kind
    index: Ints
    device_id: list[str]
    meter_id: list[str]
    recorded_at_us: Ints
    values: Floats

    def __len__(self) -> int:
        return len(self.device_id)

    def where(self, kept: Bools) -> "Columns":
        """Return the readings for which `kept`, (n,), is true."""
        if kept.all():
            return self
        chosen = np.flatnonzero(kept).tolist()
        return Columns(
            self.kind,
            self.index[kept],
            [self.device_id[i] for i in chosen],
            [self.meter_id[i] for i in chosen] if self.meter_id else [],
            self.recorded_at_us[kept],
            self.values[kept],
        )


@dataclass(frozen=True)
class Batch:
    """Acceptable readings of one message, of both kinds."""

    meter: Columns
    vehicle: Columns
    received_at_us: int

    def __len__(self) -> int:
        return len(self.meter) + len(self.vehicle)

    def of(self, kind: Kind) -> Columns:
        """Return the readings of one kind."""
        return self.meter if kind is METER else self.vehicle


@dataclass(frozen=True)
class KeyedRows:
    """n readings of one kind, as they lie in the database: by key, sorted by (key, time), each identity once.

    Attributes:
        kind: what kind of device they are from.
        key: device keys, (n,).
        meter_key: keys of the meters named, 0 for none, (n,); for meters all 0.
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
