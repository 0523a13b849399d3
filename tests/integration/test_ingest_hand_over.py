"""The newest reading of every device reaches the state service, whatever was away, emptied or started again."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
import numpy as np
import pytest
import redis.asyncio

import state_service.service
from ingest_service.config import IngestConfig
from ingest_service.hand_over import HandOver, Timing
from ingest_service.readings import METER, VEHICLE, KeyedRows
from ingest_service.registry import Registry
from ingest_service.service import lifespan
from state_service.config import StateConfig
from wattstream import server
from wattstream.api.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from wattstream.api.state.v1 import state_pb2, state_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

DAY_S = 86_400
NOW_S = int(time.time()) - 3600
Ingest = "ingest_pb2_grpc.IngestServiceAsyncStub"
State = "state_pb2_grpc.StateServiceAsyncStub"


@pytest.fixture
def state_address() -> str:
    """Return a free address, for a state service that comes and goes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def state_serving(address: str, redis_url: str) -> AsyncIterator[State]:
    config = StateConfig(listen=address, redis_url=redis_url, drain_s=0.1)
    async with (
        server.serving(config, state_service.service.lifespan) as found,
        grpc.aio.insecure_channel(found) as channel,
    ):
        yield state_pb2_grpc.StateServiceStub(channel)


@asynccontextmanager
async def ingesting(dsn: str, state_address: str) -> AsyncIterator[Ingest]:
    config = IngestConfig(
        listen="127.0.0.1:0",
        postgres_dsn=dsn,
        state_address=state_address,
        hand_over_interval_s=0.01,
        state_probe_s=0.1,
        drain_s=1,
    )
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield ingest_pb2_grpc.IngestServiceStub(channel)


def meter(of: str, at_s: int, kwh: float = 0.5) -> Reading:
    reading = Reading()
    reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = of, kwh, 230.0
    reading.meter.recorded_at.seconds = at_s
    return reading


def vehicle(of: str, at_s: int, soc: float = 50.0, behind: str = "") -> Reading:
    reading = Reading()
    reading.vehicle.vehicle_id, reading.vehicle.meter_id = of, behind
    reading.vehicle.soc, reading.vehicle.kwh_delivered_dc, reading.vehicle.battery_temp = soc, 0.4, 20.0
    reading.vehicle.recorded_at.seconds = at_s
    return reading


async def send(ingest: Ingest, *readings: Reading) -> None:
    answer = await ingest.IngestReadings(ingest_pb2.IngestReadingsRequest(readings=readings))
    assert answer.rejected == 0


async def live(state: State) -> dict[str, tuple]:
    """Return what the state service has: of each device the time and what it measured."""
    meters = await state.ListMeterStates(state_pb2.ListMeterStatesRequest(page_size=1000))
    vehicles = await state.ListVehicleStates(state_pb2.ListVehicleStatesRequest(page_size=1000))
    return {m.meter_id: (m.recorded_at.seconds, m.kwh_consumed_ac) for m in meters.states} | {
        v.vehicle_id: (v.recorded_at.seconds, v.soc, v.meter_id) for v in vehicles.states
    }


async def until_live(state: State, expected: dict[str, tuple]) -> None:
    found: dict[str, tuple] = {}
    try:
        async with asyncio.timeout(30):
            while found != expected:
                await asyncio.sleep(0.01)
                found = await live(state)
    except TimeoutError:
        assert found == expected


async def test_the_newest_reading_of_each_device_arrives(database: str, redis_url: str, state_address: str) -> None:
    async with (
        state_serving(state_address, redis_url) as state,
        ingesting(database, state_address) as ingest,
    ):
        before = time.time()
        await send(ingest, vehicle("V1", NOW_S, 20.0), vehicle("V1", NOW_S + 60, 21.0, "M1"), meter("M1", NOW_S))
        expected = {"V1": (NOW_S + 60, 21.0, "M1"), "M1": (NOW_S, 0.5)}
        await until_live(state, expected)
        found = await state.GetVehicleState(state_pb2.GetVehicleStateRequest(vehicle_id="V1"))
        assert before <= found.state.received_at.ToMicroseconds() / 1e6 <= time.time()
        await send(ingest, vehicle("V1", NOW_S + 30, 99.0), vehicle("V1", NOW_S + 60, 99.0))
        await send(ingest, meter("M2", NOW_S))
        await until_live(state, expected | {"M2": (NOW_S, 0.5)})


async def test_the_state_service_may_come_late_and_go_for_a_while(
    database: str, redis_url: str, state_address: str
) -> None:
    async with ingesting(database, state_address) as ingest:
        for number in range(30):
            await send(ingest, *(meter(f"M{i}", NOW_S + number, number) for i in range(20)))
        async with state_serving(state_address, redis_url) as state:
            await until_live(state, {f"M{i}": (NOW_S + 29, 29.0) for i in range(20)})
        await send(ingest, meter("M1", NOW_S + 100, 1.0))
        async with state_serving(state_address, redis_url) as state:
            await until_live(state, {f"M{i}": (NOW_S + 29, 29.0) for i in range(20)} | {"M1": (NOW_S + 100, 1.0)})


async def test_a_store_that_comes_back_empty_is_filled_from_history(
    database: str, redis_url: str, state_address: str
) -> None:
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(state_serving(state_address, redis_url))
        ingest = await stack.enter_async_context(ingesting(database, state_address))
        store = await stack.enter_async_context(redis.asyncio.Redis.from_url(redis_url))
        expected: dict[str, tuple] = {"NEW": (NOW_S, 1.0)}
        for years in range(9):  # each device reported last in its own year, on a few days of it
            for day in range(20):
                at_s = NOW_S - years * 365 * DAY_S - day * DAY_S
                await send(ingest, meter(f"M{years}", at_s, day), vehicle(f"V{years}", at_s, day, f"M{years}"))
            newest_s = NOW_S - years * 365 * DAY_S
            expected |= {f"M{years}": (newest_s, 0.0), f"V{years}": (newest_s, 0.0, f"M{years}")}
        await send(ingest, meter("NEW", NOW_S, 1.0))
        await until_live(state, expected)
        await store.flushdb()
        await until_live(state, expected)
        found = await state.GetMeterState(state_pb2.GetMeterStateRequest(meter_id="M8"))
        assert found.state.received_at == found.state.recorded_at


async def test_a_service_started_again_hands_everything_over(database: str, redis_url: str, state_address: str) -> None:
    async with ingesting(database, state_address) as ingest:  # there is no state service yet
        await send(ingest, *(vehicle(f"V{i}", NOW_S - i * 40 * DAY_S, 30.0) for i in range(5)))
    async with (
        state_serving(state_address, redis_url) as state,
        ingesting(database, state_address),
    ):
        await until_live(state, {f"V{i}": (NOW_S - i * 40 * DAY_S, 30.0, "") for i in range(5)})


def rows(kind: object, devices: int, at_us: int, shuffled: Callable[[int], np.ndarray]) -> KeyedRows:
    keys = shuffled(devices) + 1
    width = len(kind.values)  # type: ignore[attr-defined]
    return KeyedRows(
        kind,  # type: ignore[arg-type]
        keys,
        np.zeros(devices, np.int64),
        np.full(devices, at_us),
        np.full((devices, width), float(at_us)),
        np.full(devices, at_us),
    )


async def test_what_waits_for_the_state_service_is_one_reading_a_device_however_much_is_stored() -> None:
    nobody = grpc.aio.insecure_channel("127.0.0.1:1")
    pool: object = None
    hand_over = HandOver(
        pool,  # type: ignore[arg-type]
        Registry(),
        state_pb2_grpc.StateServiceStub(nobody),
        Timing(0, 1, 1),
    )
    shuffled = np.random.default_rng(3).permutation
    most = 0
    for minute in range(200):
        hand_over.offer([rows(METER, 4000, minute, shuffled), rows(VEHICLE, 6000, minute, shuffled)], True)
        most = max(most, sum(len(part) for parts in hand_over._waiting.values() for part in parts))
    assert most < 50_000 + 4 * 10_000
    taken = {part.kind: part for part in hand_over._take()}
    assert [len(taken[METER]), len(taken[VEHICLE])] == [4000, 6000]
    assert all((part.recorded_at_us == 199).all() and (part.values == 199).all() for part in taken.values())
    await nobody.close()
