"""Ready-made load: readings of a fleet as serialised messages, and the same as binary COPY data."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ingest_service.copy_format import copy_bytes
from ingest_service.readings import METER, VEHICLE, KeyedRows
from wattstream.api.ingest.v1 import ingest_pb2
from wattstream.api.telemetry.v1 import telemetry_pb2

MINUTE_US = 60_000_000


@dataclass(frozen=True)
class Load:
    """A reading a minute of so many meters and as many vehicles, each vehicle behind the meter of its number.

    Attributes:
        devices: how many meters, and how many vehicles.
        start_us: the first minute, in microseconds since 1970 UTC.
        minutes: how many minutes.
    """

    devices: int
    start_us: int
    minutes: int

    def __len__(self) -> int:
        return 2 * self.devices * self.minutes

    def readings(self) -> Iterator[telemetry_pb2.Reading]:
        """Yield the readings minute by minute, as they are made."""
        for minute in range(self.minutes):
            for number in range(self.devices):
                yield self._meter(number, minute)
                yield self._vehicle(number, minute)

    def copy_data(self, meter_keys: Sequence[int], vehicle_keys: Sequence[int], parts: int) -> list[tuple[bytes, bytes]]:
        """Return the same readings sorted by (key, time), for each of `parts` connections what meters and vehicles get."""
        found = []
        for part in range(parts):
            numbers = np.arange(part, self.devices, parts)
            count = len(numbers) * self.minutes
            times = np.tile(self.start_us + MINUTE_US * np.arange(self.minutes), len(numbers))
            meters, vehicles = np.array(meter_keys)[numbers], np.array(vehicle_keys)[numbers]
            none = np.zeros(count, np.int64)
            of_meters = KeyedRows(
                METER, np.repeat(meters, self.minutes), none, times, np.full((count, 2), (0.5, 400.0)), times
            )
            of_vehicles = KeyedRows(
                VEHICLE,
                np.repeat(vehicles, self.minutes),
                np.repeat(meters, self.minutes),
                times,
                np.full((count, 3), (50.0, 0.45, 25.0)),
                times,
            )
            found.append((copy_bytes(of_meters), copy_bytes(of_vehicles)))
        return found

    def _meter(self, number: int, minute: int) -> telemetry_pb2.Reading:
        reading = telemetry_pb2.Reading()
        part = reading.meter
        part.meter_id, part.kwh_consumed_ac, part.voltage = f"meter-{number:05}", 0.5, 400.0
        part.recorded_at.FromMicroseconds(self.start_us + minute * MINUTE_US)
        return reading

    def _vehicle(self, number: int, minute: int) -> telemetry_pb2.Reading:
        reading = telemetry_pb2.Reading()
        part = reading.vehicle
        part.vehicle_id, part.meter_id = f"vehicle-{number:05}", f"meter-{number:05}"
        part.soc, part.kwh_delivered_dc, part.battery_temp = 50.0, 0.45, 25.0
        part.recorded_at.FromMicroseconds(self.start_us + minute * MINUTE_US)
        return reading


def write(path: Path, load: Load, batch: int, streams: int, *, unary: bool = False) -> None:
    """Write the messages of a load to a file for the load generator, in batches, dealt out to streams in turn."""
    message = ingest_pb2.IngestReadingsRequest if unary else ingest_pb2.StreamReadingsRequest
    readings = load.readings()
    with path.open("wb") as file:
        number = 0
        while chunk := list(islice(readings, batch)):
            request = message(readings=chunk)
            if isinstance(request, ingest_pb2.StreamReadingsRequest):
                request.batch_id = number // streams + 1
            data = request.SerializeToString()
            file.write(struct.pack("<II", number % streams, len(data)))
            file.write(data)
            number += 1
