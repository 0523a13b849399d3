"""Readings on disk until they are acknowledged: a SQLite file that outlives the process, and the power."""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from wattstream import resources
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.outcomes import Rejection
from wattstream.client.spool_file import SpoolError, SpoolFullError, prepare

WhenFull = Literal["refuse", "drop_oldest", "thin_middle"]

_SLACK = 20  # a full spool is emptied by this part of its bound at least, so that it is not full again at once
_LOOKS = 100
_ROW_BYTES = 32


class Spooled(NamedTuple):
    """A reading in the spool: its number, serialised, and when it was accepted, in Unix seconds."""

    seq: int
    reading: bytes
    accepted_at: float


class RejectedReading(NamedTuple):
    """A reading that the service rejected, when (Unix seconds), and why."""

    rejected_at: float
    reading: Reading
    rejection: Rejection


class Spool:
    """A file that holds readings; one process at a time, any thread.

    What to do with a reading that does not fit is `when_full`:

    - "refuse": it is not accepted, SpoolFullError is raised.
    - "drop_oldest": the oldest readings that are not under way are dropped.
    - "thin_middle": of the readings that are not under way the oldest quarter and the newest quarter stay, and of the
      half between every second reading of each device is dropped; again, if that is not enough. A long outage keeps
      its beginning and its end, and its middle coarser and coarser. Where no device has two readings there any more,
      it is refused.

    The last two make room for a twentieth of the bound at once.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 256 * 1024 * 1024,
        max_age_s: float | None = None,
        when_full: WhenFull = "refuse",
        keep_rejected: int = 1000,
    ) -> None:
        """Describe a spool; it is opened by the sender that is given it, or by `with`.

        Args:
            path: the file, made where there is none. Beside it lies another while it is in use.
            max_bytes: bound of what it holds, each reading with its row; the files may be about a tenth larger, and
                4 MiB.
            max_age_s: readings that are older are dropped, whatever the policy; looked at when readings are added, a
                hundredth of that time after the last look at the earliest. None: no reading is too old.
            when_full: what to do with a reading that does not fit.
            keep_rejected: how many rejected readings to keep for inspection, the newest ones.
        """
        self.path = Path(path)
        self.count = self.bytes = self.last_seq = 0
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._when_full, self._keep_rejected = when_full, keep_rejected
        self._looked_at = -math.inf
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            SpoolError: it is damaged, no spool, in use by another process, or cannot be made.
        """
        with self._lock, self._errors():
            connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                prepare(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self.count, self.last_seq, self.bytes = connection.execute(_sql("totals")).fetchone()

    def close(self) -> None:
        """Close the file; what it holds stays."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def append(self, readings: Sequence[tuple[bytes, str]]) -> None:
        """Take serialised readings, each with its device; durable on return. Their numbers follow last_seq.

        Raises:
            SpoolFullError: the disk is full.
        """
        now = time.time()
        with self._lock, self._transaction("FULL") as connection:
            numbered = enumerate(readings, self.last_seq + 1)
            connection.executemany(_sql("append"), ((seq, now, device, reading) for seq, (reading, device) in numbered))
        with self._lock:
            self.last_seq += len(readings)
            self.count += len(readings)
            self.bytes += spooled_bytes(readings)

    def following(self, seq: int, most: int, most_bytes: int) -> list[Spooled]:
        """Return the readings after a number: at most so many, and, the first aside, of so many bytes."""
        found: list[Spooled] = []
        with self._lock, self._errors(), closing(self._open().execute(_sql("following"), (seq, most))) as cursor:
            for row in cursor:
                most_bytes -= len(row[1])
                if found and most_bytes < 0:
                    break
                found.append(Spooled(*row))
        return found

    def remove(self, first: int, last: int, rejected: Iterable[tuple[bytes, Rejection]] = ()) -> None:
        """Forget acknowledged readings by their numbers, and note the rejected ones.

        That is not durable at once: after a loss of power some of them may be there again, and are duplicates then.
        """
        now = time.time()
        with self._lock, self._transaction("NORMAL") as connection:
            sizes = [size for (size,) in connection.execute(_sql("remove_range"), (first, last))]
            noted = [(now, reading, *why) for reading, why in rejected] if self._keep_rejected else []
            if noted:
                connection.executemany(_sql("reject"), noted)
                connection.execute(_sql("trim_rejected"), (self._keep_rejected,))
        self._forget(sizes)

    def wants_room(self, size: int) -> bool:
        """Return whether there may be something to drop before readings of `size` bytes are appended."""
        ages = self._max_age_s is not None and time.monotonic() >= self._looked_at + self._max_age_s / _LOOKS
        return ages or self.bytes + size > self._max_bytes

    def make_room(self, size: int, after: int) -> list[int]:
        """Drop what is too old, and what the policy says to make room for `size` bytes; return the numbers, in order.

        Only readings whose number is greater than `after` are dropped.

        Raises:
            SpoolFullError: there is no room to be made; nothing is dropped.
        """
        with self._lock, self._transaction("FULL") as connection:
            dropped = self._expired(connection, after)
            lacking = self.bytes + size - sum(dropped.values()) - self._max_bytes
            _delete(connection, dropped)
            if lacking > 0:
                dropped |= self._dropped(connection, after, lacking, size)
        self._forget(dropped.values())
        return sorted(dropped)

    def rejected(self) -> list[RejectedReading]:
        """Return the rejected readings that are kept, the oldest first."""
        with self._lock, self._errors():
            kept = self._open().execute(_sql("rejected")).fetchall()
        return [RejectedReading(at, Reading.FromString(reading), Rejection(*why)) for at, reading, *why in kept]

    def _forget(self, sizes: Collection[int]) -> None:
        with self._lock:
            self.count -= len(sizes)
            self.bytes -= sum(sizes)

    def _expired(self, connection: sqlite3.Connection, after: int) -> dict[int, int]:
        if self._max_age_s is None:
            return {}
        self._looked_at = time.monotonic()
        return dict(connection.execute(_sql("expired"), (after, time.time() - self._max_age_s)).fetchall())

    def _dropped(self, connection: sqlite3.Connection, after: int, lacking: int, size: int) -> dict[int, int]:
        """Drop until `lacking` bytes and some more are free; return the numbers and bytes of what has gone."""
        dropped: dict[int, int] = {}
        if self._when_full != "refuse" and size <= self._max_bytes:
            wanted = lacking + self._max_bytes // _SLACK
            while sum(dropped.values()) < wanted:
                gone = self._candidates(connection, after, wanted)
                if not gone:
                    break
                _delete(connection, gone)
                dropped |= gone
        if sum(dropped.values()) < lacking:
            raise SpoolFullError(f"{self.path} holds {self.count} readings, its bound of {self._max_bytes} bytes")
        return dropped

    def _candidates(self, connection: sqlite3.Connection, after: int, wanted: int) -> dict[int, int]:
        if self._when_full == "thin_middle":
            return dict(connection.execute(_sql("middle"), (after,)).fetchall())
        found: dict[int, int] = {}
        with closing(connection.execute(_sql("sizes"), (after,))) as cursor:
            for seq, size in cursor:
                found[seq] = size
                wanted -= size
                if wanted <= 0:
                    break
        return found

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise SpoolError(f"{self.path} is not open")
        return self._connection

    @contextmanager
    def _transaction(self, synchronous: str) -> Iterator[sqlite3.Connection]:
        with self._errors():
            connection = self._open()
            connection.execute(f"PRAGMA synchronous={synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have ended it already
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise SpoolFullError(f"{self.path}: {error}") from None
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise SpoolError(f"{self.path} is in use by another process") from None
            raise SpoolError(f"{self.path} cannot be used as a spool: {error}") from None


def rows(readings: Iterable[Reading], serialised: Iterable[bytes]) -> list[tuple[bytes, str]]:
    """Return readings, and the same serialised, as `Spool.append` takes them."""
    return [(one, _device(reading)) for reading, one in zip(readings, serialised, strict=True)]


def _device(reading: Reading) -> str:
    """Return what tells apart whose readings are whose."""
    if reading.HasField("meter"):
        return f"m:{reading.meter.meter_id}"
    return f"v:{reading.vehicle.vehicle_id}"


def spooled_bytes(readings: Iterable[tuple[bytes, str]]) -> int:
    """Return the bytes for which readings count against the bound."""
    return sum([len(reading) + len(device) + _ROW_BYTES for reading, device in readings])


def _delete(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    connection.executemany(_sql("remove"), ((seq,) for seq in numbers))


def _sql(name: str) -> str:
    return resources.read("wattstream.client.sql", f"{name}.sql")
