"""Messages that are too large, and callers that do not read: neither harms the server or the other callers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from wattstream import server

SERVICE = "test.Limits"
DEADLINE_S = 30


@dataclass(frozen=True)
class Config:
    listen: str = "127.0.0.1:0"
    log_level: str = "info"
    default_deadline_s: float = 10.0
    drain_s: float = 10.0


class Limits:
    """Echoes, counts and floods."""

    def __init__(self) -> None:
        self.flood_ended = asyncio.Event()
        self.flooding: asyncio.Task[Any] | None = None
        self.flood_ended_by: asyncio.Task[Any] | None = None
        self.sent = 0

    async def echo(self, request: BytesValue, context: Any) -> BytesValue:
        return request

    async def count(self, requests: AsyncIterator[BytesValue], context: Any) -> BytesValue:
        return BytesValue(value=str(len([request async for request in requests])).encode())

    async def flood(self, request: BytesValue, context: Any) -> AsyncIterator[BytesValue]:
        self.flooding = asyncio.current_task()
        try:
            while True:
                self.sent += 1
                yield BytesValue(value=bytes(256 * 1024))
        finally:
            self.flood_ended_by = asyncio.current_task()
            self.flood_ended.set()

    def register(self, target: grpc.aio.Server) -> None:
        codec = {
            "request_deserializer": BytesValue.FromString,
            "response_serializer": BytesValue.SerializeToString,
        }
        handlers = {
            "echo": grpc.unary_unary_rpc_method_handler(self.echo, **codec),
            "count": grpc.stream_unary_rpc_method_handler(self.count, **codec),
            "flood": grpc.unary_stream_rpc_method_handler(self.flood, **codec),
        }
        target.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@asynccontextmanager
async def served(limits: Limits) -> AsyncIterator[grpc.aio.Channel]:
    @asynccontextmanager
    async def lifespan(_: Config) -> AsyncIterator[server.Parts]:
        yield server.Parts(services=(SERVICE,), register=limits.register)

    async with (
        server.serving(Config(), lifespan) as address,
        grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel,
    ):
        yield channel


def message(size: int) -> bytes:
    """Return a BytesValue that takes `size` bytes on the wire."""
    return BytesValue(value=bytes(size - 5)).SerializeToString()


async def test_a_message_of_4_mib_is_taken_and_a_larger_one_refused_with_the_limit() -> None:
    most = server.MAX_MESSAGE_BYTES
    async with served(Limits()) as channel:
        echo = channel.unary_unary(f"/{SERVICE}/echo", response_deserializer=BytesValue.FromString)
        assert len(message(most)) == most
        assert len((await echo(message(most), timeout=DEADLINE_S)).value) == most - 5
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await echo(message(most + 1), timeout=DEADLINE_S)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in (raised.value.details() or "")
        assert str(most) in (raised.value.details() or "")


async def test_a_message_over_the_limit_inside_a_stream_ends_the_stream_with_the_limit() -> None:
    async with served(Limits()) as channel:
        count = channel.stream_unary(f"/{SERVICE}/count", response_deserializer=BytesValue.FromString)
        call = count(timeout=DEADLINE_S)
        await call.write(message(100))
        with contextlib.suppress(grpc.aio.AioRpcError):  # the refusal may come before the write is done
            await call.write(message(server.MAX_MESSAGE_BYTES + 1))
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in await call.details()


async def test_a_stream_is_closed_when_its_caller_goes_away_in_the_middle_of_a_write() -> None:
    limits = Limits()
    async with served(limits) as channel:
        flood = channel.unary_stream(f"/{SERVICE}/flood", response_deserializer=BytesValue.FromString)
        call = flood(message(100), timeout=DEADLINE_S)
        await call.read()
        async with asyncio.timeout(DEADLINE_S):
            await blocked(limits)
            call.cancel()
            await limits.flood_ended.wait()
        assert limits.sent < 1000
        assert limits.flood_ended_by is limits.flooding  # by the call itself, not by the garbage collector


async def test_a_caller_that_does_not_read_does_not_hold_up_the_others() -> None:
    limits = Limits()
    async with served(limits) as channel:
        flood = channel.unary_stream(f"/{SERVICE}/flood", response_deserializer=BytesValue.FromString)
        call = flood(message(100), timeout=DEADLINE_S)
        async with asyncio.timeout(DEADLINE_S):
            await blocked(limits)
        echo = channel.unary_unary(f"/{SERVICE}/echo", response_deserializer=BytesValue.FromString)
        assert (await echo(message(100), timeout=DEADLINE_S)).value == bytes(95)
        call.cancel()


async def blocked(limits: Limits) -> None:
    """Wait until the flood has stopped at the flow control window."""
    sent = -1
    while sent != limits.sent:
        sent = limits.sent
        await asyncio.sleep(0.2)
