"""The asyncio sender: readings in, each durable at the service once, without ever holding the loop for the disk."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc.aio

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.aio_spooling import AsyncIntake
from wattstream.client.aio_worker import AsyncWorker
from wattstream.client.channels import INGEST, aio_stream_readings, options
from wattstream.client.delivery import Delivery, Statistics
from wattstream.client.outbox import Limits
from wattstream.client.outcomes import BatchOutcome, ClosedError, NotDeliveredError, Outcome, Rejection
from wattstream.client.reporting import Reporter, fail
from wattstream.client.retry import FOREVER, Retry
from wattstream.client.spool import Spool
from wattstream.client.tickets import Ticket


class AsyncSender:
    """Sender, for asyncio: begun and closed by `async with`, in one loop, with the same guarantees.

    A method that is cancelled may have accepted its readings, or not. Callbacks run in the loop.
    """

    def __init__(  # noqa: PLR0913 - keyword-only
        self,
        ingest: str | grpc.aio.Channel = INGEST,
        *,
        limits: Limits | None = None,
        spool: Spool | None = None,
        retry: Retry = FOREVER,
        on_rejected: Callable[[Reading, Rejection], None] | None = None,
        on_dropped: Callable[[int], None] | None = None,
    ) -> None:
        """Describe a sender, with the arguments of Sender."""
        self._ingest, self._limits, self._spool, self._retry = ingest, limits or Limits(), spool, retry
        self._reporter = Reporter(on_rejected, on_dropped)
        self._entrance = asyncio.Lock()
        self._closed = False

    async def __aenter__(self) -> Self:
        """Open the spool, where there is one, and begin to send.

        Raises:
            SpoolError: the spool cannot be used.
        """
        spool = self._spool
        if spool is not None:
            await asyncio.to_thread(spool.open)
        backlog, first = (spool.count, spool.last_seq + 1) if spool else (0, 1)
        self._delivery: Delivery[asyncio.Future[Any]] = Delivery(self._limits, first=first, backlog=backlog)
        at = self._ingest
        self._owned = grpc.aio.insecure_channel(at, options(at)) if isinstance(at, str) else None
        channel = at if not isinstance(at, str) else self._owned
        assert channel is not None
        self._worker = AsyncWorker(aio_stream_readings(channel), self._delivery, self._retry, self._reporter)
        self._intake = AsyncIntake(spool, self._delivery, self._worker.wake, self._reporter) if spool else None
        self._worker.start(self._intake)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; what was accepted is delivered even where the block fails, but not where it is cancelled."""
        try:
            await self.close(30.0 if error is None or isinstance(error, Exception) else 0.0)
        except Exception:
            if error is None:
                raise

    async def send(self, reading: Reading, *, timeout_s: float | None = None) -> "asyncio.Future[Outcome]":
        """Accept a reading and return what tells what becomes of it; see Sender.send."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        await self._accept([reading], Ticket(future, 1, alone=True), timeout_s)
        return future

    async def send_batch(
        self, readings: Sequence[Reading], *, timeout_s: float | None = None
    ) -> "asyncio.Future[BatchOutcome]":
        """Accept readings together, all or none, and return what tells what becomes of them; see Sender.send."""
        future: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        if readings:
            await self._accept(readings, Ticket(future, len(readings), alone=False), timeout_s)
        else:
            future.set_result(BatchOutcome(0, {}, 0))
        return future

    async def put(self, reading: Reading, *, timeout_s: float | None = None) -> None:
        """Accept a reading without a future; see Sender.put."""
        await self._accept([reading], None, timeout_s)

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything accepted so far has come to its end; see Sender.flush."""
        target = self._delivery.accepted_to
        self._delivery.outbox.hurry_to = target
        self._worker.wake()
        async with asyncio.timeout(timeout_s):
            await self._worker.until(lambda: self._delivery.ended_to >= target)

    async def close(self, timeout_s: float = 30.0) -> None:
        """Wait, for so long at most, until all has come to its end, then end the connection; see Sender.close."""
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(Exception):  # what stopped the sender is raised below
                await self.flush(timeout_s)
        finally:
            await self._worker.stop()
            fail(self._delivery.tickets.failed(), NotDeliveredError)
            if self._intake is not None:
                await self._intake.stop()
            if self._owned is not None:
                await self._owned.close()
        if self._worker.error is not None:
            raise self._worker.error
        if self._delivery.unacknowledged and self._spool is None:
            raise NotDeliveredError(self._delivery.unacknowledged)

    def statistics(self) -> Statistics:
        """Return the figures since the sender began."""
        return self._delivery.statistics(time.monotonic(), self._spool.bytes if self._spool else 0)

    async def _accept(
        self, readings: Sequence[Reading], ticket: "Ticket[asyncio.Future[Any]] | None", timeout_s: float | None
    ) -> None:
        serialised = self._limits.serialised(readings)
        size = sum([len(one) for one in serialised])
        waits, spooled = ticket is not None, self._intake is not None

        def ready() -> bool:
            return self._delivery.has_room(len(serialised), size, waits, spooled)

        if self._entrance.locked() or not ready() or self._worker.error is not None:
            async with asyncio.timeout(timeout_s), self._entrance:  # one after the other, in the order of their coming
                await self._worker.until(ready)
        if self._closed:
            raise ClosedError("the sender is closed")
        if self._intake is not None:
            await self._intake.write(readings, serialised, ticket)
            return
        now = time.monotonic()
        idle = not len(self._delivery.outbox)
        self._delivery.accepted(serialised, ticket, now)
        if idle or self._delivery.outbox.wait_s(now) == 0.0:
            self._worker.wake()
