"""StateService.WatchStates, over the wire and on a real store."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest
import redis.asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2 as details_pb2
from grpc_status import rpc_status

from state_service import changes
from state_service.config import StateConfig
from state_service.service import lifespan
from wattstream import server
from wattstream.api.state.v1 import state_pb2 as pb
from wattstream.api.state.v1 import state_pb2_grpc
from wattstream.api.telemetry.v1 import telemetry_pb2

NOW_S = int(time.time())
DEADLINE_S = 30

Stub: TypeAlias = "state_pb2_grpc.StateServiceAsyncStub"
Watch: TypeAlias = "grpc.aio.UnaryStreamCall[pb.WatchStatesRequest, pb.WatchStatesResponse]"


@asynccontextmanager
async def service(redis_url: str, **settings: Any) -> AsyncIterator[Stub]:
    """Serve the live state and yield a client of it."""
    config = StateConfig(listen="127.0.0.1:0", redis_url=redis_url, **settings)
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield state_pb2_grpc.StateServiceStub(channel)


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[Stub]:
    """Yield a client of a state service on an empty store."""
    async with service(redis_url) as stub:
        yield stub


def at(second: int) -> Timestamp:
    return Timestamp(seconds=NOW_S + second)


def vehicle(device: str, second: int = 0) -> pb.ReceivedReading:
    reading = telemetry_pb2.VehicleReading(
        vehicle_id=device, recorded_at=at(second), soc=second % 100, kwh_delivered_dc=0.5, battery_temp=30.0
    )
    return pb.ReceivedReading(reading=telemetry_pb2.Reading(vehicle=reading), received_at=at(0))


def meter(device: str, second: int = 0) -> pb.ReceivedReading:
    reading = telemetry_pb2.MeterReading(meter_id=device, recorded_at=at(second), kwh_consumed_ac=0.5, voltage=230.0)
    return pb.ReceivedReading(reading=telemetry_pb2.Reading(meter=reading), received_at=at(0))


async def apply(state: Stub, *readings: pb.ReceivedReading) -> None:
    await state.ApplyReadings(pb.ApplyReadingsRequest(readings=readings))


def seconds(states: Any) -> dict[str, int]:
    """Return when each state was recorded, by device, in seconds after the tests began."""
    named = [
        (s.vehicle, s.vehicle.vehicle_id) if s.HasField("vehicle") else (s.meter, s.meter.meter_id) for s in states
    ]
    return {device: state.recorded_at.seconds - NOW_S for state, device in named}


async def snapshot(call: Watch) -> dict[str, int]:
    """Read a snapshot to its end."""
    got: dict[str, int] = {}
    async with asyncio.timeout(DEADLINE_S):
        async for message in call:
            assert message.snapshot
            got |= seconds(message.states)
            if message.snapshot_complete:
                return got
    raise AssertionError("the stream ended before the snapshot did")


async def changes_until(call: Watch, done: Callable[[dict[str, int]], bool]) -> tuple[dict[str, int], int, int]:
    """Read changes until what was read is `done`; return it, how many values came and how many were skipped."""
    got: dict[str, int] = {}
    count = skipped = 0
    async with asyncio.timeout(DEADLINE_S):
        async for message in call:
            assert not message.snapshot
            for device, second in seconds(message.states).items():
                assert second > got.get(device, -1), "a state went back"
                got[device] = second
            count += len(message.states)
            skipped += message.skipped
            if done(got):
                return got, count, skipped
    raise AssertionError("the stream ended")


async def test_a_watch_begins_with_all_states_and_goes_on_with_changes(state: Stub) -> None:
    await apply(state, vehicle("V1", 1), vehicle("V2", 2), meter("M1", 3))
    call = state.WatchStates(pb.WatchStatesRequest())
    assert await snapshot(call) == {"V1": 1, "V2": 2, "M1": 3}

    await apply(state, vehicle("V1", 9), vehicle("V2", 1), meter("M2", 4))

    assert await changes_until(call, lambda got: len(got) == 2) == ({"V1": 9, "M2": 4}, 2, 0)


async def test_the_snapshot_of_an_empty_store_is_complete_at_once(state: Stub) -> None:
    assert await snapshot(state.WatchStates(pb.WatchStatesRequest())) == {}


async def test_a_large_snapshot_comes_in_parts(state: Stub) -> None:
    await apply(state, *(vehicle(f"V{i}") for i in range(1_200)))
    assert len(await snapshot(state.WatchStates(pb.WatchStatesRequest()))) == 1_200


@pytest.mark.parametrize(
    ("request_", "seen"),
    [
        (pb.WatchStatesRequest(kind=telemetry_pb2.DEVICE_KIND_VEHICLE), {"X", "V1"}),
        (pb.WatchStatesRequest(kind=telemetry_pb2.DEVICE_KIND_METER), {"X", "M1"}),
        (pb.WatchStatesRequest(vehicle_ids=["V1", "V9"], meter_ids=["M1"]), {"V1", "M1"}),
    ],
)
async def test_a_watch_is_of_what_was_asked_for(state: Stub, request_: pb.WatchStatesRequest, seen: set[str]) -> None:
    await apply(state, vehicle("V1", 1), vehicle("X", 1), meter("M1", 1), meter("X", 1))
    call = state.WatchStates(request_)
    assert set(await snapshot(call)) == seen

    await apply(state, vehicle("V1", 2), vehicle("X", 2), meter("M1", 2), meter("X", 2))

    assert set((await changes_until(call, lambda got: set(got) == seen))[0]) == seen


async def test_a_change_made_through_one_service_reaches_those_who_watch_another(redis_url: str) -> None:
    async with service(redis_url) as one, service(redis_url) as other:
        call = one.WatchStates(pb.WatchStatesRequest())
        await snapshot(call)
        await apply(other, vehicle("V1", 5))
        assert (await changes_until(call, bool))[0] == {"V1": 5}


async def test_nothing_is_missed_between_the_snapshot_and_the_changes(state: Stub) -> None:
    last = 60

    async def ingest() -> None:
        for second in range(last + 1):
            await apply(state, *(vehicle(f"V{i}", second) for i in range(20)))

    async def watched() -> dict[str, int]:
        call = state.WatchStates(pb.WatchStatesRequest())
        got: dict[str, int] = {}
        async with asyncio.timeout(DEADLINE_S):
            async for message in call:
                got |= seconds(message.states)
                if len(got) == 20 and set(got.values()) == {last}:
                    break
        return got

    _, *seen = await asyncio.gather(ingest(), *(watched() for _ in range(5)))
    assert seen == [{f"V{i}": last for i in range(20)}] * 5


async def test_a_slow_watcher_gets_the_newest_and_is_told_what_it_missed(redis_url: str) -> None:
    devices, last = 500, 40
    # Far more than this channel holds: the service has to wait for its watcher while states go on changing.
    small = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    config = StateConfig(listen="127.0.0.1:0", redis_url=redis_url)
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address, small) as channel:
        state = state_pb2_grpc.StateServiceStub(channel)
        call = state.WatchStates(pb.WatchStatesRequest())
        await snapshot(call)

        for second in range(1, last + 1):
            await apply(state, *(vehicle(f"V{i}", second) for i in range(devices)))

        got, count, skipped = await changes_until(call, lambda got: set(got.values()) == {last} and len(got) == devices)
    assert got == {f"V{i}": last for i in range(devices)}
    assert skipped > 0
    assert count + skipped == devices * last


async def test_a_reading_applied_again_is_told_again_but_not_to_those_who_have_it(state: Stub, redis_url: str) -> None:
    call = state.WatchStates(pb.WatchStatesRequest())
    await snapshot(call)
    async with (
        redis.asyncio.Redis.from_url(redis_url) as store,
        store.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        await channel.subscribe(changes.channel_of(store))
        await channel.parse_response()
        for reading in (vehicle("V1", 1), vehicle("V1", 1), vehicle("V2", 2)):
            await apply(state, reading)
        async with asyncio.timeout(DEADLINE_S):
            published = [(await anext(channel.listen()))["data"] for _ in range(3)]

    assert published[0] == published[1]
    assert await changes_until(call, lambda got: "V2" in got) == ({"V1": 1, "V2": 2}, 2, 0)


async def test_after_the_store_was_emptied_a_new_snapshot_comes_and_older_states_count(
    state: Stub, redis_url: str
) -> None:
    await apply(state, vehicle("V1", 9))
    call = state.WatchStates(pb.WatchStatesRequest())
    assert await snapshot(call) == {"V1": 9}
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        await store.flushdb()

    await apply(state, vehicle("V1", 5))

    assert await snapshot(call) == {"V1": 5}


async def test_a_message_of_another_make_ends_no_watch(state: Stub, redis_url: str) -> None:
    call = state.WatchStates(pb.WatchStatesRequest())
    await snapshot(call)
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        assert await store.publish(changes.channel_of(store), "not ours") == 1
    assert await snapshot(call) == {}
    await apply(state, vehicle("V1", 1))
    assert (await changes_until(call, bool))[0] == {"V1": 1}


async def test_a_watch_ends_with_unavailable_when_the_server_shuts_down(redis_url: str) -> None:
    config = StateConfig(listen="127.0.0.1:0", redis_url=redis_url, drain_s=DEADLINE_S)
    async with AsyncExitStack() as channels:
        async with server.serving(config, lifespan) as address:
            channel = await channels.enter_async_context(grpc.aio.insecure_channel(address))
            call = state_pb2_grpc.StateServiceStub(channel).WatchStates(pb.WatchStatesRequest())
            await snapshot(call)
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down; watch again") as caught:
            await anext(aiter(call))
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert retry_is_advised(caught.value)


async def test_one_watcher_too_many_is_told_to_come_again_and_a_place_is_free_once_one_goes(redis_url: str) -> None:
    async with service(redis_url, max_watchers=1) as state:
        first = state.WatchStates(pb.WatchStatesRequest())
        await snapshot(first)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await snapshot(state.WatchStates(pb.WatchStatesRequest()))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert retry_is_advised(caught.value)

        first.cancel()

        async with asyncio.timeout(DEADLINE_S):
            while not await may_watch(state):
                await asyncio.sleep(0.01)


async def may_watch(state: Stub) -> bool:
    try:
        await snapshot(state.WatchStates(pb.WatchStatesRequest()))
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.WatchStatesRequest(kind=7), "kind"),  # type: ignore[arg-type]
        (pb.WatchStatesRequest(kind=telemetry_pb2.DEVICE_KIND_METER, meter_ids=["M1"]), "kind"),
        (pb.WatchStatesRequest(vehicle_ids=["V1"] * 1_001), "vehicle_ids"),
        (pb.WatchStatesRequest(meter_ids=["M1", ""]), "meter_ids[1]"),
    ],
)
async def test_a_bad_field_is_refused_by_name(state: Stub, request_: pb.WatchStatesRequest, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await snapshot(state.WatchStates(request_))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    bad = details_pb2.BadRequest()
    assert any(packed.Unpack(bad) for packed in rpc_status.from_call(caught.value).details)
    assert [violation.field for violation in bad.field_violations] == [field]


def retry_is_advised(error: grpc.aio.AioRpcError) -> bool:
    return any(packed.Is(details_pb2.RetryInfo.DESCRIPTOR) for packed in rpc_status.from_call(error).details)
