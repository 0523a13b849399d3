"""PostgreSQL hangs while 200 streams push as fast as they can: memory stays within its budget, and nothing is lost."""

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.server import READ_AHEAD_BYTES

Make = Callable[..., Any]
START_S = int(time.time()) - 86_400 * 9
STREAMS, BATCH = 200, 250
BUFFER_BYTES = 8 * 2**20
# As docs/operations.md has it: what is held, what each stream has read ahead and keeps open, and groups under way.
STREAM_BYTES = 48 * 1024 + 2 * READ_AHEAD_BYTES
BUDGET_BYTES = 3 * BUFFER_BYTES // 2 + STREAMS * STREAM_BYTES + 64 * 2**20


class Pusher:
    """A stream that sends batches of its meter's readings, one after the other, until it is told to end.

    Attributes:
        sent: batches written so far.
        acked: those acknowledged, in the order in which they were.
        stored: how many readings were acknowledged as stored.
    """

    def __init__(self, name: str, ending: asyncio.Event) -> None:
        self.name, self.sent, self.acked, self.stored = name, 0, list[int](), 0
        self._ending = ending

    async def run(self, stub: Any) -> None:
        call = stub.StreamReadings()
        sending = asyncio.create_task(self._send(call))
        async for response in call:
            for ack in response.acks:
                assert not ack.rejected
                self.acked.append(ack.batch_id)
                self.stored += ack.stored
        await sending

    async def _send(self, call: Any) -> None:
        for batch in self._batches():
            await call.write(batch)
            self.sent += 1
            if self._ending.is_set():
                break
        await call.done_writing()

    def _batches(self) -> Iterator[pb.StreamReadingsRequest]:
        batch = pb.StreamReadingsRequest()
        for _ in range(BATCH):
            meter = batch.readings.add().meter
            meter.meter_id, meter.kwh_consumed_ac, meter.voltage = self.name, 0.5, 230.0
        for batch.batch_id in itertools.count():
            for second, reading in enumerate(batch.readings, START_S + batch.batch_id * BATCH):
                reading.meter.recorded_at.seconds = second
            yield batch


def rss_bytes(pid: int) -> int:
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True, text=True).stdout
    return 1024 * int(told)


async def refused_for_now(stub: Any) -> None:
    request = pb.IngestReadingsRequest()
    meter = request.readings.add().meter
    meter.meter_id, meter.kwh_consumed_ac, meter.voltage = "UNARY", 0.5, 230.0
    meter.recorded_at.seconds = START_S
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.IngestReadings(request)
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    status = rpc_status.from_call(caught.value)
    assert status is not None
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


def readings_of(dsn: str) -> dict[str, int]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT device_id, count(*) FROM meter_readings JOIN devices ON device_key = meter_key GROUP BY device_id"
        ).fetchall()
    return {name: count for name, count in rows if name != "UNARY"}


async def until_held(pushers: list[Pusher]) -> None:
    """Return when for two seconds not one more batch could be sent."""
    async with asyncio.timeout(60):
        before = -1
        while (now := sum(pusher.sent for pusher in pushers)) != before:
            before = now
            await asyncio.sleep(2)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("stall_s", [10, pytest.param(30, marks=pytest.mark.slow)])
async def test_a_database_that_hangs_holds_streams_within_the_memory_budget_and_loses_nothing(
    fragile: Any, make_process: Make, stall_s: int
) -> None:
    process = make_process(fragile.dsn, max_buffered_bytes=BUFFER_BYTES, unary_wait_s=0.5)
    await process.start()
    await process.until_serving()
    ending = asyncio.Event()
    pushers = [Pusher(f"M{i}", ending) for i in range(STREAMS)]
    async with grpc.aio.insecure_channel(process.address) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        first = Pusher("FIRST", ending)
        warm = asyncio.create_task(first.run(stub))
        while not first.acked:
            await asyncio.sleep(0.01)
        ending.set()
        await warm
        ending.clear()
        peaks = [idle := rss_bytes(process._running.pid)]

        async def watch() -> None:
            while True:
                peaks.append(rss_bytes(process._running.pid))
                await asyncio.sleep(0.2)

        watching = asyncio.create_task(watch())
        with fragile.stopped():
            started = time.monotonic()
            running = [asyncio.create_task(pusher.run(stub)) for pusher in pushers]
            await until_held(pushers)
            acked = [len(pusher.acked) for pusher in pushers]
            assert max(acked) == 0
            while time.monotonic() - started < stall_s:
                await refused_for_now(stub)
                await asyncio.sleep(0.5)
            assert not any(task.done() for task in running)
        ending.set()
        await asyncio.wait_for(asyncio.gather(*running), 120)
        watching.cancel()
    print(
        f"\nidle {idle / 2**20:.0f} MiB, most {max(peaks) / 2**20:.0f} MiB, budget {BUDGET_BYTES / 2**20:.0f} MiB more"
    )
    assert max(peaks) - idle < BUDGET_BYTES
    assert all(pusher.acked == list(range(pusher.sent)) for pusher in pushers), "in order, and every one"
    assert all(pusher.sent > 0 for pusher in pushers)
    found = readings_of(fragile.dsn)
    assert found == {pusher.name: pusher.sent * BATCH for pusher in [first, *pushers]}
