"""From Protobuf messages to columns. Nothing is judged here; what cannot be a column is marked for validation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from google.protobuf.message import Message

from ingest_service.readings import METER, VEHICLE, Bools, Columns, Ints, Kind
from wattstream.api.telemetry.v1 import telemetry_pb2

NO_TIME = -1
BAD_TIME = -2
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that google.protobuf.Timestamp allows


class Decoded(NamedTuple):
    """A message's readings as columns, of which nothing has been judged.

    Attributes:
        meter: readings of meters; recorded_at_us is NO_TIME where not set, BAD_TIME where it is no time since 1970.
        vehicle: readings of vehicles, likewise.
        missing_meter: which values of `meter` are not set, of the shape of its values.
        missing_vehicle: which values of `vehicle` are not set.
        empty: index of each reading that holds neither kind.
    """

    meter: Columns
    vehicle: Columns
    missing_meter: Bools
    missing_vehicle: Bools
    empty: list[int]


def decode(readings: Sequence[telemetry_pb2.Reading]) -> Decoded:
    """Return a message's readings as columns."""
    found: dict[str | None, list[int]] = {"meter": [], "vehicle": [], None: []}
    for index, reading in enumerate(readings):
        found[reading.WhichOneof("reading")].append(index)
    meters = [readings[i].meter for i in found["meter"]]
    vehicles = [readings[i].vehicle for i in found["vehicle"]]
    meter_values = np.array([(m.kwh_consumed_ac, m.voltage) for m in meters], dtype=np.float64).reshape(-1, 2)
    vehicle_values = np.array(
        [(v.soc, v.kwh_delivered_dc, v.battery_temp) for v in vehicles], dtype=np.float64
    ).reshape(-1, 3)
    meter = Columns(
        METER, np.array(found["meter"], np.int64), [m.meter_id for m in meters], [], _times(meters), meter_values
    )
    vehicle = Columns(
        VEHICLE,
        np.array(found["vehicle"], np.int64),
        [v.vehicle_id for v in vehicles],
        [v.meter_id for v in vehicles],
        _times(vehicles),
        vehicle_values,
    )
    return Decoded(
        meter, vehicle, _missing(METER, meters, meter_values), _missing(VEHICLE, vehicles, vehicle_values), found[None]
    )


def _times(
    readings: Sequence[telemetry_pb2.MeterReading] | Sequence[telemetry_pb2.VehicleReading],
) -> Ints:
    seconds = np.array([r.recorded_at.seconds for r in readings], dtype=np.int64)
    nanos = np.array([r.recorded_at.nanos for r in readings], dtype=np.int64)
    good = (seconds >= 0) & (seconds <= _LAST_SECOND) & (nanos >= 0) & (nanos < 1_000_000_000)
    times = np.where(good, seconds, 0) * 1_000_000 + nanos // 1000
    times[~good] = BAD_TIME
    for i in np.flatnonzero(times == 0).tolist():
        if not readings[i].HasField("recorded_at"):
            times[i] = NO_TIME
    return times


def _missing(
    kind: Kind, readings: Sequence[Message], values: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> Bools:
    """Return which values are not set. They read as 0, so only zeros need to be looked at again."""
    missing = np.zeros(values.shape, dtype=np.bool_)
    for row, column in np.argwhere(values == 0.0).tolist():
        missing[row, column] = not readings[row].HasField(kind.values[column])
    return missing
