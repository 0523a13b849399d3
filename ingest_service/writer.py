"""The group commit: batches of all streams are stored together, and are told what became of them.

What arrives during a commit is the next group: on an idle server a message is committed at once, and under load groups
grow by themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import psycopg
from psycopg_pool import PoolTimeout

from ingest_service.batches import Batch, Outcomes
from ingest_service.groundwork import Groundwork
from ingest_service.grouping import group, split_by_days
from ingest_service.history import append_any, append_new
from ingest_service.intake import Intake
from ingest_service.readings import KINDS, Bools, KeyedRows, Kind
from ingest_service.registry import Registry
from ingest_service.staleness import Connection
from wattstream import logs
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
_MOST_UNDER_WAY = 2
_LARGE_READINGS = 5000
_LEAST_APART_S = 0.01
_GATHER_A_MESSAGE_S = 0.0002

log = logs.get()

Rows = Mapping[Kind, KeyedRows]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pace:
    """How the writer goes about it.

    Attributes:
        group_readings: a group is closed when it has this many readings.
        gather_s: how long to gather a group at the most, where messages came during the commit before, in seconds.
        attempt_s: how long one attempt to store a part of a group may take, in seconds.
    """

    group_readings: int
    gather_s: float
    attempt_s: float


class Writer:
    """Stores what is in the intake, in groups. `run` does the work.

    Args:
        pool: connections to the database.
        registry: keys of devices.
        groundwork: what is laid before each group.
        intake: where messages wait.
        stored: told the rows of each kind that a commit made durable; False with it when there was an error in which
            the commit may have gone through, so that rows may be durable of which nothing was told.
        pace: how to go about it.

    Attributes:
        away: whether the database was away at the last attempt.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - wiring
        self,
        pool: Pool,
        registry: Registry,
        groundwork: Groundwork,
        intake: Intake,
        stored: Callable[[list[KeyedRows], bool], None],
        pace: Pace,
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._groundwork = groundwork
        self._intake = intake
        self._stored = stored
        self._pace = pace
        self._under_way: list[int] = []  # the readings in each group
        self._ended = 0.0
        self._expect_duplicates = False
        self._certain = True
        self.away = False

    async def run(self) -> None:
        """Store what comes in, until cancelled.

        A second group goes to the database while the first is under way if either is large: two large ones keep more
        of it busy, and a small one need not wait for a large one. Two small ones are better off as one.
        """
        clock = asyncio.get_running_loop().time
        begun, messages = 0.0, 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._intake.arrival()
                gathered = self._ended + min(messages * _GATHER_A_MESSAGE_S, self._pace.gather_s)
                await self._intake.gather(max(begun + _LEAST_APART_S, gathered) - clock())
                while not self._may_begin():
                    await self._intake.change()
                begun = clock()
                batches = self._intake.take(self._pace.group_readings)
                messages = sum(len(batch.messages) for batch in batches)
                size = sum(framed.readings for batch in batches for framed in batch.framed)
                self._under_way.append(size)
                tasks.create_task(self._store(batches, size))

    def _may_begin(self) -> bool:
        if len(self._under_way) == _MOST_UNDER_WAY:
            return False
        return self._intake.has_batch() or all(size >= _LARGE_READINGS for size in self._under_way)

    async def _store(self, batches: Sequence[Batch], size: int) -> None:
        """Store a group of so many readings, and tell what became of it."""
        await self._tell(batches, await self._outcome(batches))
        self._ended = asyncio.get_running_loop().time()
        self._under_way.remove(size)
        self._intake.release(batches)

    async def _tell(self, batches: Sequence[Batch], outcome: list[dict[Kind, Outcomes]] | Exception) -> None:
        """Tell what became of a group. One that cannot be stored is tried batch by batch, then message by message."""
        if not isinstance(outcome, Exception):
            for batch, of_batch in zip(batches, outcome, strict=True):
                batch.settle(of_batch)
            return
        messages = [message for batch in batches for message in batch.messages]
        if len(messages) == 1:
            log.error("a message cannot be stored", exc_info=outcome)
            messages[0].settle(outcome)
            return
        log.warning("a group cannot be stored as one", messages=len(messages), error=type(outcome).__name__)
        for part in batches if len(batches) > 1 else [self._intake.prepare([message]) for message in messages]:
            await self._tell([part], await self._outcome([part]))

    async def _outcome(self, batches: Sequence[Batch]) -> list[dict[Kind, Outcomes]] | Exception:
        try:
            return await self._commit(batches)
        except Exception as error:  # noqa: BLE001 - whoever waits for the outcome is told
            return error

    async def _commit(self, batches: Sequence[Batch]) -> list[dict[Kind, Outcomes]]:
        await self._until_it_works(lambda: self._groundwork.devices(batches))
        for batch in batches:
            batch.look_up(self._registry.keys)
        groups = {kind: group(kind, batches) for kind in KINDS}
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
                async with asyncio.timeout(self._pace.attempt_s):
                    if self.away:
                        # Else a connection that was lost while idle would fail this attempt too.
                        await self._pool.check()
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


def _by_batch(batches: Sequence[Batch], outcomes: Mapping[Kind, Outcomes]) -> list[dict[Kind, Outcomes]]:
    """Cut the outcomes of a group, counted through all its batches, back into those of each batch."""
    cut = {
        kind: np.split(of_kind, np.cumsum([len(batch.columns[kind]) for batch in batches])[:-1])
        for kind, of_kind in outcomes.items()
    }
    return [{kind: of_kind[i] for kind, of_kind in cut.items()} for i in range(len(batches))]
