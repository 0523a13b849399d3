"""What happens around every call: a request id, a deadline, a log line, and errors turned into statuses.

One interceptor wraps the handlers themselves and the iteration of their streams, so that an error raised after the
first message is treated as one raised before it.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import structlog
from google.rpc import status_pb2

from wattstream import errors, logs

REQUEST_ID_KEY = "x-request-id"
_MAX_REQUEST_ID = 64
_QUIET = ("/grpc.health.", "/grpc.reflection.", "/grpc.channelz.")

log = logs.get()


@dataclass(frozen=True)
class Call:
    """The call being served: which method, under which request id, from which address."""

    method: str
    request_id: str
    peer: str


current_call: ContextVar[Call] = ContextVar("current_call")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server.

    A unary call whose caller set no deadline is given `default_deadline_s`; streams last as long as their caller likes.
    """

    def __init__(self, default_deadline_s: float) -> None:
        self._default_deadline_s = default_deadline_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the handler that gRPC found, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            factory = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_stream_rpc_method_handler)
            )
            behavior = self._stream(method, handler.stream_stream or handler.unary_stream)
        else:
            factory = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else (grpc.unary_unary_rpc_method_handler)
            )
            deadline_s = None if handler.request_streaming else self._default_deadline_s
            behavior = self._unary(method, handler.stream_unary or handler.unary_unary, deadline_s)
        return factory(behavior, handler.request_deserializer, handler.response_serializer)

    def _unary(self, method: str, inner: Callable[..., Awaitable[Any]], deadline_s: float | None) -> Any:
        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _call(method, context):
                limit = deadline_s if context.time_remaining() is None else None
                async with asyncio.timeout(limit):
                    return await inner(request, context)

        return unary

    def _stream(self, method: str, inner: Callable[..., AsyncIterator[Any]]) -> Any:
        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async with _call(method, context):
                async for response in inner(request, context):
                    yield response

        return stream


@asynccontextmanager
async def _call(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    call = Call(method, _request_id(context), context.peer())
    current_call.set(call)
    structlog.contextvars.bind_contextvars(request_id=call.request_id)
    started = time.monotonic()
    code = grpc.StatusCode.CANCELLED
    try:
        yield
        code = context.code() or grpc.StatusCode.OK
    except (asyncio.CancelledError, GeneratorExit, grpc.aio.AbortError):
        raise
    except Exception as error:
        status = errors.to_status(error, call.request_id)
        if status is None:
            log.exception("call failed by a bug", method=method)
            status = errors.internal_status(call.request_id)
        code = await _abort(context, status)
    finally:
        if not method.startswith(_QUIET):
            seconds = round(time.monotonic() - started, 6)
            name = code.name if isinstance(code, grpc.StatusCode) else str(code)
            log.info("call", method=method, peer=call.peer, code=name, seconds=seconds)


async def _abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> grpc.StatusCode:
    code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
    try:
        await context.abort(code, status.message, ((errors.DETAILS_KEY, status.SerializeToString()),))
    except grpc.aio.AbortError:
        return code


def _request_id(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str) and 0 < len(value) <= _MAX_REQUEST_ID:
            return value
    return uuid.uuid4().hex
