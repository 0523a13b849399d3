"""A fleet's clients: they send batches in every way there is, and keep a ledger of what was acknowledged."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc.aio

from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

START_S = int(time.time()) - 86_400
METERS, VEHICLES = range(3), range(3, 6)
_names = itertools.count()


class Sent(NamedTuple):
    """A reading of a device, at a second, with a value."""

    device: int
    second: int
    value: int


Batch = tuple[Sent, ...]
Told = tuple[Batch, int]


class Delivery(NamedTuple):
    """Batches sent one after the other, by one way."""

    way: str
    batches: list[Batch]


@dataclass
class Ledger:
    """What has been acknowledged, with how many readings stored, and what has not."""

    told: list[Told] = field(default_factory=list)
    unacked: list[Batch] = field(default_factory=list)


def message(prefix: str, sent: Sent) -> Reading:
    reading = Reading()
    name = f"{prefix}-{sent.device}"
    if sent.device in METERS:
        reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = name, sent.value, 230.0
        reading.meter.recorded_at.seconds = START_S + sent.second
    else:
        reading.vehicle.vehicle_id, reading.vehicle.soc = name, 50.0
        reading.vehicle.meter_id = f"{prefix}-{sent.value % 3}"
        reading.vehicle.kwh_delivered_dc, reading.vehicle.battery_temp = sent.value, 20.0
        reading.vehicle.recorded_at.seconds = START_S + sent.second
    return reading


class Fleet:
    """The clients: they send by devices of their own, keep the ledger, and count what they are told."""

    def __init__(self) -> None:
        self.prefix, self.ledger, self.answers = f"F{next(_names)}", Ledger(), 0

    async def deliver(self, address: str, delivery: Delivery) -> None:
        told: list[Told] = []
        async with grpc.aio.insecure_channel(address) as channel:
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            with suppress(grpc.aio.AioRpcError):
                async for one in getattr(self, f"_{delivery.way}")(stub, delivery.batches):
                    told.append(one)
                    self.answers += 1
        self.ledger.told += told
        self.ledger.unacked += delivery.batches[len(told) :]

    async def _stream(self, stub: Any, batches: list[Batch]) -> AsyncIterator[Told]:
        requests = [pb.StreamReadingsRequest(batch_id=i, readings=self._messages(b)) for i, b in enumerate(batches)]
        expected = itertools.count()
        async for response in stub.StreamReadings(iter(requests)):
            for ack in response.acks:
                assert ack.batch_id == next(expected)
                assert ack.stored + ack.duplicates == len(batches[ack.batch_id])
                yield batches[ack.batch_id], ack.stored

    async def _unary(self, stub: Any, batches: list[Batch]) -> AsyncIterator[Told]:
        for batch in batches:
            answer = await stub.IngestReadings(pb.IngestReadingsRequest(readings=self._messages(batch)))
            assert answer.stored + answer.duplicates == len(batch)
            yield batch, answer.stored

    async def _upload(self, stub: Any, batches: list[Batch]) -> AsyncIterator[Told]:
        summary = await stub.UploadReadings(
            pb.UploadReadingsRequest(readings=self._messages(batch)) for batch in batches
        )
        assert summary.stored + summary.duplicates == sum(map(len, batches))
        if len(batches) == 1:
            yield batches[0], summary.stored
        else:  # which of them were stored is not told
            for batch in batches:
                yield batch, 0

    def _messages(self, batch: Batch) -> list[Reading]:
        return [message(self.prefix, sent) for sent in batch]

    async def resend(self, address: str) -> None:
        """Send what has no acknowledgement until all has one, split and in another order."""
        async with asyncio.timeout(60):
            while self.ledger.unacked:
                batches, self.ledger.unacked = self.ledger.unacked[::-1], []
                parts = [part for batch in batches for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :])]
                await self.deliver(address, Delivery("stream", [part for part in parts if part]))
