"""StateService's unary calls, over the wire and on a real store."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import grpc.aio
import pytest
import redis.asyncio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2 as details_pb2
from grpc_status import rpc_status
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state_service.config import StateConfig
from state_service.service import lifespan
from wattstream import server
from wattstream.api.state.v1 import state_pb2 as pb
from wattstream.api.state.v1 import state_pb2_grpc
from wattstream.api.telemetry.v1 import telemetry_pb2

NOW_S = int(time.time())
DAY_S = 86_400.0  # the readings of a slow run count as recent all the same

Stub: TypeAlias = "state_pb2_grpc.StateServiceAsyncStub"


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[Stub]:
    """Yield a client of a state service on an empty store."""
    async with (
        server.serving(
            StateConfig(listen="127.0.0.1:0", redis_url=redis_url, online_within_s=DAY_S), lifespan
        ) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield state_pb2_grpc.StateServiceStub(channel)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """Yield a client of the store itself."""
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def at(offset_us: int = 0) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMicroseconds(NOW_S * 1_000_000 + offset_us)
    return stamp


def vehicle(device: str = "V1", offset_us: int = 0, soc: float = 50.0, meter: str = "") -> pb.ReceivedReading:
    reading = telemetry_pb2.VehicleReading(
        vehicle_id=device,
        meter_id=meter,
        recorded_at=at(offset_us),
        soc=soc,
        kwh_delivered_dc=0.4227,
        battery_temp=30.1,
    )
    return pb.ReceivedReading(reading=telemetry_pb2.Reading(vehicle=reading), received_at=at())


def meter(device: str = "M1", offset_us: int = 0, kwh: float = 0.4796) -> pb.ReceivedReading:
    reading = telemetry_pb2.MeterReading(
        meter_id=device, recorded_at=at(offset_us), kwh_consumed_ac=kwh, voltage=229.875
    )
    return pb.ReceivedReading(reading=telemetry_pb2.Reading(meter=reading), received_at=at())


async def apply(state: Stub, *readings: pb.ReceivedReading) -> tuple[int, int]:
    answer = await state.ApplyReadings(pb.ApplyReadingsRequest(readings=readings))
    return answer.applied, answer.stale


async def soc_of(state: Stub, device: str = "V1") -> float:
    return (await state.GetVehicleState(pb.GetVehicleStateRequest(vehicle_id=device))).state.soc


def detail(error: grpc.aio.AioRpcError, message: Message) -> bool:
    """Fill `message` from the details of an error, if they hold one of its type."""
    status = rpc_status.from_call(error)
    return any(packed.Unpack(message) for packed in status.details)


async def test_a_vehicles_state_is_its_reading_to_the_last_bit(state: Stub) -> None:
    reading = vehicle("depot:1/V-1", offset_us=123_457, soc=0.1 + 0.2, meter="M:1")
    await apply(state, reading)

    answer = await state.GetVehicleState(pb.GetVehicleStateRequest(vehicle_id="depot:1/V-1"))

    assert answer.state == pb.VehicleState(
        vehicle_id="depot:1/V-1",
        meter_id="M:1",
        recorded_at=at(123_457),
        received_at=at(),
        soc=0.30000000000000004,
        kwh_delivered_dc=0.4227,
        battery_temp=30.1,
        online=True,
    )


async def test_a_meters_state_is_its_reading_to_the_last_bit(state: Stub) -> None:
    await apply(state, meter("M1", kwh=math.nextafter(0.4796, 1)))

    answer = await state.GetMeterState(pb.GetMeterStateRequest(meter_id="M1"))

    assert answer.state == pb.MeterState(
        meter_id="M1",
        recorded_at=at(),
        received_at=at(),
        kwh_consumed_ac=math.nextafter(0.4796, 1),
        voltage=229.875,
        online=True,
    )


async def test_a_vehicle_and_a_meter_of_one_id_are_two_devices(state: Stub) -> None:
    assert await apply(state, vehicle("X"), meter("X")) == (2, 0)
    assert await soc_of(state, "X") == 50.0
    assert (await state.GetMeterState(pb.GetMeterStateRequest(meter_id="X"))).state.voltage == 229.875


async def test_a_reading_a_microsecond_newer_replaces_the_state(state: Stub) -> None:
    assert await apply(state, vehicle(soc=1.0)) == (1, 0)
    assert await apply(state, vehicle(soc=2.0, offset_us=1)) == (1, 0)
    assert await soc_of(state) == 2.0


@pytest.mark.parametrize("offset_us", [-1, 0])
async def test_a_reading_as_old_or_older_changes_nothing(state: Stub, offset_us: int) -> None:
    await apply(state, vehicle(soc=1.0))
    assert await apply(state, vehicle(soc=2.0, offset_us=offset_us)) == (0, 1)
    assert await soc_of(state) == 1.0


async def test_a_newer_reading_replaces_the_whole_state(state: Stub, store: redis.asyncio.Redis) -> None:
    await apply(state, vehicle(meter="M1"))
    await store.hset("vehicle:V1", "of_another_version", "1")
    await apply(state, vehicle(meter="", offset_us=1))
    fields = await store.hgetall("vehicle:V1")
    assert fields["meter_id"] == ""
    assert "of_another_version" not in fields


async def test_of_a_batch_the_newest_of_a_device_is_applied_and_the_rest_is_stale(state: Stub) -> None:
    batch = [vehicle(soc=1.0), vehicle(soc=3.0, offset_us=2), vehicle(soc=2.0, offset_us=1), meter()]
    assert await apply(state, *batch) == (2, 2)
    assert await soc_of(state) == 3.0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 20), max_size=4), min_size=1, max_size=6))
async def test_batches_in_any_order_end_in_the_newest(state: Stub, batches: list[list[int]]) -> None:
    device = uuid.uuid4().hex
    sent = [[vehicle(device, offset, soc=float(offset)) for offset in offsets] for offsets in [[0], *batches]]

    await asyncio.gather(*(apply(state, *batch) for batch in sent))

    assert await soc_of(state, device) == max(offset for offsets in [[0], *batches] for offset in offsets)


async def test_ten_thousand_readings_are_applied_and_listed(state: Stub) -> None:
    assert await apply(state, *(vehicle(f"V{i}") for i in range(10_000))) == (10_000, 0)
    assert len(await all_pages(state, 1_000)) == 10_000


async def test_a_device_is_offline_when_it_was_last_heard_of_long_ago(state: Stub) -> None:
    long_ago = vehicle()
    long_ago.received_at.CopyFrom(at(-2 * round(DAY_S * 1e6)))
    await apply(state, long_ago)
    assert not (await state.GetVehicleState(pb.GetVehicleStateRequest(vehicle_id="V1"))).state.online


async def test_a_device_that_never_reported_is_not_found_by_name(state: Stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="vehicle V9 never reported") as caught:
        await soc_of(state, "V9")
    info = details_pb2.ResourceInfo()
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert detail(caught.value, info)
    assert (info.resource_type, info.resource_name) == ("vehicle", "V9")


async def test_a_batch_is_answered_in_its_order_each_device_once_and_says_who_is_missing(state: Stub) -> None:
    await apply(state, *(vehicle(f"V{i}") for i in range(3)), meter("M1"))

    vehicles = await state.BatchGetVehicleStates(
        pb.BatchGetVehicleStatesRequest(vehicle_ids=["V2", "M1", "V0", "V2", "V9"])
    )
    meters = await state.BatchGetMeterStates(pb.BatchGetMeterStatesRequest(meter_ids=["V0", "M1"]))

    assert [s.vehicle_id for s in vehicles.states] == ["V2", "V0"]
    assert list(vehicles.missing_vehicle_ids) == ["M1", "V9"]
    assert [s.meter_id for s in meters.states] == ["M1"]
    assert list(meters.missing_meter_ids) == ["V0"]


async def all_pages(state: Stub, size: int) -> list[str]:
    ids: list[str] = []
    request = pb.ListVehicleStatesRequest(page_size=size)
    while True:
        page = await state.ListVehicleStates(request)
        assert len(page.states) <= size
        ids += [s.vehicle_id for s in page.states]
        if not page.next_page_token:
            return ids
        request.page_token = page.next_page_token


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 1_000])
async def test_pages_of_any_size_visit_every_vehicle_once_by_id(state: Stub, size: int) -> None:
    devices = ["V10", "V9", "v1", "V1/a", "V1:a", "-"]
    await apply(state, *map(vehicle, devices), meter("M1"))
    assert await all_pages(state, size) == sorted(devices)


async def test_meters_are_listed_apart_from_vehicles(state: Stub) -> None:
    await apply(state, vehicle("A"), meter("B"), meter("C"))
    first = await state.ListMeterStates(pb.ListMeterStatesRequest(page_size=1))
    second = await state.ListMeterStates(pb.ListMeterStatesRequest(page_size=1, page_token=first.next_page_token))
    assert [s.meter_id for s in (*first.states, *second.states)] == ["B", "C"]
    assert second.next_page_token == ""


async def test_no_devices_make_one_empty_page(state: Stub) -> None:
    assert await state.ListVehicleStates(pb.ListVehicleStatesRequest()) == pb.ListVehicleStatesResponse()


async def test_an_id_listed_before_its_first_state_is_left_out(state: Stub, store: redis.asyncio.Redis) -> None:
    await apply(state, vehicle("A"), vehicle("B"), vehicle("C"))
    await store.delete("vehicle:B")
    assert await all_pages(state, 1) == ["A", "C"]


async def test_a_state_can_be_read_with_redis_cli(state: Stub, store: redis.asyncio.Redis) -> None:
    await apply(state, vehicle("V1", meter="M1"))
    assert await store.hgetall("vehicle:V1") == {
        "recorded_at_us": str(NOW_S * 1_000_000),
        "received_at_us": str(NOW_S * 1_000_000),
        "meter_id": "M1",
        "soc": "50.0",
        "kwh_delivered_dc": "0.4227",
        "battery_temp": "30.1",
    }


async def test_scripts_that_the_store_forgot_are_loaded_again(state: Stub, store: redis.asyncio.Redis) -> None:
    await apply(state, vehicle(soc=1.0))
    await store.script_flush()
    assert await apply(state, vehicle(soc=2.0, offset_us=1), meter()) == (2, 0)
    assert await soc_of(state) == 2.0


async def store_id(state: Stub) -> str:
    return (await state.ApplyReadings(pb.ApplyReadingsRequest())).store_id


async def test_the_store_id_lasts_until_the_store_is_emptied(state: Stub, store: redis.asyncio.Redis) -> None:
    first = await store_id(state)
    await apply(state, vehicle())
    assert first
    assert await store_id(state) == first

    await store.flushdb()

    assert await store_id(state) not in ("", first)


async def test_states_are_listed_again_after_the_store_was_emptied(state: Stub, store: redis.asyncio.Redis) -> None:
    await apply(state, vehicle())
    await store.flushdb()
    assert await all_pages(state, 10) == []
    assert await apply(state, vehicle()) == (1, 0)
    assert await all_pages(state, 10) == ["V1"]


async def test_calls_beyond_the_connections_wait_for_one(redis_url: str) -> None:
    config = StateConfig(listen="127.0.0.1:0", redis_url=redis_url, max_connections=3)
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        state = state_pb2_grpc.StateServiceStub(channel)
        await apply(state, vehicle(soc=7.0))
        assert await asyncio.gather(*(soc_of(state) for _ in range(100))) == [7.0] * 100


@pytest.mark.parametrize("steps", range(0, 40))
async def test_the_service_ends_at_any_moment_of_its_start(redis_url: str, steps: int) -> None:
    async with asyncio.timeout(10):
        async with lifespan(StateConfig(redis_url=redis_url)):
            for _ in range(steps):
                await asyncio.sleep(0)
