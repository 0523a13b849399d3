"""What a sender knows, and how it decides: pure. The senders add threads or tasks, a connection and a spool.

A reading is accepted, sent, acknowledged; its number says its place. Where there is a spool, memory holds the first
readings of it only, and `behind` says that more must be read from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck
from wattstream.client.outbox import Batch, Item, Limits, Outbox
from wattstream.client.outcomes import Rejection, rejections
from wattstream.client.spool import Spooled
from wattstream.client.tickets import AnyFuture, Ticket, Tickets


@dataclass(frozen=True)
class Statistics:
    """A sender's figures: readings, except where another unit is named.

    Attributes:
        queued: accepted, and not under way; those that an earlier sender left in the spool included.
        in_flight: under way without an acknowledgement.
        sent: put on the wire, each time that they were.
        acked: acknowledged: stored + duplicates + rejected.
        stored: new, and durable now.
        duplicates: had been durable before.
        rejected: not stored, for good.
        dropped: left a full spool unsent.
        reconnects: how often a connection was lost.
        spool_bytes: bytes that the spool counts against its bound; 0 without one.
        oldest_age_s: how long ago the oldest that has no acknowledgement was accepted, in seconds.
    """

    queued: int = 0
    in_flight: int = 0
    sent: int = 0
    acked: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    dropped: int = 0
    reconnects: int = 0
    spool_bytes: int = 0
    oldest_age_s: float = 0.0


class Acked(NamedTuple, Generic[AnyFuture]):
    """Readings that have been acknowledged, those of them that were rejected by place, and whom it ends waiting."""

    items: Sequence[Item]
    rejections: dict[int, Rejection]
    tickets: list[Ticket[AnyFuture]]


class Delivery(Generic[AnyFuture]):
    """The state of a sender.

    Attributes:
        behind: the spool holds readings that are not in memory.
        accepted_to: the last number accepted.
        loaded_to: the last number that is, or was, in memory.
    """

    def __init__(self, limits: Limits, *, first: int = 1, backlog: int = 0) -> None:
        """Begin with `backlog` readings in a spool; the next reading accepted has the number `first`."""
        self.outbox = Outbox(limits)
        self.tickets: Tickets[AnyFuture] = Tickets()
        self.behind = backlog > 0
        self.accepted_to = first - 1
        self.loaded_to = 0 if backlog else first - 1
        self.unacknowledged = backlog
        self.sent = self.stored = self.duplicates = self.rejected = self.drops = self.reconnects = 0
        self._limits = limits

    def has_room(self, count: int, size: int, waiting: bool, spooled: bool) -> bool:
        """Return whether memory can take `count` readings of `size` bytes.

        Where they lie in a spool, that is room for those who wait for them, if any does (`waiting`).
        """
        held = self.tickets.readings if spooled else len(self.outbox)
        if not held or (spooled and not waiting):
            return True  # none are held: waiting would not make more room
        fits = held + count <= self._limits.queue_readings
        return fits and (spooled or self.outbox.bytes + size <= self._limits.queue_bytes)

    def accepted(self, readings: Sequence[bytes], ticket: Ticket[AnyFuture] | None, now: float) -> None:
        """Take readings, which have the numbers after accepted_to."""
        first = self.accepted_to + 1
        self.accepted_to += len(readings)
        self.unacknowledged += len(readings)
        if ticket is not None:
            self.tickets.add(ticket, first)
        self.behind = self.behind or not self._may_load(len(readings))
        if not self.behind:
            self.outbox.add(Item(first + place, reading, now) for place, reading in enumerate(readings))
            self.loaded_to = self.accepted_to

    @property
    def ended_to(self) -> int:
        """The number up to which every reading has come to its end."""
        oldest = self.outbox.oldest
        return oldest.seq - 1 if oldest else self.loaded_to

    def loads(self) -> tuple[int, int]:
        """Return how many readings, and bytes, to read from the spool after loaded_to; (0, 0): none for now."""
        most_bytes = self._limits.queue_bytes - self.outbox.bytes
        if not self.behind or len(self.outbox) > self._limits.queue_readings // 2 or most_bytes <= 0:
            return 0, 0
        return self._limits.queue_readings - len(self.outbox), most_bytes

    def loaded(self, rows: Sequence[Spooled], now: float, wall_now: float) -> None:
        """Take the readings that follow loaded_to in the spool; none: that was all. Both clocks are in seconds."""
        items = [Item(row.seq, row.reading, now - max(0.0, wall_now - row.accepted_at)) for row in rows]
        self.outbox.add(items)
        self.behind = bool(items)
        self.loaded_to = items[-1].seq if items else self.accepted_to

    def take(self, now: float) -> Batch | None:
        """Return the next batch to put on the wire, where one is due."""
        batch = self.outbox.take(now)
        if batch is not None:
            self.sent += len(batch.items)
        return batch

    def acked(self, ack: BatchAck) -> Acked[AnyFuture] | None:
        """Return what an acknowledgement ends; None where the connection is to be renewed, see Outbox.acked."""
        batch = self.outbox.acked(ack)
        if batch is None:
            return None
        rejected = rejections(ack, len(batch.items))
        self.unacknowledged -= len(batch.items)
        self.stored += ack.stored
        self.duplicates += ack.duplicates
        self.rejected += len(rejected)
        ended = self.tickets.acked([item.seq for item in batch.items], rejected, ack.duplicates)
        return Acked(batch.items, rejected, ended)

    def lost(self) -> None:
        """Note that the connection is gone: what was under way is to be sent again."""
        self.outbox.lost()

    def dropped(self, numbers: Sequence[int]) -> list[Ticket[AnyFuture]]:
        """Return the tickets that end because the spool has dropped readings, none of them under way; in order."""
        if not numbers:
            return []
        self.drops += len(numbers)
        self.unacknowledged -= len(numbers)
        self.outbox.drop(set(numbers))
        return self.tickets.dropped(numbers)

    def statistics(self, now: float, spool_bytes: int) -> Statistics:
        """Return the figures."""
        oldest = self.outbox.oldest
        return Statistics(
            queued=self.unacknowledged - self.outbox.in_flight,
            in_flight=self.outbox.in_flight,
            sent=self.sent,
            acked=self.stored + self.duplicates + self.rejected,
            stored=self.stored,
            duplicates=self.duplicates,
            rejected=self.rejected,
            dropped=self.drops,
            reconnects=self.reconnects,
            spool_bytes=spool_bytes,
            oldest_age_s=max(0.0, now - oldest.accepted_at) if oldest else 0.0,
        )

    def _may_load(self, count: int) -> bool:
        return not len(self.outbox) or len(self.outbox) + count <= self._limits.queue_readings
