"""What one peer may send is limited over the wire, and a refusal says how long to wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ingest_service.config import IngestConfig
from ingest_service.limits import STREAM_RETRY_S
from ingest_service.service import lifespan
from wattstream import server
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

NOW_S = int(time.time()) - 86_400
Stub = "ingest_pb2_grpc.IngestServiceAsyncStub"


@asynccontextmanager
async def serving(dsn: str, **settings: object) -> AsyncIterator["ingest_pb2_grpc.IngestServiceAsyncStub"]:
    given = {"listen": "127.0.0.1:0", "postgres_dsn": dsn, "state_address": "127.0.0.1:1"} | settings
    async with (
        server.serving(IngestConfig(**given), lifespan) as address,  # type: ignore[arg-type]
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield ingest_pb2_grpc.IngestServiceStub(channel)


def readings(start: int, count: int) -> list[Reading]:
    made = [Reading() for _ in range(count)]
    for number, reading in enumerate(made, start):
        reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = "M1", 0.5, 230.0
        reading.meter.recorded_at.seconds = NOW_S + number
    return made


async def refusal_of(call: "grpc.aio.Call") -> float:
    """Return after how many seconds a refused call should be made again."""
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(await _error(call))
    assert status is not None
    info = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info.retry_delay.ToTimedelta().total_seconds()


async def _error(call: "grpc.aio.Call") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )


async def test_unary_calls_over_the_rate_are_refused_and_told_when_they_will_not_be(database: str) -> None:
    async with serving(database, max_readings_s_per_peer=10.0) as ingest:
        request = pb.IngestReadingsRequest(readings=readings(0, 200))
        assert (await ingest.IngestReadings(request)).stored == 200
        call = ingest.IngestReadings(pb.IngestReadingsRequest(readings=readings(200, 1)))
        assert 5 < await refusal_of(call) <= 10
        flat = pb.IngestTelemetryRequest(meter_id="M1", kwh_consumed_ac=0.5, voltage=230.0)
        flat.recorded_at.seconds = NOW_S + 500
        assert 5 < await refusal_of(ingest.IngestTelemetry(flat)) <= 10


async def test_a_stream_over_the_rate_ends_after_the_acknowledgement_of_all_that_was_taken_in(database: str) -> None:
    async with serving(database, max_readings_s_per_peer=10.0) as ingest:
        call = ingest.StreamReadings()
        for batch_id in range(3):
            await call.write(pb.StreamReadingsRequest(batch_id=batch_id, readings=readings(60 * batch_id, 60)))
        acked = []
        while len(acked) < 2:
            acked += [(ack.batch_id, ack.stored) for ack in (await call.read()).acks]
        assert acked == [(0, 60), (1, 60)]
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert 0 < await refusal_of(call) <= 2


async def test_an_upload_over_the_rate_is_held_and_comes_to_its_end(database: str) -> None:
    async with serving(database, max_readings_s_per_peer=1000.0) as ingest:
        batches = [pb.UploadReadingsRequest(readings=readings(1500 * i, 1500)) for i in range(8)]
        summary = await asyncio.wait_for(ingest.UploadReadings(iter(batches)), 60)
        assert (summary.batches, summary.stored) == (8, 12_000)


@pytest.mark.parametrize("method", ["StreamReadings", "UploadReadings"])
async def test_a_stream_too_many_is_refused_and_another_may_be_opened_when_one_has_ended(
    database: str, method: str
) -> None:
    async with serving(database, max_streams_per_peer=2) as ingest:
        first, second = ingest.StreamReadings(), ingest.StreamReadings()
        for call in (first, second):
            await call.write(pb.StreamReadingsRequest(batch_id=1))
            await call.read()
        assert await refusal_of(getattr(ingest, method)()) == STREAM_RETRY_S
        assert (await ingest.IngestReadings(pb.IngestReadingsRequest(readings=readings(0, 1)))).stored == 1
        await first.done_writing()
        assert await first.code() is grpc.StatusCode.OK
        third = ingest.StreamReadings()
        await third.write(pb.StreamReadingsRequest(batch_id=1))
        assert [ack.batch_id for ack in (await third.read()).acks] == [1]
        second.cancel()
