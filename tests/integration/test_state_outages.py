"""The state service while its store is away, silent, refuses to write, or comes back."""

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest
import redis.asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2 as details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from state_service.config import StateConfig
from state_service.service import lifespan
from wattstream import server
from wattstream.api.state.v1 import state_pb2 as pb
from wattstream.api.state.v1 import state_pb2_grpc
from wattstream.api.telemetry.v1 import telemetry_pb2
from wattstream.embedded import wheels

DEADLINE_S = 30
DEBIAN = Path("/usr/bin/redis-server")
SERVICE = "wattstream.api.state.v1.StateService"

Stub: TypeAlias = "state_pb2_grpc.StateServiceAsyncStub"


class Server:
    """A Redis or Valkey of the test's own, which can be killed and started again on its data."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._port = taken.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._argv = [str(program), "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        argv = [*self._argv, "--save", "", "--appendonly", "yes"]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        await until(self._answers)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)

    async def do(self, *command: str | int) -> None:
        async with redis.asyncio.Redis.from_url(self.url) as client:
            await client.execute_command(*command)

    async def _answers(self) -> bool:
        with suppress(redis.RedisError):
            await self.do("PING")
            return True
        return False


@pytest.fixture(params=[wheels.valkey(), DEBIAN], ids=["valkey", "debian"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Yield a server that is not started yet."""
    if not request.param.exists():
        pytest.skip("Debian's redis-server is not installed")
    store = Server(request.param, tmp_path)
    yield store
    store.kill()


@asynccontextmanager
async def service(store: Server) -> AsyncIterator[tuple[Stub, "health_pb2_grpc.HealthAsyncStub"]]:
    config = StateConfig(listen="127.0.0.1:0", redis_url=store.url)
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield state_pb2_grpc.StateServiceStub(channel), health_pb2_grpc.HealthStub(channel)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await holds():
            await asyncio.sleep(0.02)


def readings(second: int, *devices: str) -> pb.ApplyReadingsRequest:
    at = Timestamp(seconds=int(time.time()) + second)
    return pb.ApplyReadingsRequest(
        readings=[
            pb.ReceivedReading(
                received_at=at,
                reading=telemetry_pb2.Reading(
                    vehicle=telemetry_pb2.VehicleReading(
                        vehicle_id=device, recorded_at=at, soc=second, kwh_delivered_dc=0.5, battery_temp=30.0
                    )
                ),
            )
            for device in devices
        ]
    )


async def status_of(call: Awaitable[Any]) -> grpc.StatusCode:
    """Return how a call ends; one that ends with UNAVAILABLE has to advise to come again."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            details = rpc_status.from_call(error).details
            assert any(packed.Is(details_pb2.RetryInfo.DESCRIPTOR) for packed in details)
        return error.code()
    return grpc.StatusCode.OK


def get(state: Stub, device: str) -> Awaitable[pb.GetVehicleStateResponse]:
    return state.GetVehicleState(pb.GetVehicleStateRequest(vehicle_id=device))


async def snapshot(call: Any) -> dict[str, float]:
    """Read to the end of the next snapshot and return the SoC of each of its vehicles."""
    got: dict[str, float] = {}
    async with asyncio.timeout(DEADLINE_S):
        async for message in call:
            got |= {s.vehicle.vehicle_id: s.vehicle.soc for s in message.states if message.snapshot}
            if message.snapshot_complete:
                return got
    raise AssertionError("the stream ended before the snapshot did")


async def test_a_service_that_starts_before_its_store_says_so_and_then_serves(store: Server) -> None:
    async with service(store) as (state, health):

        async def is_healthy(expected: bool) -> bool:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True)
            return (answer.status == health_pb2.HealthCheckResponse.SERVING) is expected

        assert await status_of(get(state, "V1")) == grpc.StatusCode.UNAVAILABLE
        assert await status_of(state.ApplyReadings(readings(1, "V1"))) == grpc.StatusCode.UNAVAILABLE
        assert await status_of(state.WatchStates(pb.WatchStatesRequest()).read()) == grpc.StatusCode.UNAVAILABLE
        await until(lambda: is_healthy(False))

        await store.start()

        assert await status_of(state.ApplyReadings(readings(1, "V1"))) == grpc.StatusCode.OK
        assert await snapshot(state.WatchStates(pb.WatchStatesRequest())) == {"V1": 1.0}
        await until(lambda: is_healthy(True))


async def test_a_killed_store_that_comes_back_is_used_again_and_watchers_get_a_new_snapshot(store: Server) -> None:
    await store.start()
    async with service(store) as (state, _):
        first = await state.ApplyReadings(readings(1, "V1", "V2"))
        call = state.WatchStates(pb.WatchStatesRequest())
        assert await snapshot(call) == {"V1": 1.0, "V2": 1.0}

        store.kill()
        assert await status_of(get(state, "V1")) == grpc.StatusCode.UNAVAILABLE
        await store.start()

        assert await snapshot(call) == {"V1": 1.0, "V2": 1.0}
        second = await state.ApplyReadings(readings(2, "V1"))
        assert (await get(state, "V1")).state.soc == 2.0
        assert second.store_id != first.store_id, "what the restart may have lost would not be handed over again"


async def test_a_subscription_cut_off_leads_to_a_new_snapshot_that_has_what_was_missed(store: Server) -> None:
    await store.start()
    async with service(store) as (state, _):
        call = state.WatchStates(pb.WatchStatesRequest())
        assert await snapshot(call) == {}

        await store.do("CLIENT", "KILL", "TYPE", "pubsub")
        await state.ApplyReadings(readings(3, "V1"))

        seen = await snapshot(call)
        assert seen in ({"V1": 3.0}, {})  # it may also come as a change, after the snapshot
        if not seen:
            assert (await anext(aiter(call))).states[0].vehicle.soc == 3.0


async def test_a_store_that_falls_silent_is_away_and_used_again_when_it_wakes(store: Server) -> None:
    await store.start()
    async with service(store) as (state, _):
        await state.ApplyReadings(readings(1, "V1"))
        store.signal(signal.SIGSTOP)
        try:
            assert await status_of(get(state, "V1")) == grpc.StatusCode.UNAVAILABLE
        finally:
            store.signal(signal.SIGCONT)
        assert (await get(state, "V1")).state.soc == 1.0


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0)),
        (("CONFIG", "SET", "min-replicas-to-write", 1), ("CONFIG", "SET", "min-replicas-to-write", 0)),
        (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["full", "without replicas", "read-only"],
)
async def test_a_store_that_refuses_to_write_is_away_for_writers_only(
    store: Server, refuse: tuple[str | int, ...], accept: tuple[str | int, ...]
) -> None:
    await store.start()
    async with service(store) as (state, _):
        await state.ApplyReadings(readings(1, "V1"))

        await store.do(*refuse)
        assert await status_of(state.ApplyReadings(readings(2, "V1", "V2"))) == grpc.StatusCode.UNAVAILABLE
        assert (await get(state, "V1")).state.soc == 1.0

        await store.do(*accept)
        assert await status_of(state.ApplyReadings(readings(2, "V1", "V2"))) == grpc.StatusCode.OK
        assert (await get(state, "V1")).state.soc == 2.0
