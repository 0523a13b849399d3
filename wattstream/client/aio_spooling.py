"""Between the asyncio sender and its spool: one task writes, in threads, for all that wait."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.delivery import Acked, Delivery
from wattstream.client.outcomes import ClosedError
from wattstream.client.reporting import Reporter
from wattstream.client.spool import Spool, rows, spooled_bytes
from wattstream.client.spool_file import SpoolFullError
from wattstream.client.tickets import Ticket


@dataclass(slots=True, eq=False)
class AsyncWrite:
    """Readings on their way into the spool, all or none, and the end of that."""

    readings: Sequence[bytes]
    rows: Sequence[tuple[bytes, str]]
    ticket: Ticket[Any] | None
    end: "asyncio.Future[None]"


class AsyncIntake:
    """Writes readings to the spool and hands them to the delivery, in the same order; see Intake.

    A write that has begun is never cancelled, for it would not be known whether it was done.
    """

    def __init__(
        self, spool: Spool, delivery: Delivery[asyncio.Future[Any]], woken: Callable[[], None], reporter: Reporter
    ) -> None:
        self._spool, self._delivery, self._woken, self._reporter = spool, delivery, woken, reporter
        self._writing = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._pending: list[AsyncWrite] = []
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="wattstream-spool")

    async def write(self, readings: Sequence[Reading], serialised: Sequence[bytes], ticket: Ticket[Any] | None) -> None:
        """Return when the readings are durable and will be sent.

        Raises:
            SpoolError: they are not accepted.
        """
        if self._closing:
            raise ClosedError("the sender is closed")
        end = asyncio.get_running_loop().create_future()
        self._pending.append(AsyncWrite(serialised, rows(readings, serialised), ticket, end))
        self._arrived.set()
        await end

    async def load(self) -> None:
        """Read from the spool what memory has room for."""
        if self._delivery.loads()[0]:
            async with self._writing:
                await self._load()

    async def remove(self, acked: Acked[Any]) -> None:
        """Forget acknowledged readings."""
        rejected = [(acked.items[place].reading, why) for place, why in acked.rejections.items()]
        await asyncio.to_thread(self._spool.remove, acked.items[0].seq, acked.items[-1].seq, rejected)

    async def stop(self) -> None:
        """Write what has come, then close the spool."""
        self._closing = True
        self._arrived.set()
        await asyncio.wait({self._task})
        await asyncio.to_thread(self._spool.close)

    async def _run(self) -> None:
        while self._pending or not self._closing:
            await self._arrived.wait()
            group, self._pending = self._pending, []
            if not self._closing:
                self._arrived.clear()
            if group:
                async with self._writing:
                    await self._guarded(group)

    async def _guarded(self, group: list[AsyncWrite]) -> None:
        try:
            await self._store(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            _end(group, error)

    async def _store(self, group: list[AsyncWrite]) -> None:
        together = [row for write in group for row in write.rows]
        try:
            await self._make_room(spooled_bytes(together))
            await asyncio.to_thread(self._spool.append, together)
        except SpoolFullError:
            if len(group) == 1:
                raise
            for write in group:  # those that fit are not to suffer for those that do not
                await self._guarded([write])
            return
        now = time.monotonic()
        for write in group:
            self._delivery.accepted(write.readings, write.ticket, now)
        _end(group, None)
        self._woken()

    async def _make_room(self, size: int) -> None:
        """Let the spool drop what its policy says; nothing is put under way meanwhile."""
        if not self._spool.wants_room(size):
            return
        self._delivery.outbox.held = True
        dropped: list[int] = []
        try:
            dropped = await asyncio.to_thread(self._spool.make_room, size, self._delivery.outbox.in_flight_to)
        finally:
            self._delivery.outbox.held = False
            self._reporter.dropped(len(dropped), self._delivery.dropped(dropped))
            self._woken()
        await self._load()

    async def _load(self) -> None:
        most, most_bytes = self._delivery.loads()
        if most:
            after = self._delivery.loaded_to
            following = await asyncio.to_thread(self._spool.following, after, most, most_bytes)
            self._delivery.loaded(following, time.monotonic(), time.time())
            self._woken()


def _end(group: list[AsyncWrite], error: Exception | None) -> None:
    for write in group:
        if write.end.done():  # cancelled: nobody waits
            continue
        if error is None:
            write.end.set_result(None)
        else:
            write.end.set_exception(error)
