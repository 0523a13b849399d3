"""A small charging fleet: what is measured is told by device and second, so that a reading can be made again."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import grpc.aio

from tests.integration.fleets import Assignment, Fleet, MeterReading, VehicleReading
from wattstream.api.ingest.v1 import fleet_pb2, fleet_pb2_grpc, ingest_pb2_grpc
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

METERS = ("M1", "M2", "M3")
VEHICLES = ("V1", "V2", "V3", "V4")
Key = tuple[str, int]
_PAUSE_S = 0.05  # enough to do for who asks and who refreshes


def measured(key: Key) -> VehicleReading | MeterReading:
    """Return what a device measures at a second. V4 never names its meter, V3 now and then."""
    device, second = key
    at = datetime.fromtimestamp(second, UTC)
    if device in METERS:
        return MeterReading(device, at, second % 97 / 8)
    named = {"V4": 0, "V3": second % 2}.get(device, 1)
    meter = METERS[second // 300 % 2] if named else None
    return VehicleReading(device, at, meter, second % 89 / 8, second % 101, second % 61 - 20)


def message(key: Key) -> Reading:
    made, one = Reading(), measured(key)
    if isinstance(one, MeterReading):
        made.meter.meter_id, made.meter.kwh_consumed_ac, made.meter.voltage = one.meter, one.ac, 230.0
        made.meter.recorded_at.FromDatetime(one.at)
        return made
    made.vehicle.vehicle_id, made.vehicle.kwh_delivered_dc = one.vehicle, one.dc
    made.vehicle.soc, made.vehicle.battery_temp = one.soc, one.temp
    made.vehicle.recorded_at.FromDatetime(one.at)
    if one.meter:
        made.vehicle.meter_id = one.meter
    return made


class Charging:
    """Sends readings of the hours before `end` in any order, fresh and late ones, many of them twice.

    Attributes:
        sent: whose acknowledgement may still be to come.
        acked: who has one.
    """

    def __init__(self, address: str, end: datetime, hours: int, seed: int) -> None:
        self._address, self._end, self._random = address, end, random.Random(seed)
        self._start = end - timedelta(hours=hours)
        self.sent: set[Key] = set()
        self.acked: set[Key] = set()
        self._before: set[Key] = set()
        self.assignments: list[Assignment] = []

    async def send(self, clients: int) -> None:
        """Send without an end, from so many clients."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            stub = ingest_pb2_grpc.IngestServiceStub(channel)

            async def go_on() -> None:
                while True:
                    await self._send_some(stub)

            await asyncio.gather(*(go_on() for _ in range(clients)))

    async def _send_some(self, stub: ingest_pb2_grpc.IngestServiceStub) -> None:
        begin, end = int(self._start.timestamp()), int(self._end.timestamp())
        first = max(begin, end - 600) if self._random.random() < 0.3 else self._random.randrange(begin, end - 600)
        span = self._random.choice([60, 600])
        devices = self._random.sample(METERS + VEHICLES, 4)
        keys = {(d, first + self._random.randrange(span)) for d in devices for _ in range(8)}
        if self._random.random() < 0.3:
            keys |= self._before
        self._before = keys
        await self._send(stub, keys)
        await asyncio.sleep(_PAUSE_S)

    async def send_the_rest(self) -> None:
        """Send again whatever has no acknowledgement."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            await self._send(ingest_pb2_grpc.IngestServiceStub(channel), self.sent - self.acked)

    async def _send(self, stub: ingest_pb2_grpc.IngestServiceStub, keys: set[Key]) -> None:
        self.sent |= keys
        request = pb.IngestReadingsRequest(readings=[message(key) for key in keys])
        answer = await stub.IngestReadings(request, timeout=30)
        assert (answer.stored + answer.duplicates, len(answer.rejections)) == (len(keys), 0)
        self.acked |= keys

    async def assign(self, vehicle: str, meter: str, since: datetime, until: datetime) -> None:
        request = fleet_pb2.AssignMeterRequest(vehicle_id=vehicle, meter_id=meter)
        request.valid_from.FromDatetime(since)
        request.valid_until.FromDatetime(until)
        async with grpc.aio.insecure_channel(self._address) as channel:
            await fleet_pb2_grpc.FleetServiceStub(channel).AssignMeter(request, timeout=30)
        self.assignments.append(Assignment(vehicle, meter, since, until))

    def fleet(self, start: datetime, end: datetime) -> Fleet:
        """Return all that was acknowledged, and a window."""
        all_of_it = [measured(key) for key in self.acked]
        return Fleet(
            [one for one in all_of_it if isinstance(one, VehicleReading)],
            [one for one in all_of_it if isinstance(one, MeterReading)],
            self.assignments,
            start,
            end,
        )
