"""What every call gets from the server, whatever its shape: statuses with details, a request id, a deadline, an end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import psycopg
import psycopg_pool
import pytest
import redis
import structlog
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2 as details_pb2
from google.rpc import status_pb2
from grpc_status import rpc_status

from wattstream import errors, interceptors, server

SERVICE = "test.Shapes"
SHAPES = ("unary", "server_stream", "client_stream", "bidi", "coroutine_stream")
DEADLINE_S = 30

Behaviour = Callable[[grpc.aio.ServicerContext[Any, Any]], Awaitable[str]]


@dataclass(frozen=True)
class Config:
    listen: str = "127.0.0.1:0"
    log_level: str = "info"
    default_deadline_s: float = 10.0
    drain_s: float = 10.0


def shapes(behave: Behaviour) -> Callable[[grpc.aio.Server], None]:
    """Return what registers a method of each shape; each does `behave`, a stream after a first message."""

    async def unary(request: StringValue, context: Any) -> StringValue:
        return StringValue(value=await behave(context))

    async def server_stream(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="first")
        yield StringValue(value=await behave(context))

    async def client_stream(requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        async for _ in requests:
            pass
        return StringValue(value=await behave(context))

    async def bidi(requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        async for _ in requests:
            yield StringValue(value="first")
        yield StringValue(value=await behave(context))

    async def coroutine_stream(request: StringValue, context: Any) -> None:
        await context.write(StringValue(value="first"))
        await context.write(StringValue(value=await behave(context)))

    codec = {"request_deserializer": StringValue.FromString, "response_serializer": StringValue.SerializeToString}
    handlers = {
        "unary": grpc.unary_unary_rpc_method_handler(unary, **codec),
        "server_stream": grpc.unary_stream_rpc_method_handler(server_stream, **codec),
        "client_stream": grpc.stream_unary_rpc_method_handler(client_stream, **codec),
        "bidi": grpc.stream_stream_rpc_method_handler(bidi, **codec),
        "coroutine_stream": grpc.unary_stream_rpc_method_handler(coroutine_stream, **codec),
    }
    generic = grpc.method_handlers_generic_handler(SERVICE, handlers)
    return lambda target: target.add_generic_rpc_handlers((generic,))


@asynccontextmanager
async def served(behave: Behaviour, config: Config | None = None) -> AsyncIterator[grpc.aio.Channel]:
    @asynccontextmanager
    async def lifespan(_: Config) -> AsyncIterator[server.Parts]:
        yield server.Parts(services=(SERVICE,), register=shapes(behave))

    async with (
        server.serving(config or Config(), lifespan) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield channel


def start(channel: grpc.aio.Channel, shape: str, request: bytes = b"", **options: Any) -> Any:
    """Start a call of the given shape with one request; requests are bytes, so that they can be wrong."""
    kind = {"unary": "unary_unary", "client_stream": "stream_unary", "bidi": "stream_stream"}.get(shape, "unary_stream")
    method = getattr(channel, kind)(f"/{SERVICE}/{shape}", response_deserializer=StringValue.FromString)

    async def requests() -> AsyncIterator[bytes]:
        yield request

    return method(requests() if kind.startswith("stream") else request, **{"timeout": DEADLINE_S, **options})


async def finish(call: Any) -> list[str]:
    if isinstance(call, grpc.aio.UnaryUnaryCall | grpc.aio.StreamUnaryCall):
        return [(await call).value]
    return [response.value async for response in call]


async def failure(call: Any) -> tuple[grpc.aio.AioRpcError, status_pb2.Status]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await finish(call)
    status = rpc_status.from_call(raised.value)
    assert status is not None, raised.value
    return raised.value, status


def detail(status: status_pb2.Status, kind: Any) -> Any:
    found = [kind.FromString(packed.value) for packed in status.details if packed.Is(kind.DESCRIPTOR)]
    assert len(found) == 1, status
    return found[0]


def raising(error: BaseException) -> Behaviour:
    async def behave(_: Any) -> str:
        raise error

    return behave


BAD, THING, RETRY = details_pb2.BadRequest, details_pb2.ResourceInfo, details_pb2.RetryInfo
CODES = grpc.StatusCode
EXAMPLES = [
    (errors.bad_field("readings[3].soc", "must be 0..100"), CODES.INVALID_ARGUMENT, "INVALID_REQUEST", BAD),
    (DecodeError("Error parsing message"), CODES.INVALID_ARGUMENT, "UNDECODABLE", None),
    (errors.NotFoundError("vehicle", "V9", "no such vehicle"), CODES.NOT_FOUND, "NOT_FOUND", THING),
    (errors.ConflictError("assignment", "7", "overlaps 7"), CODES.FAILED_PRECONDITION, "CONFLICT", THING),
    (errors.OverloadedError("too much at once"), CODES.RESOURCE_EXHAUSTED, "OVERLOADED", RETRY),
    (errors.AwayError("the writer is away"), CODES.UNAVAILABLE, "AWAY", RETRY),
    (psycopg.errors.QueryCanceled("statement timeout"), CODES.DEADLINE_EXCEEDED, "DEADLINE", None),
    (TimeoutError(), CODES.DEADLINE_EXCEEDED, "DEADLINE", None),
    (psycopg.OperationalError("host=db.internal refused"), CODES.UNAVAILABLE, "DATABASE_AWAY", RETRY),
    (psycopg.InterfaceError("the connection is closed"), CODES.UNAVAILABLE, "DATABASE_AWAY", RETRY),
    (psycopg.errors.AdminShutdown("terminating"), CODES.UNAVAILABLE, "DATABASE_AWAY", RETRY),
    (psycopg_pool.PoolTimeout("5 s"), CODES.UNAVAILABLE, "DATABASE_AWAY", RETRY),
    (redis.ConnectionError("redis.internal refused"), CODES.UNAVAILABLE, "STATE_STORE_AWAY", RETRY),
    (redis.TimeoutError("2 s"), CODES.UNAVAILABLE, "STATE_STORE_AWAY", RETRY),
    (redis.BusyLoadingError("loading"), CODES.UNAVAILABLE, "STATE_STORE_AWAY", RETRY),
]


def test_every_row_of_the_table_has_an_example_below() -> None:
    assert {row.reason for row in errors.TABLE} == {reason for _, _, reason, _ in EXAMPLES}


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_error_arrives_as_its_status_with_details(shape: str) -> None:
    current: list[BaseException] = []

    async def behave(_: Any) -> str:
        raise current[0]

    async with served(behave) as channel:
        for error, code, reason, kind in EXAMPLES:
            current[:] = [error]
            raised, status = await failure(start(channel, shape, metadata=(("x-request-id", "r-17"),)))
            assert raised.code() is code
            assert (status.code, status.message) == (code.value[0], raised.details())
            info = detail(status, details_pb2.ErrorInfo)
            assert (info.reason, info.domain, info.metadata["request_id"]) == (reason, "wattstream", "r-17")
            assert len(status.details) == (2 if kind else 1)
            assert kind is None or detail(status, kind)
            if code in (CODES.UNAVAILABLE, CODES.RESOURCE_EXHAUSTED):
                assert detail(status, RETRY).retry_delay.ToMilliseconds() > 0
            assert "internal" not in (raised.details() or "")


async def test_details_say_which_field_and_which_resource() -> None:
    violations = [errors.FieldViolation("window.start", "must be set"), errors.FieldViolation("window.end", "too far")]
    async with served(raising(errors.InvalidRequestError(*violations))) as channel:
        raised, status = await failure(start(channel, "unary"))
        found = [(v.field, v.description) for v in detail(status, BAD).field_violations]
        assert found == [tuple(v) for v in violations]
        assert raised.details() == "window.start: must be set; window.end: too far"
    async with served(raising(errors.NotFoundError("vehicle", "V9", "no such vehicle"))) as channel:
        _, status = await failure(start(channel, "unary"))
        thing = detail(status, THING)
        assert (thing.resource_type, thing.resource_name) == ("vehicle", "V9")


@pytest.mark.parametrize("text", ["x" * 100_000, "\N{SNOWMAN}" * 100_000, "a\x00b\r\nc"])
async def test_errors_of_any_length_and_content_arrive(text: str) -> None:
    violations = [errors.FieldViolation(f"readings[{i}].{text}", text) for i in range(1000)]
    for error in (errors.InvalidRequestError(*violations), errors.NotFoundError("vehicle", text, text)):
        async with served(raising(error)) as channel:
            raised, status = await failure(start(channel, "unary"))
            assert raised.code() in (CODES.INVALID_ARGUMENT, CODES.NOT_FOUND)
            assert status.message[:3] in ("rea", text[:3])
            assert status.ByteSize() < 6 * 1024


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_bug_gives_internal_with_the_request_id_and_tells_nothing_else(shape: str) -> None:
    secret = "SELECT 1 FROM t -- postgresql://me:pw@db/x"
    with structlog.testing.capture_logs() as lines:  # until the server has ended, for the caller is told first
        async with served(raising(psycopg.ProgrammingError(secret))) as channel:
            raised, status = await failure(start(channel, shape, metadata=(("x-request-id", "r-18"),)))
    assert raised.code() is CODES.INTERNAL
    assert "r-18" in (raised.details() or "")
    assert secret not in str(status)
    assert "Traceback" not in str(status)
    (bug,) = (line for line in lines if line["log_level"] == "error")
    assert bug["exc_info"].__traceback__ is not None
    (call,) = (line for line in lines if line["event"] == "call")
    assert (call["code"], call["method"]) == ("INTERNAL", f"/{SERVICE}/{shape}")


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_request_that_cannot_be_decoded_is_the_callers_fault(shape: str) -> None:
    async with served(raising(AssertionError("must not be reached"))) as channel:
        raised, status = await failure(start(channel, shape, b"\xff\xff\xff"))
    assert raised.code() is CODES.INVALID_ARGUMENT
    assert detail(status, details_pb2.ErrorInfo).reason == "UNDECODABLE"


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_request_id_is_the_callers_or_made_and_never_another_calls(shape: str) -> None:
    everyone_is_here = asyncio.Barrier(20)

    async def behave(_: Any) -> str:
        await everyone_is_here.wait()
        bound = structlog.contextvars.get_contextvars()["request_id"]
        assert bound == interceptors.current_call.get().request_id
        return bound

    async with served(behave) as channel:
        given = [f"caller-{i}" for i in range(15)]
        calls = [start(channel, shape, metadata=(("x-request-id", name),)) for name in given]
        calls += [start(channel, shape, metadata=(("x-request-id", "x" * 65),)) for _ in range(2)] + [
            start(channel, shape) for _ in range(3)
        ]
        answers = [(await finish(call))[-1] for call in calls]
    assert answers[:15] == given
    assert len(set(answers)) == 20
    assert all(len(made) == 32 for made in answers[15:])
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_a_unary_call_without_a_deadline_is_given_one_and_its_handler_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def behave(_: Any) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    async with served(behave, Config(default_deadline_s=0.05)) as channel:
        raised, status = await failure(start(channel, "unary", timeout=None))
        assert raised.code() is CODES.DEADLINE_EXCEEDED
        assert detail(status, details_pb2.ErrorInfo).reason == "DEADLINE"
        assert cancelled.is_set()


@pytest.mark.parametrize("shape", ["server_stream", "client_stream", "bidi"])
async def test_streams_and_callers_with_a_deadline_are_given_none(shape: str) -> None:
    async def behave(context: grpc.aio.ServicerContext[Any, Any]) -> str:
        await asyncio.sleep(0.1)  # outlasts the default deadline; the call must not have it
        return "done"

    async with served(behave, Config(default_deadline_s=0.01)) as channel:
        assert (await finish(start(channel, shape, timeout=None)))[-1] == "done"
        assert await finish(start(channel, "unary", timeout=DEADLINE_S)) == ["done"]


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_caller_that_goes_away_cancels_the_handler(shape: str) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def behave(_: Any) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    async with served(behave) as channel:
        call = start(channel, shape)
        waiting = asyncio.ensure_future(finish(call))
        async with asyncio.timeout(DEADLINE_S):
            await begun.wait()
            call.cancel()
            await ended.wait()
        with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
            await waiting


@pytest.mark.parametrize("shape", SHAPES)
async def test_work_that_was_cancelled_under_a_call_does_not_leave_its_caller_waiting(shape: str) -> None:
    async with served(raising(asyncio.CancelledError())) as channel:
        raised, status = await failure(start(channel, shape))
    assert raised.code() is CODES.UNAVAILABLE
    detail(status, RETRY)
