"""What happens around every call: a request id, a deadline, a log line, and errors turned into statuses.

One interceptor wraps the handlers themselves and the iteration of their streams, so that an error raised after the
first message is treated as one raised before it.
"""

import asyncio
import inspect
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
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
_MAX_CAUSE = 500
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
        factory, inner = _shape(handler)
        answer = _answer_stream if handler.response_streaming else _answer_once
        # A lone request is decoded here, so that one that cannot be is an error like any other.
        decode = None if handler.request_streaming else handler.request_deserializer
        unary = not (handler.request_streaming or handler.response_streaming)

        async def wrapped(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with _call(handler_call_details.method, context):
                limit = self._default_deadline_s if unary and context.time_remaining() is None else None
                async with asyncio.timeout(limit):
                    return await answer(inner, decode(request) if decode else request, context)

        return factory(wrapped, None if decode else handler.request_deserializer, handler.response_serializer)


def _shape(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what makes a handler of the same shape, and the servicer's method in it."""
    if handler.response_streaming:
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream
        return grpc.unary_stream_rpc_method_handler, handler.unary_stream
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler, handler.stream_unary
    return grpc.unary_unary_rpc_method_handler, handler.unary_unary


async def _answer_once(inner: Callable[..., Any], request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
    return await inner(request, context)


async def _answer_stream(inner: Callable[..., Any], request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send what a streaming method yields; one that is a coroutine sends by itself.

    Writing here instead of handing the generator to gRPC means that the generator is closed, and its `finally` blocks
    run, before the call ends, also when the caller goes away in the middle of a write.
    """
    responses = inner(request, context)
    if inspect.isawaitable(responses):
        await responses
        return
    async with aclosing(responses):
        async for response in responses:
            await context.write(response)


@asynccontextmanager
async def _call(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[None]:
    call = Call(method, _request_id(context), context.peer())
    current_call.set(call)
    structlog.contextvars.bind_contextvars(request_id=call.request_id)
    started = time.monotonic()
    code, cause = grpc.StatusCode.CANCELLED, None
    try:
        yield
        code = context.code() or grpc.StatusCode.OK
    except grpc.aio.AbortError:
        code = context.code()
        raise
    except grpc.aio.InternalError:  # the caller went away in the middle of a read or write; gRPC ends the call
        raise
    except (Exception, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
            raise
        status = _status(error, call)
        code, cause = await _abort(context, status), f"{type(error).__name__}: {error}"[:_MAX_CAUSE]
    finally:
        if not method.startswith(_QUIET):
            seconds = round(time.monotonic() - started, 6)
            name = code.name if isinstance(code, grpc.StatusCode) else str(code)
            more = {"error": cause} if cause else {}
            # What went well is only of interest to who looks for it: there may be thousands a second.
            write = log.debug if code is grpc.StatusCode.OK else log.info
            write("call", method=method, peer=call.peer, code=name, seconds=seconds, **more)


def _status(error: Exception | asyncio.CancelledError, call: Call) -> status_pb2.Status:
    if isinstance(error, asyncio.CancelledError):
        # Work that the call waited for was cancelled, the call was not: gRPC would leave its caller without an answer.
        error = errors.AwayError("the work for this call was given up; come again")
    status = errors.to_status(error, call.request_id)
    if status is None:
        log.error("call failed by a bug", method=call.method, exc_info=error)
        status = errors.internal_status(call.request_id)
    return status


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
