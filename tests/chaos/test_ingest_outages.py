"""PostgreSQL goes away under the ingest service in every way; nothing acknowledged is lost, and all goes on after."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import state_service.service
from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from state_service.config import StateConfig
from wattstream import server
from wattstream.api.ingest.v1 import fleet_pb2, fleet_pb2_grpc, ingest_pb2, ingest_pb2_grpc
from wattstream.api.state.v1 import state_pb2, state_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

Make = Callable[..., Any]
RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


@asynccontextmanager
async def serving(dsn: str, **settings: object) -> AsyncIterator[str]:
    given = {"state_address": "127.0.0.1:1", "unary_wait_s": 0.5, "drain_s": 1.0} | settings
    async with server.serving(IngestConfig(listen="127.0.0.1:0", postgres_dsn=dsn, **given), lifespan) as address:  # type: ignore[arg-type]
        yield address


def a_reading() -> Reading:
    reading = Reading()
    reading.meter.recorded_at.seconds = seconds = int(time.time())
    reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = "UNARY", seconds % 1000, 230.0
    return reading


async def unary_failures(address: str) -> dict[str, grpc.StatusCode]:
    """Make one call of each kind, and return the statuses of those that fail; each says when to come again."""
    async with grpc.aio.insecure_channel(address) as channel:
        ingest, fleet = ingest_pb2_grpc.IngestServiceStub(channel), fleet_pb2_grpc.FleetServiceStub(channel)
        calls = {
            "IngestReadings": ingest.IngestReadings(ingest_pb2.IngestReadingsRequest(readings=[a_reading()])),
            "IngestTelemetry": ingest.IngestTelemetry(_flat(a_reading())),
            "ListDevices": fleet.ListDevices(fleet_pb2.ListDevicesRequest(), timeout=30),
        }
        answers = await asyncio.gather(*calls.values(), return_exceptions=True)
    failures = {n: a for n, a in zip(calls, answers, strict=True) if isinstance(a, grpc.aio.AioRpcError)}
    for failure in failures.values():
        details = rpc_status.from_call(failure).details
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details), failure
    return {name: failure.code() for name, failure in failures.items()}


def _flat(reading: Reading) -> ingest_pb2.IngestTelemetryRequest:
    meter = reading.meter
    return ingest_pb2.IngestTelemetryRequest(
        meter_id=meter.meter_id,
        recorded_at=meter.recorded_at,
        kwh_consumed_ac=meter.kwh_consumed_ac,
        voltage=meter.voltage,
    )


async def refused_for_now(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        request = ingest_pb2.IngestReadingsRequest(readings=[a_reading()])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest_pb2_grpc.IngestServiceStub(channel).IngestReadings(request)
    assert caught.value.code() in RETRYABLE
    details = rpc_status.from_call(caught.value).details
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_killed_under_load_it_loses_nothing_and_streams_go_on(
    fragile: Any, make_client: Make, stored: Make
) -> None:
    clients = [make_client(f"M{i}", 4000, pause_s=0.002) for i in range(5)]
    async with serving(fragile.dsn) as address:
        sending = [asyncio.create_task(client.send_all(address)) for client in clients]
        for progress in (500, 1500):
            await until(lambda progress=progress: sum(len(c.acked) for c in clients) > progress)
            fragile.kill()
            acked = {client.name: set(client.acked) for client in clients}
            found = stored(fragile.dsn)
            assert all(seconds <= found.get(name, set()) for name, seconds in acked.items())
        await asyncio.wait_for(asyncio.gather(*sending), 60)
    assert {client.name: client.acked for client in clients} == stored(fragile.dsn)
    assert all(client.statuses == [grpc.StatusCode.OK] for client in clients), "no stream was ended by it"


async def test_stopped_for_seconds_it_holds_streams_and_refuses_calls(
    fragile: Any, make_client: Make, stored: Make
) -> None:
    clients = [make_client(f"M{i}", 3000, pause_s=0.001) for i in range(5)]
    async with serving(fragile.dsn, max_buffered_bytes=10_000) as address:
        sending = [asyncio.create_task(client.send_all(address)) for client in clients]
        await until(lambda: sum(len(client.acked) for client in clients) > 500)
        with fragile.stopped():
            await refused_for_now(address)
            acked = sum(len(client.acked) for client in clients)
            for _ in range(3):
                await refused_for_now(address)
            assert sum(len(client.acked) for client in clients) == acked
        await asyncio.wait_for(asyncio.gather(*sending), 60)
    found = stored(fragile.dsn)
    found.pop("UNARY", None)
    assert {client.name: client.acked for client in clients} == found
    assert all(client.statuses == [grpc.StatusCode.OK] for client in clients)


async def test_away_it_refuses_unary_calls_and_holds_streams_until_it_is_back(
    database: str, make_way: Make, make_client: Make, stored: Make
) -> None:
    way, client = make_way(database), make_client("M1", 2000, pause_s=0.001)
    await way.open()
    async with serving(way.dsn) as address:
        assert await unary_failures(address) == {}
        sending = asyncio.create_task(client.send_all(address))
        await until(lambda: len(client.acked) > 200)
        await way.close()
        failures = await unary_failures(address)
        assert set(failures.values()) <= RETRYABLE
        assert set(failures) == {"IngestReadings", "IngestTelemetry", "ListDevices"}
        assert not sending.done()
        await way.open()
        await asyncio.wait_for(sending, 60)
        async with asyncio.timeout(30):
            while await unary_failures(address):
                await asyncio.sleep(0.05)
    assert stored(database)["M1"] == client.acked
    assert client.statuses == [grpc.StatusCode.OK]


async def test_away_at_the_start_it_is_waited_for(
    database: str, make_way: Make, make_process: Make, make_client: Make, stored: Make
) -> None:
    way = make_way(database)
    process, client = make_process(way.dsn), make_client("M1", 100)
    await process.start()
    sending = asyncio.create_task(client.send_all(process.address))
    await asyncio.wait([sending], timeout=2)
    assert not sending.done()
    assert client.acked == set()
    await way.open()
    await asyncio.wait_for(sending, 60)
    assert stored(database) == {"M1": client.acked}


@pytest.mark.parametrize("how", ["cut", "terminated"])
async def test_connections_lost_around_commits_lose_nothing_and_the_live_state_gets_the_newest(
    database: str, redis_url: str, make_way: Make, make_client: Make, stored: Make, *, how: str
) -> None:
    way = make_way(database)
    await way.open()
    clients = [make_client(f"M{i}", 1000, pause_s=0.001) for i in range(3)]
    config = StateConfig(listen="127.0.0.1:0", redis_url=redis_url)
    async with (
        server.serving(config, state_service.service.lifespan) as state_address,
        serving(way.dsn, state_address=state_address, hand_over_interval_s=0.01) as address,
        grpc.aio.insecure_channel(state_address) as channel,
    ):
        if how == "cut":
            way.breaks_at = lambda number: number > 10 and number % 4 == 0
        disturbing = asyncio.create_task(_terminate(database) if how == "terminated" else asyncio.sleep(0))
        await asyncio.wait_for(asyncio.gather(*(client.send_all(address) for client in clients)), 90)
        disturbing.cancel()
        way.breaks_at = lambda _: True  # the last readings of all become durable unnoticed, and nothing follows them
        last = make_client("LAST", 10)
        sending = asyncio.create_task(last.send_all(address))
        commits = way.commits
        await until(lambda: "LAST" in stored(database) and way.commits > commits)
        way.breaks_at = lambda _: False
        await asyncio.wait_for(sending, 60)
        assert {client.name: client.acked for client in [*clients, last]} == stored(database)
        state = state_pb2_grpc.StateServiceStub(channel)
        newest = {client.name: max(client.acked) for client in [*clients, last]}
        live: dict[str, int] = {}
        async with asyncio.timeout(30):
            while live != newest:
                await asyncio.sleep(0.02)
                answer = await state.ListMeterStates(state_pb2.ListMeterStatesRequest())
                live = {found.meter_id: found.recorded_at.seconds for found in answer.states}


async def _terminate(dsn: str) -> None:
    for _ in itertools.count():
        with suppress(psycopg.Error):
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'wattstream ingest%'"
                )
        await asyncio.sleep(0.15)
