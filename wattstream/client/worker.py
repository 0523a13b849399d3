"""The thread of the synchronous sender: it keeps the connection, over which gRPC's thread sends what is due."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty
from typing import Any

from wattstream.api.ingest.v1.ingest_pb2 import StreamReadingsResponse
from wattstream.client.connection import Connection
from wattstream.client.delivery import Acked, Delivery
from wattstream.client.errors import ServiceError
from wattstream.client.outbox import OutOfTurnError
from wattstream.client.outcomes import ClosedError
from wattstream.client.reporting import Reporter, fail
from wattstream.client.retry import Attempts, Retry
from wattstream.client.spool import Spool
from wattstream.client.spooling import Intake

_GOODBYE_S = 2.0


class Worker:
    """Delivers what the delivery holds, until it is stopped or fails.

    Attributes:
        lock: guards the delivery and all that follows.
        work: notified when there may be something to send.
        space: notified when there may be room, or an end.
        intake: what stands between the sender and its spool, where there is one.
        error: what stopped it.
        closing: nothing is accepted any more.
    """

    def __init__(
        self,
        open_call: Callable[[Iterator[bytes]], Any],
        delivery: Delivery[Future[Any]],
        spool: Spool | None,
        retry: Retry,
        reporter: Reporter,
    ) -> None:
        self.lock = threading.Lock()
        self.work, self.space = threading.Condition(self.lock), threading.Condition(self.lock)
        self.intake = Intake(spool, delivery, self.lock, self.wake, reporter) if spool else None
        self.error: Exception | None = None
        self.closing = False
        self._abandoned = False
        self._open_call, self._delivery, self._reporter = open_call, delivery, reporter
        self._attempts = Attempts(retry)
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="wattstream-sender", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Wake everyone; the lock is held."""
        self.work.notify_all()
        self.space.notify_all()

    def wait(self, condition: Callable[[], bool], timeout_s: float | None) -> None:
        """Wait until a condition holds that depends on acknowledgements; the lock is held.

        Raises:
            TimeoutError: it does not, for so long.
            ClosedError: the sender was closed meanwhile.
            Exception: what stopped the sender.
        """
        if not self.space.wait_for(lambda: self.error is not None or self._abandoned or condition(), timeout_s):
            raise TimeoutError(f"waited for {timeout_s} s in vain")
        if self.error is not None:
            raise self.error
        if self._abandoned:
            raise ClosedError("the sender is closed")

    def stop(self) -> None:
        """Half-close and let the server end the call, or, where readings are left, end it here."""
        self._end(abandon=self._delivery.unacknowledged > 0)
        self._thread.join(_GOODBYE_S)
        self._end(abandon=True)
        self._thread.join()

    def _end(self, *, abandon: bool) -> None:
        with self.lock:
            self.closing = True
            self._abandoned = abandon
            self.wake()
            connection = self._connection
        if abandon and connection is not None:
            connection.cancel()

    def _run(self) -> None:
        try:
            while self._has_work():
                wait_s = self._converse()
                with self.lock:
                    self.work.wait_for(lambda: self._abandoned, wait_s)
        except OutOfTurnError as error:
            self._fail(ServiceError("INTERNAL", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._fail(error)

    def _has_work(self) -> bool:
        """Wait until there is something to send; return False at the end."""
        if self.intake is not None:
            self.intake.load()
        with self.lock:
            self.work.wait_for(lambda: self.closing or len(self._delivery.outbox))
            return not self._abandoned and bool(len(self._delivery.outbox))

    def _converse(self) -> float:
        """Send and receive over one connection, to its end; return how long to wait before the next, in seconds."""
        connection = self._connection = Connection(self._open_call, self._requests)
        try:
            lost = self._listen(connection)
        finally:
            with self.lock:
                connection.over = True
                self._connection = None
                self._delivery.lost()
                self.wake()
            connection.cancel()
            connection.join()
        if lost is None:
            return 0.0
        self._delivery.reconnects += 1
        return self._attempts.failed(lost)

    def _listen(self, connection: Connection) -> ServiceError | None:
        """Take acknowledgements until the connection is lost, and return why; None where it ends as it should."""
        while True:
            try:
                event = connection.events.get(timeout=self._attempts.patience_s())
            except Empty:
                if self._attempts.remaining_s():
                    continue
                raise ServiceError("DEADLINE_EXCEEDED", "the service acknowledges nothing for too long") from None
            if isinstance(event, ServiceError):
                return None if self._ends(event) else event
            for ack in event.acks:
                with self.lock:
                    acked = self._delivery.acked(ack)
                if acked is None:
                    return None
                self._settle(acked)
            self._progressed(event)

    def _ends(self, event: ServiceError) -> bool:
        with self.lock:
            return self._abandoned or (self.closing and not len(self._delivery.outbox) and event.transient)

    def _settle(self, acked: "Acked[Future[Any]]") -> None:
        try:
            if self.intake is not None:
                self.intake.remove(acked)
        finally:
            self._reporter.acked(acked)

    def _progressed(self, response: StreamReadingsResponse) -> None:
        if response.acks:
            self._attempts.progressed()
        with self.lock:
            if self._delivery.outbox.in_flight:
                self._attempts.begin()
            self.wake()
        if self.intake is not None:
            self.intake.load()

    def _requests(self, connection: Connection) -> Iterator[bytes]:
        """Yield batches as they become due; runs in gRPC's thread."""
        while True:
            with self.lock:
                while (batch := None if connection.over else self._delivery.take(time.monotonic())) is None:
                    if connection.over or (self.closing and not len(self._delivery.outbox)):
                        return
                    self.work.wait(self._delivery.outbox.wait_s(time.monotonic()))
                self._attempts.begin()
            yield batch.message()

    def _fail(self, error: Exception) -> None:
        with self.lock:
            self.error = error
            tickets = self._delivery.tickets.failed()
            self.wake()
        fail(tickets, lambda _: error)
