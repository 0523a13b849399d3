"""Ready-made load: readings of a fleet as serialised messages, and the very same as binary COPY data."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wattstream.api.ingest.v1 import ingest_pb2
from wattstream.api.telemetry.v1 import telemetry_pb2

MINUTE_US = 60_000_000
METER_VALUES = ("kwh_consumed_ac", "voltage")
VEHICLE_VALUES = ("soc", "kwh_delivered_dc", "battery_temp")
_EPOCH_2000_US = 946_684_800_000_000  # PostgreSQL counts timestamps from 2000-01-01

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """A reading a minute of so many meters and as many vehicles, each vehicle behind the meter of its number.

    Attributes:
        devices: how many meters, and how many vehicles.
        start_us: the first minute, in microseconds since 1970 UTC.
        minutes: how many minutes.
        first: the number of the first meter and vehicle; counts for `readings` only.
        every_us: a reading so often instead of a minute, in microseconds.
    """

    devices: int
    start_us: int
    minutes: int
    first: int = 0
    every_us: int = MINUTE_US

    def __len__(self) -> int:
        return 2 * self.devices * self.minutes

    @cached_property
    def times_us(self) -> NDArray[np.int64]:
        """When the readings of each minute are recorded: not all fleets have second hands, so on the minute."""
        return self.start_us + self.every_us * np.arange(self.minutes)

    @cached_property
    def values(self) -> dict[str, Floats]:
        """What was measured, a field an array (minutes, devices): no two alike, and the same whenever it is asked."""
        of = np.random.default_rng(self.start_us)
        size = (self.minutes, self.devices)
        ac = np.round(of.uniform(0.4, 0.7, size), 4)
        return {
            "kwh_consumed_ac": ac,
            "voltage": np.round(of.normal(400, 3, size), 1),
            "soc": np.round(of.uniform(10, 90, size), 2),
            "kwh_delivered_dc": np.round(ac * of.uniform(0.85, 0.95, size), 4),
            "battery_temp": np.round(of.uniform(15, 40, size), 1),
        }

    def readings(self) -> Iterator[bytes]:
        """Yield the readings, serialised, minute by minute and so as they are made."""
        meter, vehicle = telemetry_pb2.Reading(), telemetry_pb2.Reading()
        for minute, time_us in enumerate(self.times_us.tolist()):
            meter.meter.recorded_at.FromMicroseconds(time_us)
            vehicle.vehicle.recorded_at.FromMicroseconds(time_us)
            columns = (self.values[name][minute].tolist() for name in (*METER_VALUES, *VEHICLE_VALUES))
            for number, (ac, voltage, soc, dc, temperature) in enumerate(zip(*columns, strict=True), self.first):
                meter.meter.meter_id = vehicle.vehicle.meter_id = device_id("meter", number)
                vehicle.vehicle.vehicle_id = device_id("vehicle", number)
                meter.meter.kwh_consumed_ac, meter.meter.voltage = ac, voltage
                vehicle.vehicle.soc, vehicle.vehicle.kwh_delivered_dc = soc, dc
                vehicle.vehicle.battery_temp = temperature
                yield meter.SerializeToString()
                yield vehicle.SerializeToString()

    def copy_data(
        self, meter_keys: Sequence[int], vehicle_keys: Sequence[int], parts: int
    ) -> list[tuple[bytes, bytes]]:
        """Return for each of `parts` connections what it copies of meters and of vehicles, sorted by (key, time)."""
        return [
            (
                self._copy_data(numbers, {"meter_key": meter_keys}, METER_VALUES),
                self._copy_data(numbers, {"vehicle_key": vehicle_keys, "meter_key": meter_keys}, VEHICLE_VALUES),
            )
            for numbers in (np.arange(part, self.devices, parts) for part in range(parts))
        ]

    def occupancy_data(self, meter_keys: Sequence[int], vehicle_keys: Sequence[int]) -> bytes:
        """Return of the vehicles' readings who was where: meter and vehicle key, time, and DC energy."""
        keys = {"meter_key": meter_keys, "vehicle_key": vehicle_keys}
        return self._copy_data(np.arange(self.devices), keys, ("kwh_delivered_dc",))

    def _copy_data(self, numbers: NDArray[np.int64], keys: dict[str, Sequence[int]], values: Sequence[str]) -> bytes:
        """Return rows (keys..., recorded_at, values...) of some devices in the format of binary COPY."""
        layout = [*((name, ">i4") for name in keys), ("time", ">i8"), *((name, ">f8") for name in values)]
        lengths = [(f"{name}_length", ">i4") for name, _ in layout]
        fields = [("fields", ">i2"), *chain.from_iterable(zip(lengths, layout, strict=True))]
        rows = np.empty((len(numbers), self.minutes), dtype=fields)
        rows["fields"] = len(layout)
        for name, of_type in layout:
            rows[f"{name}_length"] = int(of_type[-1])
        for name, of_all in keys.items():
            rows[name] = np.asarray(of_all)[numbers, np.newaxis]
        rows["time"] = self.times_us - _EPOCH_2000_US
        for name in values:
            rows[name] = self.values[name][:, numbers].T
        return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"


def device_id(kind: str, number: int) -> str:
    """Return the id of a device: all have the same length, so that their order is that of their numbers."""
    return f"{kind}-{number:05}"


def interleaved(one: Load, other: Load) -> Iterator[bytes]:
    """Yield the readings of two loads in turn."""
    return chain.from_iterable(zip(one.readings(), other.readings(), strict=True))


def write(path: Path, readings: Iterable[bytes], batch: int, streams: int, *, unary: bool = False) -> int:
    """Write messages of `batch` readings for the load generator, dealt out to `streams` in turn.

    Returns how many readings the first messages of all streams have, which open them and are not measured.
    """
    rest = iter(readings)
    opening = 0
    with path.open("wb") as file:
        for number, chunk in enumerate(iter(lambda: list(islice(rest, batch)), [])):
            opening += len(chunk) if number < streams else 0
            data = _unary(chunk) if unary else _streamed(chunk, number // streams + 1)
            file.write(struct.pack("<II", number % streams, len(data)))
            file.write(data)
    return opening


def _streamed(readings: Sequence[bytes], batch_id: int) -> bytes:
    head = ingest_pb2.StreamReadingsRequest(batch_id=batch_id).SerializeToString()
    return head + _repeated(ingest_pb2.StreamReadingsRequest.READINGS_FIELD_NUMBER, readings)


def _unary(readings: Sequence[bytes]) -> bytes:
    return _repeated(ingest_pb2.IngestReadingsRequest.READINGS_FIELD_NUMBER, readings)


def _repeated(field: int, messages: Sequence[bytes]) -> bytes:
    """Return a repeated field of serialised messages, of which none has more than 127 bytes."""
    tag = field << 3 | 2
    return b"".join(bytes((tag, len(message))) + message for message in messages)
