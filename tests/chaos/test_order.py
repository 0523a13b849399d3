"""However readings come in, history and live state end as if each had been sent once, in order.

A fleet's clients send batches over several streams, uploads and unary calls at once, with repeats within and between
them; the service is ended or killed, or its connections break around commits, and what has no acknowledgement is sent
again. "The same" means: where every sending of an identity (device, recorded_at) has the same values, history holds
each identity sent, once, with those values, and the live state of each device is its newest. Where values differ, the
first to be stored wins: history holds exactly one of those sent, the one acknowledged as stored if any was, and where
it is the device's newest the live state has the same.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import state_service.service
from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from state_service.config import StateConfig
from tests.chaos.fleet import METERS, START_S, VEHICLES, Batch, Delivery, Fleet, Sent
from wattstream import server
from wattstream.api.state.v1 import state_pb2, state_pb2_grpc

Make = Callable[..., Any]


@dataclass
class Round:
    """Deliveries under way at the same time, and what is done to the service after so many commits or answers."""

    deliveries: list[Delivery]
    disturbance: str
    after: int


def rounds(batches: st.SearchStrategy[Batch], disturbances: list[str]) -> st.SearchStrategy[list[Round]]:
    delivery = st.builds(
        Delivery, st.sampled_from(["stream", "stream", "unary", "upload"]), st.lists(batches, min_size=1, max_size=6)
    )
    return st.lists(
        st.builds(Round, st.lists(delivery, min_size=1, max_size=4), st.sampled_from(disturbances), st.integers(1, 6)),
        min_size=1,
        max_size=4,
    )


EXAMPLES = settings(
    max_examples=int(os.environ.get("WATTSTREAM_TEST_EXAMPLES", "15")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # what crashes do is not the same twice: nothing to shrink
    suppress_health_check=list(HealthCheck),
)
DEVICES, SECONDS = st.integers(0, 5), st.integers(0, 15)
IDENTICAL = st.lists(st.builds(lambda d, s: Sent(d, s, 16 * d + s), DEVICES, SECONDS), min_size=1, max_size=12).map(
    tuple
)
CONFLICTING = st.builds(Sent, DEVICES, st.integers(0, 3), st.integers(0, 50)).map(lambda sent: (sent,))


@dataclass
class World:
    """The service under test: where it is, and what can be done to it."""

    address: str
    dsn: str
    state: Any
    disturb: Callable[[str, int, Fleet], Awaitable[None]]


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[tuple[str, Any]]:
    """Yield the address of a state service, and a stub for it."""
    config = StateConfig(listen="127.0.0.1:0", redis_url=redis_url)
    async with (
        server.serving(config, state_service.service.lifespan) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield address, state_pb2_grpc.StateServiceStub(channel)


@pytest.fixture
async def within(database: str, state: tuple[str, Any], make_way: Make) -> AsyncIterator[World]:
    """Yield the service in this process, with a way to the database that can break after a commit."""
    way = make_way(database)
    await way.open()
    serving = AsyncExitStack()

    async def start() -> None:
        given = {"listen": "127.0.0.1:0", "postgres_dsn": way.dsn, "state_address": state[0], "drain_s": 0.01}
        config = IngestConfig(**given, hand_over_interval_s=0.01)  # type: ignore[arg-type]
        world.address = await serving.enter_async_context(server.serving(config, lifespan))

    async def disturb(how: str, after: int, fleet: Fleet) -> None:
        if how == "broken":
            number = way.commits + 1 + after % 3
            way.breaks_at = lambda commit: commit == number
        elif how == "ended":
            await until_answered(fleet, after)
            await serving.aclose()
            await start()

    world = World("", database, state[1], disturb)
    await start()
    yield world
    await serving.aclose()


@pytest.fixture
async def process(database: str, state: tuple[str, Any], make_process: Make) -> World:
    """Return the service as a process, to be killed."""
    running = make_process(database, state_address=state[0], hand_over_interval_s=0.01)

    async def disturb(how: str, after: int, fleet: Fleet) -> None:
        if how == "killed":
            await until_answered(fleet, after)
            await running.end(signal.SIGKILL)
            await running.start()
            async with asyncio.timeout(60):
                while not await is_serving():
                    pass

    async def is_serving() -> bool:
        try:
            await running.until_serving()
        except grpc.aio.AioRpcError:  # asked over a connection to the process that was killed
            return False
        return True

    await running.start()
    await running.until_serving()
    return World(running.address, database, state[1], disturb)


async def until_answered(fleet: Fleet, more: int) -> None:
    """Return after so many more answers, or when there have been none for a while."""
    answers = fleet.answers + more
    with suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            while fleet.answers < answers:
                await asyncio.sleep(0.001)


async def live_through(world: World, fleet: Fleet, script: list[Round]) -> None:
    for round_ in script:
        sending = [asyncio.create_task(fleet.deliver(world.address, delivery)) for delivery in round_.deliveries]
        await world.disturb(round_.disturbance, round_.after, fleet)
        await asyncio.gather(*sending)
    await fleet.resend(world.address)


def history(dsn: str, prefix: str) -> dict[tuple[int, int], int]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT device_id, extract(epoch FROM recorded_at)::int8, kwh_consumed_ac::int, NULL FROM meter_readings"
            " JOIN devices ON device_key = meter_key WHERE device_id LIKE %(of)s UNION ALL"
            " SELECT v.device_id, extract(epoch FROM recorded_at)::int8, kwh_delivered_dc::int, m.device_id"
            " FROM vehicle_readings JOIN devices AS v ON v.device_key = vehicle_key"
            " JOIN devices AS m ON m.device_key = meter_key WHERE v.device_id LIKE %(of)s",
            {"of": f"{prefix}-%"},
        ).fetchall()
    assert all(meter in {None, f"{prefix}-{value % 3}"} for _, _, value, meter in rows)
    found = {(int(name.rpartition("-")[2]), second - START_S): value for name, second, value, _ in rows}
    assert len(found) == len(rows), "an identity is there twice"
    return found


async def live(world: World, prefix: str) -> dict[int, tuple[int, int]]:
    meters = await world.state.BatchGetMeterStates(
        state_pb2.BatchGetMeterStatesRequest(meter_ids=[f"{prefix}-{n}" for n in METERS])
    )
    vehicles = await world.state.BatchGetVehicleStates(
        state_pb2.BatchGetVehicleStatesRequest(vehicle_ids=[f"{prefix}-{n}" for n in VEHICLES])
    )
    states = [(s.meter_id, s, s.kwh_consumed_ac) for s in meters.states] + [
        (s.vehicle_id, s, s.kwh_delivered_dc) for s in vehicles.states
    ]
    return {int(n.rpartition("-")[2]): (s.recorded_at.seconds - START_S, int(value)) for n, s, value in states}


async def assert_live_is_newest_of(stored: dict[tuple[int, int], int], world: World, prefix: str) -> None:
    newest = {device: (second, value) for (device, second), value in sorted(stored.items())}
    found = await live(world, prefix)
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while found != newest:
                await asyncio.sleep(0.01)
                found = await live(world, prefix)
    assert found == newest


async def check_identical(world: World, script: list[Round]) -> None:
    fleet = Fleet()
    await live_through(world, fleet, script)
    sent = {(s.device, s.second): s.value for r in script for d in r.deliveries for b in d.batches for s in b}
    assert history(world.dsn, fleet.prefix) == sent
    assert sum(stored for _, stored in fleet.ledger.told) <= len(sent)
    await assert_live_is_newest_of(sent, world, fleet.prefix)


async def check_conflicting(world: World, script: list[Round]) -> None:
    fleet = Fleet()
    await live_through(world, fleet, script)
    sent = {s for r in script for d in r.deliveries for b in d.batches for s in b}
    found = history(world.dsn, fleet.prefix)
    assert set(found) == {(s.device, s.second) for s in sent}
    assert {Sent(*identity, value) for identity, value in found.items()} <= sent
    won = [batch[0] for batch, stored in fleet.ledger.told if stored]
    assert len({(s.device, s.second) for s in won}) == len(won), "two are said to be stored"
    assert {(s.device, s.second): s.value for s in won}.items() <= found.items()
    await assert_live_is_newest_of(found, world, fleet.prefix)


@EXAMPLES
@given(script=rounds(IDENTICAL, ["none", "broken", "ended"]))
async def test_repeats_in_any_interleaving_and_crashes_change_nothing(within: World, script: list[Round]) -> None:
    await check_identical(within, script)


@EXAMPLES
@given(script=rounds(CONFLICTING, ["none", "broken", "ended"]))
async def test_of_different_values_exactly_one_wins_and_it_is_the_one_acknowledged_as_stored(
    within: World, script: list[Round]
) -> None:
    await check_conflicting(within, script)


@settings(EXAMPLES, max_examples=2)
@given(script=rounds(IDENTICAL, ["killed"]))
async def test_repeats_change_nothing_when_the_process_is_killed(process: World, script: list[Round]) -> None:
    await check_identical(process, script)


@settings(EXAMPLES, max_examples=2)
@given(script=rounds(CONFLICTING, ["killed"]))
async def test_exactly_one_value_wins_when_the_process_is_killed(process: World, script: list[Round]) -> None:
    await check_conflicting(process, script)
