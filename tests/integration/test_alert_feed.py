"""What those who watch alerts are told, wherever a watch is cut off and resumed, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from analytics_service.alerts.changes import Changes, Position
from analytics_service.alerts.feed import Feed, Update
from analytics_service.alerts.selection import Selection
from tests.integration.alert_rows import CLOSED, OPEN, WITHDRAWN, AlertRows
from wattstream import postgres, tasks
from wattstream.errors import AwayError

DEADLINE_S = 30
STATES = (OPEN, OPEN, CLOSED, WITHDRAWN)
EVENTS = st.lists(
    st.one_of(
        st.just(("add",)),
        st.tuples(st.just("change"), st.lists(st.integers(0, 20), min_size=1, max_size=4), st.sampled_from(STATES)),
        st.tuples(st.just("read"), st.integers(1, 4)),
        st.just(("cut",)),
    ),
    max_size=25,
)


@pytest.fixture
def rows(database: str) -> Iterator[AlertRows]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield AlertRows(connection)


@asynccontextmanager
async def feed(database: str, page: int = 2, **options: Any) -> AsyncIterator[Feed]:
    async with postgres.open_pool(database, name="test", size=2, statement_timeout_s=10) as pool:
        made = Feed(
            Changes(pool, page), **{"poll_s": 0.005, "max_watchers": 9, "heartbeat_s": 0.01, "kept": 3, **options}
        )
        async with tasks.running(made.run()):
            yield made


class Watcher:
    """One who watches, forgets the connection, and resumes, and notes the last that was told of each alert."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._watch: Any = None
        self._position: Position | None = None
        self.told: dict[int, int] = {}

    async def read(self) -> Update:
        if self._watch is None:
            self._watch = self._feed.watch(Selection(), self._position)
        update: Update = await asyncio.wait_for(anext(self._watch), DEADLINE_S)
        for alert in update.alerts:
            assert alert.revision > self.told.get(alert.alert_id, 0), "an alert went back, or was told again"
            self.told[alert.alert_id] = alert.revision
        self._position = update.position
        return update

    async def cut(self) -> None:
        if self._watch is not None:
            await self._watch.aclose()
        self._watch = None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=EVENTS, after=EVENTS)
def test_wherever_a_watch_is_cut_off_the_last_of_every_alert_is_told(
    database: str, rows: AlertRows, before: list[Any], after: list[Any]
) -> None:
    async def play() -> None:
        rows.forget()
        ids: list[int] = []
        async with feed(database) as made:
            watcher = Watcher(made)
            for event in [event for event in before if event[0] in ("add", "change")]:
                await happen(event, ids, rows, watcher)
            expected = rows.open_revisions()
            begun = max([0, *rows.revisions().values()])
            await watcher.read()
            for event in after:
                await happen(event, ids, rows, watcher)
            last = rows.revisions()
            expected = {id_: last[id_] for id_ in last if id_ in expected or last[id_] > begun}
            async with asyncio.timeout(DEADLINE_S):
                while watcher.told != expected:
                    await watcher.read()
            await watcher.cut()

    asyncio.run(play())


async def happen(event: Any, ids: list[int], rows: AlertRows, watcher: Watcher) -> None:
    if event[0] == "add":
        ids.append(rows.add())
    elif event[0] == "change" and ids:
        rows.change(*{ids[i % len(ids)] for i in event[1]}, state=event[2])
    elif event[0] == "read":
        for _ in range(event[1]):
            await watcher.read()
    elif event[0] == "cut":
        await watcher.cut()


async def test_what_closes_while_a_watch_still_begins_is_told(database: str, rows: AlertRows) -> None:
    one, two, three = (rows.add() for _ in range(3))
    async with feed(database, page=2) as made, aclosing(made.watch(Selection(), None)) as watch:
        begun = await asyncio.wait_for(anext(watch), DEADLINE_S)
        rows.change(one, state=CLOSED)
        four = rows.add()
        rest = [await asyncio.wait_for(anext(watch), DEADLINE_S) for _ in range(2)]
    told = [[(alert.alert_id, alert.state) for alert in update.alerts] for update in (begun, *rest)]
    assert told == [[(one, OPEN), (two, OPEN)], [(three, OPEN)], [(one, CLOSED), (four, OPEN)]]


async def test_one_that_is_further_behind_than_what_is_kept_misses_nothing(database: str, rows: AlertRows) -> None:
    added = [rows.add() for _ in range(9)]
    async with (
        feed(database, kept=2) as made,
        aclosing(made.watch(Selection(), None)) as slow,
        aclosing(made.watch(Selection(), None)) as quick,
    ):
        await _until(slow, added)
        await _until(quick, added)
        for alert_id in added:
            rows.change(alert_id)
            await _until(quick, [alert_id])
        await _until(slow, added)


async def _until(watch: AsyncIterator[Update], alert_ids: list[int]) -> None:
    """Read on until just these alerts were told, in this order."""
    told: list[int] = []
    async with asyncio.timeout(DEADLINE_S):
        async for update in watch:
            told += [alert.alert_id for alert in update.alerts]
            if len(told) >= len(alert_ids) and update.caught_up:
                break
    assert told == alert_ids


async def test_a_quiet_watch_gets_a_word_without_alerts_again_and_again(database: str, rows: AlertRows) -> None:
    rows.add()
    async with feed(database) as made, aclosing(made.watch(Selection(), None)) as watch:
        updates = [await asyncio.wait_for(anext(watch), DEADLINE_S) for _ in range(4)]
    assert [(len(update.alerts), update.caught_up) for update in updates] == [(1, False), *[(0, True)] * 3]
    assert len({update.position for update in updates[1:]}) == 1


async def test_the_word_comes_too_while_only_alerts_of_others_change(database: str, rows: AlertRows) -> None:
    mine, other = Selection(vehicle_id="V1"), rows.add("V2")
    async with feed(database) as made, aclosing(made.watch(mine, None)) as watch:
        begun = await asyncio.wait_for(anext(watch), DEADLINE_S)
        rows.change(other)
        async with asyncio.timeout(DEADLINE_S):
            async for update in watch:
                assert update.alerts == []
                if update.position.told == rows.revisions()[other]:
                    break
    assert begun.position != update.position


async def test_changes_made_while_the_database_is_away_are_told_once_it_is_back(
    database: str, rows: AlertRows, stores: Any
) -> None:
    added = rows.add()
    async with feed(database, heartbeat_s=DEADLINE_S) as made, aclosing(made.watch(Selection(), None)) as watch:
        updates = [await asyncio.wait_for(anext(watch), DEADLINE_S) for _ in range(2)]
        with away(database, rows, stores):
            rows.change(added, state=CLOSED)
        updates.append(await asyncio.wait_for(anext(watch), DEADLINE_S))
    assert [[(alert.alert_id, alert.state) for alert in update.alerts] for update in updates] == [
        [(added, OPEN)],
        [],
        [(added, CLOSED)],
    ]


async def test_a_watch_ends_where_the_contract_wants_a_word_and_the_database_is_away(
    database: str, rows: AlertRows, stores: Any
) -> None:
    async with feed(database, heartbeat_s=0.2) as made, aclosing(made.watch(Selection(), None)) as watch:
        await asyncio.wait_for(anext(watch), DEADLINE_S)
        with away(database, rows, stores), pytest.raises(AwayError):
            await asyncio.wait_for(_read_on(watch), DEADLINE_S)


@contextmanager
def away(database: str, rows: AlertRows, stores: Any) -> Iterator[None]:
    """Keep everybody away from the database but the one who writes rows."""
    name = str(conninfo_to_dict(database)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(stores.postgres_dsn, autocommit=True) as admin:
        admin.execute(allow.format(sql.Identifier(name), False))
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
        admin.execute(query, (name, rows.backend_pid))
        yield
        admin.execute(allow.format(sql.Identifier(name), True))


async def _read_on(watch: AsyncIterator[Update]) -> None:
    async for _ in watch:
        pass


async def test_a_watch_after_a_time_without_any_begins_with_what_is_open(database: str, rows: AlertRows) -> None:
    async with feed(database) as made:
        async with aclosing(made.watch(Selection(), None)) as watch:
            await asyncio.wait_for(anext(watch), DEADLINE_S)
        added = rows.add_many(5)
        async with aclosing(made.watch(Selection(), None)) as watch:
            updates = [await asyncio.wait_for(anext(watch), DEADLINE_S) for _ in range(4)]
    assert [alert.alert_id for update in updates for alert in update.alerts] == added
