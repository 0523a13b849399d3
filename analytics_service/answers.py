"""Answers questions from rollups and readings, in a way that is right whatever the two are doing meanwhile.

What is known of the state of the rollups is kept from answer to answer. An answer is a single statement, planned by
that; it says itself, from its own snapshot, whether that was right. If it was not, state and answer are asked for anew,
in one snapshot.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.rows import DictRow

from analytics_service.statements import statement
from wattstream import postgres
from wattstream.postgres import Pool

Connection = AsyncConnection[tuple[Any, ...]]

# Answers about a few devices are planned once, for any of them, and so with room for many: a hash table as large as
# that takes longer to set up than the whole answer. Once is also too seldom to go by how large a partition is:
# tomorrow's is empty, and found to be so by whoever vacuums the database tonight.
_SMALL = {
    "plan_cache_mode": "force_generic_plan",
    **{f"enable_{way}": "off" for way in ("hashagg", "hashjoin", "seqscan", "bitmapscan")},
}
_LARGE = "SELECT " + ", ".join(
    f"set_config('{name}', '{value}', true)"
    for name, value in {"plan_cache_mode": "force_custom_plan", "enable_hashagg": "on", "enable_hashjoin": "on"}.items()
)


class State(NamedTuple):
    """What an answer is planned by.

    Attributes:
        log_from: hours before this one are rolled up.
        stale: those of the window that are not, or not any more.
        row: all that the question's state statement answered; empty where the answer is planned by what is known.
    """

    log_from: datetime
    stale: Collection[datetime]
    row: Mapping[str, Any]


class Places(NamedTuple):
    """Where an answer is taken from.

    Attributes:
        parameters: what tells the statement so.
        days: the UTC days whose readings it reads.
        takes_rollups_of: tells whether it takes a rollup that holds one of these hours.
    """

    parameters: Mapping[str, Any]
    days: set[date]
    takes_rollups_of: Callable[[Iterable[datetime]], bool]


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        statement: the name of its statement, which answers at least one row, each with log_from, layout, stale_hours.
        state: the name of the statement that answers the state to plan by, one row, with log_from, layout, stale_hours,
            and the days of all partitions if the layout is another than %(layout)s.
        parameters: of both.
        places: plans.
        needs_state: it cannot be planned by what is known of the rollups alone.
        is_large: it is about thousands of devices, and needs state.
    """

    statement: str
    state: str
    parameters: Mapping[str, Any]
    places: Callable[[State], Places]
    needs_state: bool = False
    is_large: bool = False


@dataclass(frozen=True)
class _Known:
    log_from: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    layout: int = -1
    days: frozenset[date] = field(default_factory=frozenset)
    expects_stale: bool = True


class Answers:
    """Asks the database behind a pool of `open_pool`, `at_once` questions at a time; others wait for their turn.

    At most half of them are large: else a few that take long would keep all that are answered in milliseconds waiting.
    """

    def __init__(self, pool: Pool, at_once: int) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(at_once)
        self._large_turns = asyncio.Semaphore(max(1, at_once // 2))
        self._known = _Known()

    async def to(self, question: Question) -> list[DictRow]:
        """Return the rows of the answer to `question`."""
        large_turn = self._large_turns if question.is_large else nullcontext()
        async with large_turn, self._turns, self._pool.connection() as connection:
            return await self._ask(connection, question)

    async def _ask(self, connection: Connection, question: Question) -> list[DictRow]:
        try:
            rows = None
            if not self._known.expects_stale and not question.needs_state:
                rows = await self._likely(connection, question)
            return await self._certain(connection, question) if rows is None else rows
        except psycopg.errors.UndefinedTable:  # somebody removed a partition
            self._known = _Known()
            return await self._certain(connection, question)

    async def look_up(self, statement: str, parameters: Mapping[str, Any]) -> list[DictRow]:
        """Return the rows of a statement that reads neither rollups nor readings."""
        async with self._turns, self._pool.connection() as connection:
            return await execute(connection, statement, parameters)

    async def _likely(self, connection: Connection, question: Question) -> list[DictRow] | None:
        """Return the answer by what is known, or None if that was not right."""
        known = self._known
        places = question.places(State(known.log_from, (), {}))
        rows = await _answer(connection, question, places, known)
        state = rows[0]
        if (
            state["layout"] != known.layout
            or state["log_from"] < known.log_from
            or places.takes_rollups_of(state["stale_hours"] or ())
        ):
            return None
        self._known = _Known(state["log_from"], known.layout, known.days, expects_stale=False)
        return rows

    async def _certain(self, connection: Connection, question: Question) -> list[DictRow]:
        before = self._known  # another question may find out meanwhile that it is not so
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            if question.is_large:
                await connection.execute(_LARGE)
            row = (await execute(connection, question.state, {**question.parameters, "layout": before.layout}))[0]
            stale = row["stale_hours"] or ()
            days = before.days if row["days"] is None else frozenset(row["days"])
            known = _Known(row["log_from"], row["layout"], days, expects_stale=bool(stale))
            rows = await _answer(connection, question, question.places(State(known.log_from, stale, row)), known)
        self._known = known
        return rows


@asynccontextmanager
async def open_pool(dsn: str, size: int, statement_timeout_s: float) -> AsyncIterator[Pool]:
    """Open a pool for answers: a statement is a transaction, and is planned once where it is prepared."""
    async with postgres.open_pool(
        dsn,
        name="analytics",
        size=size,
        statement_timeout_s=statement_timeout_s,
        autocommit=True,
        settings=_SMALL,
    ) as pool:
        yield pool


async def execute(
    connection: Connection, name: str, parameters: Mapping[str, Any], days: Collection[date] = ()
) -> list[DictRow]:
    """Execute the statement `name` on the partitions of `days` and return its rows."""
    prepared = statement(name, days)
    cursor = AsyncRawCursor(connection)
    await cursor.execute(prepared.text, prepared.values(parameters), binary=True)
    if cursor.pgresult is None or not cursor.pgresult.nfields:
        return []
    names = [(cursor.pgresult.fname(i) or b"").decode() for i in range(cursor.pgresult.nfields)]
    return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]


async def _answer(connection: Connection, question: Question, places: Places, known: _Known) -> list[DictRow]:
    parameters = {**question.parameters, **places.parameters}
    return await execute(connection, question.statement, parameters, known.days & places.days)
