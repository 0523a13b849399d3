"""Health, reflection and channelz, as tools and orchestrators see them."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from wattstream import server
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.api.state.v1 import state_pb2_grpc

STATE = "wattstream.api.state.v1.StateService"
INGEST = "wattstream.api.ingest.v1.IngestService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DEADLINE_S = 30
BUF = Path(sys.executable).with_name("buf")


@dataclass(frozen=True)
class Config:
    listen: str = "127.0.0.1:0"
    log_level: str = "info"
    default_deadline_s: float = 10.0
    drain_s: float = 600.0  # longer than any test waits: what waits for its end fails


class Store:
    """A dependency that can be away."""

    def __init__(self, away: bool = False) -> None:
        self.away = away

    async def check(self) -> None:
        if self.away:
            raise ConnectionError


@asynccontextmanager
async def lifespan_of(store: Store) -> AsyncIterator[server.Parts]:
    def register(target: grpc.aio.Server) -> None:
        state_pb2_grpc.add_StateServiceServicer_to_server(state_pb2_grpc.StateServiceServicer(), target)
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(ingest_pb2_grpc.IngestServiceServicer(), target)

    yield server.Parts(services=(STATE, INGEST), register=register, checks={"store": store.check})


@asynccontextmanager
async def served(store: Store) -> AsyncIterator[str]:
    async with server.serving(Config(), lambda _: lifespan_of(store)) as address:
        yield address


async def status(channel: grpc.aio.Channel, name: str) -> Any:
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)).status


async def until(channel: grpc.aio.Channel, name: str, wanted: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await status(channel, name) != wanted:
            await asyncio.sleep(0.05)


async def test_services_serve_while_their_dependencies_do_and_the_process_lives_regardless() -> None:
    store = Store()
    async with served(store) as address, grpc.aio.insecure_channel(address) as channel:
        for name in ("", STATE, INGEST, "store"):
            assert await status(channel, name) == SERVING
        store.away = True
        for name in (STATE, INGEST, "store"):
            await until(channel, name, NOT_SERVING)
        assert await status(channel, "") == SERVING
        store.away = False
        for name in (STATE, INGEST, "store"):
            await until(channel, name, SERVING)


async def test_the_first_answer_is_already_true() -> None:
    async with served(Store(away=True)) as address, grpc.aio.insecure_channel(address) as channel:
        assert await status(channel, STATE) == NOT_SERVING
        assert await status(channel, "store") == NOT_SERVING


async def test_a_name_that_is_not_there_is_not_found_and_watched_as_unknown() -> None:
    async with served(Store()) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await status(channel, "no.such.Service")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="no.such.Service"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


async def test_a_watch_tells_of_changes_and_of_the_shutdown_and_does_not_delay_it() -> None:
    store = Store()
    serving = served(store)
    address = await serving.__aenter__()
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=STATE))
        async with asyncio.timeout(DEADLINE_S):
            assert (await watch.read()).status == SERVING
            store.away = True
            assert (await watch.read()).status == NOT_SERVING
            store.away = False
            assert (await watch.read()).status == SERVING
            stopping = asyncio.ensure_future(serving.__aexit__(None, None, None))
            assert (await watch.read()).status == NOT_SERVING
            # Ended by the server with a status of its own: at the end of the drain it would be CANCELLED.
            assert await watch.code() is grpc.StatusCode.UNAVAILABLE
            await stopping


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_the_services_and_resolves_all_that_they_are_made_of(version: str) -> None:
    async with served(Store()) as address, grpc.aio.insecure_channel(address) as channel:
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(timeout=DEADLINE_S)

        async def answer(**request: str) -> Any:
            await ask.write(reflection_pb2.ServerReflectionRequest(**request))
            return await ask.read()

        listed = {service.name for service in (await answer(list_services="")).list_services_response.service}
        assert {STATE, INGEST, "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"} <= listed
        files: dict[str, FileDescriptorProto] = {}
        for name in listed:
            found = (await answer(file_containing_symbol=name)).file_descriptor_response.file_descriptor_proto
            parsed = [FileDescriptorProto.FromString(file) for file in found]
            assert parsed, name
            files.update((file.name, file) for file in parsed)
        for file in list(files.values()):
            for needed in file.dependency:
                found = (await answer(file_by_filename=needed)).file_descriptor_response.file_descriptor_proto
                assert found, needed
                files[needed] = FileDescriptorProto.FromString(found[0])
        assert "google/protobuf/timestamp.proto" in files
        await ask.done_writing()


async def test_buf_curl_lists_the_methods_and_asks_for_health_by_reflection_alone() -> None:
    def curl(*arguments: str) -> str:
        command = [str(BUF), "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=DEADLINE_S, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async with served(Store()) as address:
        methods = await asyncio.to_thread(curl, "--list-methods", f"http://{address}")
        assert f"{INGEST}/StreamReadings" in methods
        assert f"{STATE}/WatchStates" in methods
        check = f"http://{address}/grpc.health.v1.Health/Check"
        assert "SERVING" in await asyncio.to_thread(curl, "-d", "{}", check)


async def test_channelz_knows_the_server_and_counts_its_calls() -> None:
    async with served(Store()) as address, grpc.aio.insecure_channel(address) as channel:
        await status(channel, "")
        stub = channelz_pb2_grpc.ChannelzStub(channel)
        servers = (await stub.GetServers(channelz_pb2.GetServersRequest(), timeout=DEADLINE_S)).server
        assert any(listed.listen_socket and listed.data.calls_started >= 1 for listed in servers), servers


async def test_two_servers_cannot_listen_on_one_port() -> None:
    async with served(Store()) as address:
        with pytest.raises(server.StartError, match=address):
            async with server.serving(Config(listen=address), lambda _: lifespan_of(Store())):
                pass


async def test_keepalive_pings_every_ten_seconds_are_allowed() -> None:
    options = dict(server._options(share_port=False))
    assert options["grpc.http2.min_ping_interval_without_data_ms"] <= 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.keepalive_time_ms"] > 0
