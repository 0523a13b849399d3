"""The group commit: batches of all streams wait here, are stored together, and are told what became of them.

One commit is in flight at a time, and what arrives meanwhile is the next group: on an idle server a batch is committed
at once, and under load groups grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import psycopg
from psycopg_pool import PoolTimeout

from ingest_service.groundwork import Groundwork
from ingest_service.grouping import Outcomes, group, split_by_days
from ingest_service.history import Connection, append_any, append_new
from ingest_service.readings import KINDS, Batch, Bools, KeyedRows, Kind
from ingest_service.registry import Registry
from wattstream import logs
from wattstream.errors import AwayError, OverloadedError
from wattstream.postgres import Pool

# A database that is away, shutting down, full, failing over or overloaded; whatever it is, it passes.
_TRANSIENT = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    PoolTimeout,
    TimeoutError,
)
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0
_DAYS_A_TRANSACTION = 31

log = logs.get()

BatchOutcome = dict[Kind, Outcomes]
Rows = Mapping[Kind, KeyedRows]
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Submission:
    batch: Batch
    outcome: "asyncio.Future[BatchOutcome]"


@dataclass(frozen=True)
class Bounds:
    """How much the writer takes on.

    Attributes:
        group_readings: a group is closed when it has this many readings.
        buffered_readings: this many readings may wait; one batch always may.
        attempt_s: how long one attempt to store a part of a group may take, in seconds.
    """

    group_readings: int
    buffered_readings: int
    attempt_s: float


class Writer:
    """Stores batches in groups. `run` does the work; `submit` and `submit_now` hand it over.

    Args:
        pool: connections to the database.
        registry: keys of devices.
        groundwork: what is laid before each group.
        stored: told the rows of each kind that a commit made durable; False with it when there was an error in which
            the commit may have gone through, so that rows may be durable of which nothing was told.
        bounds: how much to take on.

    Attributes:
        away: whether the database was away at the last attempt.
    """

    def __init__(
        self,
        pool: Pool,
        registry: Registry,
        groundwork: Groundwork,
        stored: Callable[[list[KeyedRows], bool], None],
        bounds: Bounds,
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._groundwork = groundwork
        self._stored = stored
        self._bounds = bounds
        self._queue: deque[_Submission] = deque()
        self._promised: set[asyncio.Future[BatchOutcome]] = set()
        self._buffered = 0
        self._arrived = asyncio.Event()
        self._freed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._expect_duplicates = False
        self._certain = True
        self.away = False

    async def submit(self, batch: Batch) -> "asyncio.Future[BatchOutcome]":
        """Hand a batch over, waiting for room first; the future is set after its commit. First come, first served."""
        async with self._turn:
            while not self._has_room(batch):
                self._freed.clear()
                await self._freed.wait()
            return self._enqueue(batch)

    def submit_now(self, batch: Batch) -> "asyncio.Future[BatchOutcome]":
        """Hand a batch over if there is room at once.

        Raises:
            AwayError: the database is away.
            OverloadedError: there is no room.
        """
        if self.away:
            raise AwayError("the database is away")
        if self._turn.locked() or not self._has_room(batch):
            raise OverloadedError("too many readings are waiting to be stored")
        return self._enqueue(batch)

    async def run(self) -> None:
        """Store what is handed over, until cancelled."""
        while True:
            await self._arrived.wait()
            submissions = self._next_group()
            try:
                await self._store(submissions)
            finally:
                self._buffered -= sum(len(submission.batch) for submission in submissions)
                self._freed.set()

    def give_up(self) -> None:
        """Cancel the outcome of all that has not been stored yet; whether it will be nobody is told."""
        for outcome in list(self._promised):
            outcome.cancel()

    def _has_room(self, batch: Batch) -> bool:
        return self._buffered == 0 or self._buffered + len(batch) <= self._bounds.buffered_readings

    def _enqueue(self, batch: Batch) -> "asyncio.Future[BatchOutcome]":
        outcome: asyncio.Future[BatchOutcome] = asyncio.get_running_loop().create_future()
        self._promised.add(outcome)
        outcome.add_done_callback(self._promised.discard)
        self._queue.append(_Submission(batch, outcome))
        self._buffered += len(batch)
        self._arrived.set()
        return outcome

    def _next_group(self) -> list[_Submission]:
        submissions = []
        readings = 0
        while self._queue and readings < self._bounds.group_readings:
            submissions.append(self._queue.popleft())
            readings += len(submissions[-1].batch)
        if not self._queue:
            self._arrived.clear()
        return submissions

    async def _store(self, submissions: Sequence[_Submission]) -> None:
        """Store a group. One that can never be stored is tried batch by batch, so that a bad one holds up no other."""
        try:
            outcomes = await self._commit([submission.batch for submission in submissions])
        except Exception as error:
            if len(submissions) == 1:
                log.exception("a batch cannot be stored")
                _settle(submissions[0].outcome, error)
                return
            log.warning("a group cannot be stored as one", batches=len(submissions), error=type(error).__name__)
            for submission in submissions:
                await self._store([submission])
            return
        for submission, outcome in zip(submissions, outcomes, strict=True):
            _settle(submission.outcome, outcome)

    async def _commit(self, batches: Sequence[Batch]) -> list[BatchOutcome]:
        await self._until_it_works(lambda: self._groundwork.devices(batches))
        groups = {kind: group(kind, batches, self._registry.keys) for kind in KINDS}
        stored = {kind: np.zeros(len(found.rows), np.bool_) for kind, found in groups.items()}
        for part in split_by_days(groups, _DAYS_A_TRANSACTION):
            rows = {kind: groups[kind].rows.take(chosen) for kind, chosen in part.items()}
            new = await self._until_it_works(lambda rows=rows: self._append(rows))  # type: ignore[misc]
            for kind, chosen in part.items():
                stored[kind][chosen] = new[kind]
            self._stored([rows[kind].take(new[kind]) for kind in KINDS], self._certain)
            self._certain = True
        return _by_batch(batches, {kind: groups[kind].settled(stored[kind]) for kind in KINDS})

    async def _until_it_works(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        delay_s = _FIRST_RETRY_S
        while True:
            try:
                async with asyncio.timeout(self._bounds.attempt_s):
                    if self.away:
                        await (
                            self._pool.check()
                        )  # else a connection that was lost while idle would fail this attempt too
                    result = await attempt()
            except _TRANSIENT as error:
                if not self.away:
                    log.warning("the database is away; trying again and again", error=type(error).__name__)
                self.away = True
                # The commit may have gone through before the error came.
                self._expect_duplicates, self._certain = True, False
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_RETRY_S)
            else:
                if self.away:
                    log.info("the database is back")
                self.away = False
                return result

    async def _append(self, rows: Rows) -> dict[Kind, Bools]:
        """Append rows: straight in where no duplicates are to be expected, else, or if that failed, through staging."""
        try:
            stored = await self._append_by(append_any if self._expect_duplicates else append_new, rows)
        except _TRANSIENT:
            raise
        except psycopg.DatabaseError:
            # A duplicate, most likely, in whatever words the database has for it; or somebody removed a partition.
            self._groundwork.forget()
            stored = await self._append_by(append_any, rows)
        self._expect_duplicates = not all(of_kind.all() for of_kind in stored.values())
        return stored

    async def _append_by(
        self, append: Callable[[Connection, Rows], Awaitable[dict[Kind, Bools]]], rows: Rows
    ) -> dict[Kind, Bools]:
        await self._groundwork.places(rows)
        async with self._pool.connection() as connection:
            return await append(connection, rows)


def _by_batch(batches: Sequence[Batch], outcomes: dict[Kind, Outcomes]) -> list[BatchOutcome]:
    """Cut the outcomes of a group, counted through all its batches, back into those of each batch."""
    cut = {kind: np.split(outcomes[kind], np.cumsum([len(batch.of(kind)) for batch in batches])[:-1]) for kind in KINDS}
    return [{kind: cut[kind][i] for kind in KINDS} for i in range(len(batches))]


def _settle(future: "asyncio.Future[BatchOutcome]", result: BatchOutcome | Exception) -> None:
    """Set the future, unless whoever waited for it has gone."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        future.exception()  # so that nobody complains of it where the one who waited goes before it is told
    else:
        future.set_result(result)
