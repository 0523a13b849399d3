"""What waits to be sent and what waits to be acknowledged, in order: pure, without a clock, a thread or a socket."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

_MOST_BYTES = 4 * 1024 * 1024 - 1024
_BATCH_ID, _READING = b"\x08", b"\x12"


@dataclass(frozen=True)
class Limits:
    """How readings are gathered, and how many are held.

    Attributes:
        batch_readings: readings in a message, at most.
        batch_bytes: bytes of a message, about; at least as many as the largest reading has.
        linger_s: how long a reading waits for others to fill its message, in seconds.
        window: messages under way without an acknowledgement, at most.
        queue_readings: readings held in memory, at most.
        queue_bytes: the same in bytes of serialised readings.
    """

    batch_readings: int = 1000
    batch_bytes: int = 1024 * 1024
    linger_s: float = 0.01
    window: int = 8
    queue_readings: int = 50_000
    queue_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        counts = (self.batch_readings, self.batch_bytes, self.window, self.queue_readings, self.queue_bytes)
        if min(counts) < 1 or self.linger_s < 0:
            raise ValueError("a limit must be at least 1, and no time is less than none")
        if self.batch_readings > 10_000 or self.batch_bytes > _MOST_BYTES:
            raise ValueError(f"the service takes at most 10,000 readings and {_MOST_BYTES} bytes in a message")

    def serialised(self, readings: Iterable[Reading]) -> list[bytes]:
        """Return readings as they are sent.

        Raises:
            ValueError: one does not fit into a message.
        """
        found = [reading.SerializeToString() for reading in readings]
        largest = max(map(len, found), default=0)
        if largest > self.batch_bytes:
            raise ValueError(f"a reading of {largest} bytes does not fit into a message of {self.batch_bytes}")
        return found


class Item(NamedTuple):
    """A reading that was accepted: its number, by which all are in order; serialised; when, on a monotonic clock."""

    seq: int
    reading: bytes
    accepted_at: float


class Batch(NamedTuple):
    """Readings that are sent in one message."""

    batch_id: int
    items: Sequence[Item]

    def message(self) -> bytes:
        """Return it as a serialised StreamReadingsRequest."""
        parts = [_BATCH_ID, _varint(self.batch_id)]
        for item in self.items:
            parts += (_READING, _varint(len(item.reading)), item.reading)
        return b"".join(parts)


class OutOfTurnError(Exception):
    """The service acknowledged another batch than the one whose turn it was."""


class Outbox:
    """The readings that are in memory: first those under way, then those that wait.

    Attributes:
        held: give no batch for now.
        hurry_to: readings up to this number do not linger.
    """

    def __init__(self, limits: Limits) -> None:
        self.held = False
        self.hurry_to = 0
        self.bytes = 0
        self._limits = limits
        self._most = limits.batch_readings
        self._last_id = 0
        self._waiting: deque[Item] = deque()
        self._waiting_bytes = 0
        self._under_way: deque[Batch] = deque()
        self.in_flight = 0

    def __len__(self) -> int:
        return len(self._waiting) + self.in_flight

    @property
    def in_flight_to(self) -> int:
        """The last number under way; 0 where nothing is."""
        return self._under_way[-1].items[-1].seq if self._under_way else 0

    @property
    def oldest(self) -> Item | None:
        """The first of them."""
        first = self._under_way[0].items if self._under_way else self._waiting
        return first[0] if first else None

    def add(self, items: Iterable[Item]) -> None:
        """Take readings, in order, after all that are there."""
        for item in items:
            self._waiting.append(item)
            self._waiting_bytes += len(item.reading)
            self.bytes += len(item.reading)

    def wait_s(self, now: float) -> float | None:
        """Return how long until a batch is due, in seconds; None where only an event can make one so."""
        if self.held or not self._waiting or len(self._under_way) >= self._limits.window:
            return None
        first = self._waiting[0]
        if (
            first.seq <= self.hurry_to
            or len(self._waiting) >= self._most
            or self._waiting_bytes >= self._limits.batch_bytes
        ):
            return 0.0
        return max(0.0, first.accepted_at + self._limits.linger_s - now)

    def take(self, now: float) -> Batch | None:
        """Return the next batch, which is under way from now on; None where none is due."""
        if self.wait_s(now) != 0.0:
            return None
        items = [self._waiting.popleft()]
        size = len(items[0].reading)
        while self._waiting and len(items) < self._most:
            size += len(self._waiting[0].reading)
            if size > self._limits.batch_bytes:
                break
            items.append(self._waiting.popleft())
        self._last_id += 1
        batch = Batch(self._last_id, items)
        self._waiting_bytes -= _bytes(items)
        self._under_way.append(batch)
        self.in_flight += len(items)
        return batch

    def acked(self, ack: BatchAck) -> Batch | None:
        """Return the batch that is acknowledged, which leaves.

        None where the service refuses a batch of several readings as a whole, for then it is too large: everything
        under way waits again, batches are half as large from now on, and the connection is to be renewed.

        Raises:
            OutOfTurnError: it is not the turn of that batch.
        """
        if not self._under_way or self._under_way[0].batch_id != ack.batch_id:
            raise OutOfTurnError(f"the service acknowledged batch {ack.batch_id} out of turn")
        count = len(self._under_way[0].items)
        if ack.refusal and count > 1:
            self._most = count // 2
            self.lost()
            return None
        batch = self._under_way.popleft()
        self.in_flight -= count
        self.bytes -= _bytes(batch.items)
        return batch

    def lost(self) -> None:
        """Let everything under way wait again, in its place: the connection is gone."""
        while self._under_way:
            items = self._under_way.pop().items
            self._waiting.extendleft(reversed(items))
            self._waiting_bytes += _bytes(items)
        self.in_flight = 0

    def drop(self, numbers: Collection[int]) -> None:
        """Forget readings that wait; none of those under way."""
        self._waiting = deque(item for item in self._waiting if item.seq not in numbers)
        self.bytes -= self._waiting_bytes
        self._waiting_bytes = _bytes(self._waiting)
        self.bytes += self._waiting_bytes


def _bytes(items: Iterable[Item]) -> int:
    return sum([len(item.reading) for item in items])


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
