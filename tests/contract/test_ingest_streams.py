"""StreamReadings, over the wire and on a real database: acknowledgements, refusals, cancelled and ended streams."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
import psycopg
import pytest

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream import server
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

NOWHERE = "127.0.0.1:1"
NOW_S = int(time.time()) - 86_400
Stub = "ingest_pb2_grpc.IngestServiceAsyncStub"


def serve(dsn: str, **settings: object) -> server.AbstractAsyncContextManager[str]:
    config = IngestConfig(listen="127.0.0.1:0", postgres_dsn=dsn, state_address=NOWHERE, **settings)  # type: ignore[arg-type]
    return server.serving(config, lifespan)


@asynccontextmanager
async def client(address: str) -> AsyncIterator["ingest_pb2_grpc.IngestServiceAsyncStub"]:
    async with grpc.aio.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        yield ingest_pb2_grpc.IngestServiceStub(channel)


@pytest.fixture
async def ingest(database: str) -> AsyncIterator["ingest_pb2_grpc.IngestServiceAsyncStub"]:
    async with serve(database) as address, client(address) as stub:
        yield stub


def meter(number: int = 0, *, of: str = "M1", kwh: float = 0.5) -> Reading:
    """Return the reading of a meter `number` seconds after the same time yesterday."""
    reading = Reading()
    reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = of, kwh, 230.0
    reading.meter.recorded_at.seconds = NOW_S + number
    return reading


def batch(batch_id: int, *readings: Reading) -> pb.StreamReadingsRequest:
    return pb.StreamReadingsRequest(batch_id=batch_id, readings=readings)


async def acks_of(stub: Stub, *batches: pb.StreamReadingsRequest) -> list[pb.BatchAck]:  # type: ignore[valid-type]
    call = stub.StreamReadings(iter(batches))
    return [ack async for response in call for ack in response.acks]


def count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM meter_readings").fetchone()
        assert row
        return int(row[0])


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_batches_are_acknowledged_in_their_order_under_their_names(ingest: Stub, database: str) -> None:
    batches = [batch(1000 - i, *(meter(i * 10 + j) for j in range(i % 4))) for i in range(200)]
    acks = await acks_of(ingest, *batches)
    assert [(ack.batch_id, ack.stored) for ack in acks] == [(1000 - i, i % 4) for i in range(200)]
    assert count(database) == 300


async def test_one_response_may_acknowledge_several_batches(database: str) -> None:
    async with serve(database) as address, client(address) as ingest:
        await acks_of(ingest, batch(0, meter()))
        async with await psycopg.AsyncConnection.connect(database) as blocker:
            await blocker.execute("LOCK TABLE meter_readings IN ACCESS EXCLUSIVE MODE")
            call = ingest.StreamReadings()
            for i in range(6):
                await call.write(batch(i, meter(10 + i)))
            await call.done_writing()
        responses = [[ack.batch_id for ack in response.acks] async for response in call]
        assert [batch_id for batch_ids in responses for batch_id in batch_ids] == list(range(6))
        assert len(responses) < 6
        assert await call.code() is grpc.StatusCode.OK


async def test_a_batch_that_can_never_be_stored_is_refused_and_the_stream_goes_on(ingest: Stub) -> None:
    acks = await acks_of(
        ingest,
        batch(1, meter(1)),
        batch(2, *[Reading()] * 100_000),
        batch(3, *[meter(3)] * 10_001),
        batch(4),
        batch(5, Reading(), meter(5), meter(1)),
        batch(6, *map(meter, range(10, 10_010))),
    )
    assert [(a.batch_id, a.stored, a.duplicates, a.rejected, len(a.rejections)) for a in acks] == [
        (1, 1, 0, 0, 0),
        (2, 0, 0, 100_000, 0),
        (3, 0, 0, 10_001, 0),
        (4, 0, 0, 0, 0),
        (5, 1, 1, 1, 1),
        (6, 10_000, 0, 0, 0),
    ]
    assert acks[1].refusal == "holds 100000 readings; at most 10000 are accepted in one message"
    assert [bool(ack.refusal) for ack in acks] == [False, True, True, False, False, False]


async def test_many_rejections_never_make_a_response_that_clients_do_not_accept(ingest: Stub) -> None:
    bad = [meter(of="\U0001f50c" * 70)] * 9000
    acks = await acks_of(ingest, *(batch(i, *bad) for i in range(8)))
    assert [(ack.batch_id, len(ack.rejections)) for ack in acks] == [(i, 9000) for i in range(8)]


async def test_what_is_no_message_is_refused_in_its_acknowledgement_and_the_stream_goes_on(database: str) -> None:
    async with serve(database) as address, grpc.aio.insecure_channel(address) as channel:
        method = "/wattstream.api.ingest.v1.IngestService/StreamReadings"
        call = channel.stream_stream(method, response_deserializer=pb.StreamReadingsResponse.FromString)()
        await call.write(batch(7, meter()).SerializeToString())
        await call.write(b"\xff\xff\xff garbage")
        await call.write(batch(9, meter(1)).SerializeToString())
        await call.done_writing()
        acks = [ack async for response in call for ack in response.acks]
        assert [(ack.batch_id, ack.stored, ack.refusal) for ack in acks] == [
            (7, 1, ""),
            (0, 0, "cannot be decoded"),
            (9, 1, ""),
        ]


async def test_a_message_over_the_limit_ends_the_stream_in_clear_words(ingest: Stub, database: str) -> None:
    call = ingest.StreamReadings()
    await call.write(batch(1, meter(1)))
    assert [ack.batch_id for ack in (await call.read()).acks] == [1]
    await call.write(batch(2, *[meter(2, of="M" * 64)] * 50_000))
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in await call.details()
    assert [ack.duplicates for ack in await acks_of(ingest, batch(3, meter(1)))] == [1]
    assert count(database) == 1


async def test_a_stream_given_up_midway_leaves_what_was_committed_and_nothing_else_behind(database: str) -> None:
    async with serve(database) as address, client(address) as ingest:
        await acks_of(ingest, batch(0, meter()))
        quiet = asyncio.all_tasks()
        for round_ in range(20):
            call = ingest.StreamReadings()
            for i in range(1 + round_ % 5):
                await call.write(batch(i, meter(1 + round_ * 5 + i)))
            if round_ % 2:
                await call.read()
            call.cancel()
        assert [ack.stored for ack in await acks_of(ingest, batch(1, meter(1000)))] == [1]
        assert count(database) >= 2 + 10  # of every second call at least the batch that was acknowledged
        await eventually(lambda: len(asyncio.all_tasks()) <= len(quiet))


async def test_two_streams_that_send_the_same_readings_at_once_store_each_once(ingest: Stub, database: str) -> None:
    batches = [batch(i, *(meter(i * 50 + j) for j in range(50))) for i in range(40)]
    answers = await asyncio.gather(*(acks_of(ingest, *batches) for _ in range(4)))
    assert all([ack.batch_id for ack in acks] == list(range(40)) for acks in answers)
    assert all(ack.stored + ack.duplicates == 50 for acks in answers for ack in acks)
    assert sum(ack.stored for acks in answers for ack in acks) == count(database) == 2000


async def test_two_services_on_one_database_store_each_reading_once(database: str) -> None:
    batches = [batch(i, *(meter(j, of=f"M{(i + j) % 60}") for j in range(60))) for i in range(40)]
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(serve(database)) for _ in range(2)]
        stubs = [await stack.enter_async_context(client(address)) for address in addresses]
        answers = await asyncio.gather(*(acks_of(stub, *batches) for stub in stubs))
    assert sum(ack.stored for acks in answers for ack in acks) == count(database)
    assert count(database) == len(
        {(r.meter.meter_id, r.meter.recorded_at.seconds) for b in batches for r in b.readings}
    )


async def test_a_stream_is_held_while_the_buffer_is_full_and_nothing_of_it_is_lost(database: str) -> None:
    async with serve(database, max_buffered_bytes=4000, stream_window_bytes=3000) as address, client(address) as ingest:
        await acks_of(ingest, batch(0, meter()))
        async with await psycopg.AsyncConnection.connect(database) as blocker:
            await blocker.execute("LOCK TABLE meter_readings IN ACCESS EXCLUSIVE MODE")
            calls = [
                asyncio.create_task(
                    acks_of(
                        ingest, *(batch(i, *(meter(1 + i * 30 + j, of=f"M{n}") for j in range(30))) for i in range(20))
                    )
                )
                for n in range(4)
            ]
            await asyncio.wait(calls, timeout=0.3)
            assert not any(call.done() for call in calls)
        assert [ack.stored for acks in await asyncio.gather(*calls) for ack in acks] == [30] * 80


async def test_a_sender_that_does_not_read_what_it_is_told_is_held_too(database: str) -> None:
    messages, bad = 1500, [meter(of="?" * 70)] * 200
    async with serve(database, stream_window_bytes=50_000) as address, client(address) as ingest:
        call, written = ingest.StreamReadings(), [0]

        async def write_all() -> None:
            for i in range(messages):
                await call.write(batch(i, *bad))
                written[0] += 1
            await call.done_writing()

        writing, before = asyncio.create_task(write_all()), -1
        while before != (before := written[0]):
            await asyncio.wait([writing], timeout=1)
        assert written[0] < messages
        acks = [ack async for response in call for ack in response.acks]
        assert [(ack.batch_id, ack.rejected) for ack in acks] == [(i, 200) for i in range(messages)]
        await writing


async def test_at_shutdown_streams_end_after_their_last_acknowledgement(database: str) -> None:
    async with AsyncExitStack() as stack:
        serving = serve(database)
        address = await serving.__aenter__()
        ingest = await stack.enter_async_context(client(address))
        await acks_of(ingest, batch(0, meter()))
        blocker = await stack.enter_async_context(await psycopg.AsyncConnection.connect(database))
        await blocker.execute("LOCK TABLE meter_readings IN ACCESS EXCLUSIVE MODE")
        idle, busy = ingest.StreamReadings(), ingest.StreamReadings()
        await idle.write(batch(1, meter(1)))
        await busy.write(batch(2, meter(2)))
        await asyncio.sleep(0.1)  # so that both are taken in
        stopping = asyncio.create_task(serving.__aexit__(None, None, None))
        await asyncio.wait([stopping], timeout=0.2)
        assert not stopping.done()
        await blocker.rollback()
        for call, batch_id in ((idle, 1), (busy, 2)):
            assert [ack.batch_id for ack in (await call.read()).acks] == [batch_id]
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert "shutting down" in await call.details()
        await stopping
    assert count(database) == 3


async def test_shutdown_does_not_wait_longer_than_it_may_for_a_database_that_hangs(database: str) -> None:
    async with AsyncExitStack() as stack:
        serving = serve(database, drain_s=0.5)
        address = await serving.__aenter__()
        ingest = await stack.enter_async_context(client(address))
        await acks_of(ingest, batch(0, meter()))
        blocker = await stack.enter_async_context(await psycopg.AsyncConnection.connect(database))
        await blocker.execute("LOCK TABLE meter_readings IN ACCESS EXCLUSIVE MODE")
        call = ingest.StreamReadings()
        await call.write(batch(1, meter(1)))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            await serving.__aexit__(None, None, None)
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
