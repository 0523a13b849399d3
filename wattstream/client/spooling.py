"""Between the synchronous sender and its spool: who writes, in which order."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.delivery import Acked, Delivery
from wattstream.client.reporting import Reporter
from wattstream.client.spool import Spool, rows, spooled_bytes
from wattstream.client.spool_file import SpoolFullError
from wattstream.client.tickets import Ticket


@dataclass(slots=True, eq=False)
class Write:
    """Readings on their way into the spool, all or none, and how that ended."""

    readings: Sequence[bytes]
    rows: Sequence[tuple[bytes, str]]
    ticket: Ticket[Any] | None
    done: bool = False
    error: BaseException | None = None


class Intake:
    """Writes readings to the spool and hands them to the delivery, in the same order.

    The thread that comes first writes for all that come meanwhile, in one transaction. `lock` guards the delivery, and
    is never held while the disk is waited for; `woken` is called under it when there is something new.
    """

    def __init__(
        self,
        spool: Spool,
        delivery: Delivery[Future[Any]],
        lock: threading.Lock,
        woken: Callable[[], None],
        reporter: Reporter,
    ) -> None:
        self._spool, self._delivery, self._lock = spool, delivery, lock
        self._woken, self._reporter = woken, reporter
        self._writing = threading.Lock()
        self._pending: list[Write] = []

    def write(self, readings: Sequence[Reading], serialised: Sequence[bytes], ticket: Ticket[Any] | None) -> None:
        """Return when the readings are durable and will be sent.

        Raises:
            SpoolError: they are not accepted.
        """
        write = Write(serialised, rows(readings, serialised), ticket)
        with self._lock:
            self._pending.append(write)
        with self._writing:
            if not write.done:
                self._write_pending()
        if write.error is not None:
            raise write.error

    def load(self) -> None:
        """Read from the spool what memory has room for."""
        with self._lock:
            if not self._delivery.loads()[0]:
                return
        with self._writing:
            self._load()

    def remove(self, acked: Acked[Any]) -> None:
        """Forget acknowledged readings."""
        rejected = [(acked.items[place].reading, why) for place, why in acked.rejections.items()]
        self._spool.remove(acked.items[0].seq, acked.items[-1].seq, rejected)

    def _write_pending(self) -> None:
        with self._lock:
            group, self._pending = self._pending, []
        try:
            self._store(group)
        except BaseException as error:
            for write in group:
                if not write.done:
                    write.done, write.error = True, error
            raise

    def _store(self, group: list[Write]) -> None:
        together = [row for write in group for row in write.rows]
        try:
            self._make_room(spooled_bytes(together))
            self._spool.append(together)
        except SpoolFullError as error:
            if len(group) == 1:
                group[0].done, group[0].error = True, error
                return
            for write in group:  # those that fit are not to suffer for those that do not
                self._store([write])
            return
        with self._lock:
            now = time.monotonic()
            for write in group:
                self._delivery.accepted(write.readings, write.ticket, now)
                write.done = True
            self._woken()

    def _make_room(self, size: int) -> None:
        """Let the spool drop what its policy says; nothing is put under way meanwhile."""
        if not self._spool.wants_room(size):
            return
        with self._lock:
            self._delivery.outbox.held = True
            after = self._delivery.outbox.in_flight_to
        dropped: list[int] = []
        try:
            dropped = self._spool.make_room(size, after)
        finally:
            with self._lock:
                self._delivery.outbox.held = False
                tickets = self._delivery.dropped(dropped)
                self._woken()
        self._reporter.dropped(len(dropped), tickets)
        self._load()

    def _load(self) -> None:
        with self._lock:
            most, most_bytes = self._delivery.loads()
            after = self._delivery.loaded_to
        if most:
            following = self._spool.following(after, most, most_bytes)
            with self._lock:
                self._delivery.loaded(following, time.monotonic(), time.time())
                self._woken()
