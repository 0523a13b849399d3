"""A refresher that is cut off at any statement, and one that never rests, beside who writes and asks."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from analytics_service.rollups import refresher
from analytics_service.windows import Window
from tests.integration.fleets import T0, Assignment, Fleet
from tests.integration.recomputed import hold_rollups_against_readings
from tests.integration.world import World, check, fleet_of, hour, opened

H0 = hour(T0)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# A step in which an hour, the last of a day, is passed and refreshed, and single devices of hours before it.
LEAST_STATEMENTS = 20


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with opened(database) as opened_world:
        days = [T0.date() + timedelta(days=n) for n in range(2, 8)]
        await opened_world.connection.execute("SELECT ensure_partitions(%s::date[])", (days,))
        yield opened_world


class Cut:
    """Cuts whoever executes statements off: after the one of that number, by cancelling; or before it, by killing."""

    def __init__(self, dsn: str, *, by_killing: bool) -> None:
        self._dsn, self._by_killing = dsn, by_killing
        self._execute = refresher.execute
        self._at, self._seen = 0, 0

    async def off(self, number: int, what: Coroutine[Any, Any, Any]) -> bool:
        """Have it cut off, and return whether it was: whether it executed so many statements."""
        self._at, self._seen = number, 0
        task = asyncio.create_task(what)
        with suppress(asyncio.CancelledError, psycopg.OperationalError):
            await task
        self._at = 0
        if self._seen < number:
            return False
        assert task.cancelled() or task.exception()
        return True

    async def execute(self, connection: Any, *arguments: Any) -> Any:
        self._seen += 1
        if self._seen == self._at and self._by_killing:
            async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as killer:
                await killer.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))
        rows = await self._execute(connection, *arguments)
        if self._seen == self._at and not self._by_killing:
            task = asyncio.current_task()
            assert task
            task.cancel()
        return rows


@pytest.mark.parametrize("by_killing", [False, True])
async def test_cut_off_at_any_statement_it_leaves_all_as_it_was_and_goes_on(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch, *, by_killing: bool
):
    await world.empty(H0)
    await world.write(fleet_of([("V2", H0, "M1")]))
    await world.refresh(H0 + HOUR)
    cut = Cut(database, by_killing=by_killing)
    monkeypatch.setattr(refresher, "execute", cut.execute)
    world.refresher = refresher.Refresher(world.pool, refresher.Pace(HOUR, timedelta(), timedelta(), devices=100))
    reached, number, at = True, 0, H0
    while reached:
        number += 1
        at += HOUR
        await world.write(fleet_of([("V1", at + MINUTE, "M1"), ("V2", at + 2 * MINUTE, "M1"), ("V3", at, "M2")]))
        await world.write(fleet_of([("V2", H0 + number * MINUTE, "M1"), ("V3", H0 + number * MINUTE, "M1")]))

        reached = await cut.off(number, world.refresher.step(at + HOUR))
        await check(world, Window(H0 - HOUR, at + 2 * HOUR))

    assert number > LEAST_STATEMENTS
    await world.refresh(at + HOUR)
    assert await world.rows("SELECT 1 FROM stale_hours") == []
    await hold_rollups_against_readings(database)


async def test_beside_a_refresher_that_never_rests_every_answer_is_that_of_what_is_stored(world: World):
    now = H0

    async def go_on() -> None:
        while True:
            await world.refresher.step(now)
            await asyncio.sleep(0)

    refreshing = asyncio.create_task(go_on())
    for number in range(12):
        now = H0 + number * HOUR
        meter = "M1" if number % 3 else None
        await world.write(fleet_of([("V1", now, meter), ("V2", now + MINUTE, "M1"), ("V3", now + MINUTE, "M2")]))
        await check(world, Window(H0, now + HOUR))
        await world.write(
            fleet_of([("V3", H0 + (number + 0.5) * MINUTE, "M1"), ("V1", H0 + (90.5 - number) * MINUTE, None)])
        )
        await check(world, Window(H0 + 2 * MINUTE, now + 30 * MINUTE))
        if number % 4 == 3:
            since = H0 + (number - 3) * HOUR
            assigned = Assignment("V1", "M1" if number % 8 == 3 else "M2", since, since + 4 * HOUR)
            await world.assign(Fleet([], [], [assigned], H0, H0))
            await check(world, Window(H0, now + HOUR))
        assert not refreshing.done()
    refreshing.cancel()
    with suppress(asyncio.CancelledError):
        await refreshing
    await world.refresh(now + HOUR)
    await hold_rollups_against_readings(world.dsn)
