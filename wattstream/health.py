"""Health, by the standard protocol: "" is the process, and a service serves while all that it depends on is there.

Each dependency is listed under its own name too. The servicer of the grpcio-health-checking package is not used: its
watches outlast the server's drain, and one slow watcher holds up the status of all.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wattstream import logs
from wattstream.errors import AwayError, NotFoundError

NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_CHECK_EVERY_S = 1.0
_CHECK_DEADLINE_S = 2.0

Check = Callable[[], Awaitable[None]]

log = logs.get()


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers with the statuses that it is told."""

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {"": True}
        self._changed = asyncio.Event()
        self._closed = False

    def set(self, name: str, serving: bool) -> None:
        """Set the status of `name`; after `close`, nothing changes any more."""
        if not self._closed:
            self._serving[name] = serving
            self._wake()

    def serves(self, name: str) -> bool | None:
        """Return whether `name` serves, or None if it was never set."""
        return self._serving.get(name)

    def close(self) -> None:
        """Let nothing serve any more, and let watches end once they have said so."""
        self._serving = dict.fromkeys(self._serving, False)
        self._closed = True
        self._wake()

    async def Check(  # noqa: N802 - named by the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Answer the status of one name."""
        if request.service not in self._serving:
            raise NotFoundError("service", request.service, "no such service or dependency")
        return self._response(request.service)

    async def Watch(  # noqa: N802 - named by the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Answer the status of one name, now and whenever it changes."""
        last = None
        while True:
            changed, closed = self._changed, self._closed
            response = self._response(request.service)
            if response != last:
                yield response
                last = response
            if closed:
                raise AwayError("the server is shutting down")
            await changed.wait()

    def _response(self, name: str) -> health_pb2.HealthCheckResponse:
        response = health_pb2.HealthCheckResponse
        if name not in self._serving:
            return response(status=response.SERVICE_UNKNOWN)
        return response(status=response.SERVING if self._serving[name] else response.NOT_SERVING)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def update(servicer: HealthServicer, services: Iterable[str], checks: Mapping[str, Check]) -> None:
    """Run all checks at once, and set the status of each and of the services."""
    errors = await asyncio.gather(*(_error(check) for check in checks.values()))
    for name, error in zip(checks, errors, strict=True):
        if error and servicer.serves(name) is not False:
            log.warning("dependency is away", dependency=name, error=error)
        if not error and servicer.serves(name) is False:
            log.info("dependency is back", dependency=name)
        servicer.set(name, error is None)
    for service in services:
        servicer.set(service, not any(errors))


async def keep(servicer: HealthServicer, services: Iterable[str], checks: Mapping[str, Check]) -> None:
    """Update for ever."""
    while True:
        await asyncio.sleep(_CHECK_EVERY_S)
        await update(servicer, services, checks)


async def _error(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_DEADLINE_S):
            await check()
    except Exception as error:  # noqa: BLE001 - any failure means the same: away
        return type(error).__name__
    return None
