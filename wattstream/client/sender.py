"""The synchronous sender: readings in, from any thread, each durable at the service once."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import grpc

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.channels import INGEST, options, stream_readings
from wattstream.client.delivery import Delivery, Statistics
from wattstream.client.outbox import Limits
from wattstream.client.outcomes import BatchOutcome, ClosedError, NotDeliveredError, Outcome, Rejection
from wattstream.client.reporting import Reporter, fail
from wattstream.client.retry import FOREVER, Retry
from wattstream.client.spool import Spool
from wattstream.client.tickets import Ticket
from wattstream.client.worker import Worker


class Sender:
    """Sends readings, gathered in batches, through one stream that is renewed for as long as it takes.

    A reading that `send`, `send_batch` or `put` has accepted is sent until the service acknowledges it. With a spool it
    outlives this process: it is on disk before the method returns, and what an earlier sender left there is sent first.
    Methods may be called from any thread. Callbacks, of futures too, run in a thread of the sender: they must not wait
    for it.
    """

    def __init__(  # noqa: PLR0913 - keyword-only
        self,
        ingest: str | grpc.Channel = INGEST,
        *,
        limits: Limits | None = None,
        spool: Spool | None = None,
        retry: Retry = FOREVER,
        on_rejected: Callable[[Reading, Rejection], None] | None = None,
        on_dropped: Callable[[int], None] | None = None,
    ) -> None:
        """Open the spool, where there is one; the sender closes it.

        Args:
            ingest: address of the ingest service, host:port, or a channel that the caller opened and will close.
            limits: how readings are gathered, and how many are held in memory.
            spool: where readings lie until they are acknowledged; None: in memory only.
            retry: when to give up; by default never.
            on_rejected: called with each reading that the service rejected, and why.
            on_dropped: called with the number of readings that left a full spool unsent.

        Raises:
            SpoolError: the spool cannot be used.
        """
        self._limits, self._spool = limits or Limits(), spool
        if spool is not None:
            spool.open()
        backlog, first = (spool.count, spool.last_seq + 1) if spool else (0, 1)
        self._delivery: Delivery[Future[Any]] = Delivery(self._limits, first=first, backlog=backlog)
        self._closed = False
        self._owned = ExitStack()
        if isinstance(ingest, str):
            ingest = self._owned.enter_context(grpc.insecure_channel(ingest, options(ingest)))
        reporter = Reporter(on_rejected, on_dropped)
        self._worker = Worker(stream_readings(ingest), self._delivery, spool, retry, reporter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; what was accepted is delivered even where the block fails, but not where it is interrupted."""
        try:
            self.close(30.0 if error is None or isinstance(error, Exception) else 0.0)
        except Exception:
            if error is None:
                raise

    def send(self, reading: Reading, *, timeout_s: float | None = None) -> "Future[Outcome]":
        """Accept a reading and return what tells what becomes of it.

        Waits while memory has no room: for readings, or, where there is a spool, for those who wait for theirs.

        Raises:
            TimeoutError: there was no room for so long; the reading is not accepted.
            SpoolFullError: the spool has no room, and its policy is to refuse; or the disk has none.
            ServiceError: the service refuses the stream for good, or `retry` has given up.
            ClosedError: the sender is closed.
            ValueError: the reading does not fit into a message.
        """
        future: Future[Outcome] = _future()
        self._accept([reading], Ticket(future, 1, alone=True), timeout_s)
        return future

    def send_batch(self, readings: Sequence[Reading], *, timeout_s: float | None = None) -> "Future[BatchOutcome]":
        """Accept readings together, all or none, and return what tells what becomes of them; see `send`."""
        future: Future[BatchOutcome] = _future()
        if readings:
            self._accept(readings, Ticket(future, len(readings), alone=False), timeout_s)
        else:
            future.set_result(BatchOutcome(0, {}, 0))
        return future

    def put(self, reading: Reading, *, timeout_s: float | None = None) -> None:
        """Accept a reading without a future: with a spool, an outage may fill it, and memory holds none of that."""
        self._accept([reading], None, timeout_s)

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything accepted so far has come to its end.

        Raises:
            TimeoutError: it has not, for so long; the sender goes on.
            ServiceError: the service refuses the stream for good, or `retry` has given up.
        """
        with self._worker.lock:
            target = self._delivery.accepted_to
            self._delivery.outbox.hurry_to = target
            self._worker.work.notify_all()
            self._worker.wait(lambda: self._delivery.ended_to >= target, timeout_s)

    def close(self, timeout_s: float = 30.0) -> None:
        """Wait, for so long at most, until everything has come to its end, then end the connection.

        Raises:
            NotDeliveredError: some readings have no acknowledgement, and there is no spool that would hold them.
            ServiceError: what stopped the sender.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with suppress(Exception):  # what stopped the sender is raised below
                self.flush(timeout_s)
        finally:
            self._worker.stop()
            fail(self._delivery.tickets.failed(), NotDeliveredError)
            if self._spool is not None:
                self._spool.close()
            self._owned.close()
        if self._worker.error is not None:
            raise self._worker.error
        if self._delivery.unacknowledged and self._spool is None:
            raise NotDeliveredError(self._delivery.unacknowledged)

    def statistics(self) -> Statistics:
        """Return the figures since the sender began."""
        with self._worker.lock:
            return self._delivery.statistics(time.monotonic(), self._spool.bytes if self._spool else 0)

    def _accept(self, readings: Sequence[Reading], ticket: Ticket[Future[Any]] | None, timeout_s: float | None) -> None:
        serialised = self._limits.serialised(readings)
        size = sum([len(one) for one in serialised])
        worker, waits, spooled = self._worker, ticket is not None, self._spool is not None
        with worker.lock:
            worker.wait(lambda: self._delivery.has_room(len(serialised), size, waits, spooled), timeout_s)
            if worker.closing:
                raise ClosedError("the sender is closed")
            if not spooled:
                now = time.monotonic()
                idle = not len(self._delivery.outbox)
                self._delivery.accepted(serialised, ticket, now)
                if idle or self._delivery.outbox.wait_s(now) == 0.0:
                    worker.work.notify_all()
        if worker.intake is not None:
            worker.intake.write(readings, serialised, ticket)


def _future() -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # what was accepted cannot be taken back
    return future
