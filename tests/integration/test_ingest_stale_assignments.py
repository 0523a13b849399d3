"""A change of assignments in the past is noted in the hours that it concerns, whoever else writes meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingest_service import staleness
from ingest_service.fleet import Fleet
from ingest_service.history import append_new
from ingest_service.registry import Registry
from tests.integration.stale import (
    LOG_FROM,
    Connection,
    assign,
    at,
    connected,
    make_world,
    name_meter,
    noted,
    until_waiting,
    vehicles,
)
from wattstream import postgres


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    async with connected(database) as opened:
        await make_world(opened)
        yield opened


@pytest.fixture
async def fleet(database: str) -> AsyncIterator[Fleet]:
    async with postgres.open_pool(database, name="test", size=3, statement_timeout_s=10) as pool:
        yield Fleet(pool, Registry())


async def roll_up(connection: Connection, vehicle: int, *hours: int) -> None:
    """Have readings of a vehicle rolled up in these hours."""
    await connection.cursor().executemany(
        "INSERT INTO vehicle_rollups SELECT %s, 1, %s, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0",
        [(vehicle, at(hour)) for hour in hours],
    )


async def mark(connection: Connection, device: int, *hours: int) -> None:
    await connection.cursor().executemany(
        "INSERT INTO stale_hours (device_key, hour) VALUES (%s, %s)", [(device, at(hour)) for hour in hours]
    )


async def test_an_assignment_in_the_past_is_noted_in_the_hours_in_which_the_vehicle_has_readings(
    connection: Connection, fleet: Fleet
) -> None:
    await roll_up(connection, 4, -9, -8, -6, -5, -3)
    await roll_up(connection, 5, -7)
    await name_meter(connection, (6, 1, -6), (7, 1, -7), (8, 2, -6))  # 6 is on the same meter
    await fleet.assign("D4", "D1", at(-7.5), at(-5))
    assert await noted(connection) == [(4, -8), (4, -6), (6, -6)]


async def test_what_is_about_to_be_rolled_up_is_noted_too(connection: Connection, fleet: Fleet) -> None:
    """Somebody may be at it without knowing of the assignment."""
    await mark(connection, 0, -8, -6, 1)
    await mark(connection, 4, -5, 1)
    await mark(connection, 5, -4)
    await assign(connection, (6, 1, -9, -6.5), (7, 1, -5.5, None))
    before = await noted(connection)
    await fleet.assign("D4", "D1", at(-7), None)
    assert await noted(connection) == sorted([*before, (4, -6), (4, -5), (7, -6), (7, -5)])


async def test_a_refused_or_repeated_assignment_notes_nothing(connection: Connection, fleet: Fleet) -> None:
    await fleet.assign("D4", "D1", at(-3), None)
    await roll_up(connection, 4, -3, -2, -1)
    await fleet.assign("D4", "D1", at(-3), None)
    with pytest.raises(Exception, match="overlaps"):
        await fleet.assign("D4", "D2", at(-3), None)
    assert await noted(connection) == []


@pytest.mark.parametrize(
    ("old", "new", "concerned"),
    [
        (None, -3.5, [-4, -3, -2, -1]),  # ended in the past
        (None, 1, []),  # ended in what is not rolled up
        (-2, -4, [-4, -3]),  # ended earlier
        (-4, -2.5, [-4, -3]),  # ended later
        (-2.5, -2.5, []),  # once more
    ],
)
async def test_an_end_is_noted_between_the_old_and_the_new_one(
    connection: Connection, fleet: Fleet, old: float | None, new: float, concerned: list[int]
) -> None:
    assignment = await fleet.assign("D4", "D1", at(-7), None if old is None else at(old))
    await assign(connection, (5, 1, -9, None))
    await roll_up(connection, 4, *range(-9, 0))
    await fleet.end(assignment.assignment_id, at(new))
    assert await noted(connection) == sorted((key, hour) for key in (4, 5) for hour in concerned)


async def test_of_two_ends_at_once_the_second_notes_what_it_does_to_the_first(
    connection: Connection, fleet: Fleet, database: str
) -> None:
    assignment = await fleet.assign("D4", "D1", at(-7), None)
    await roll_up(connection, 4, *range(-9, 0))
    async with connected(database) as first:
        async with first.transaction():
            await first.execute("SELECT FROM devices WHERE device_key = 4 FOR UPDATE")
            await first.execute("UPDATE meter_assignments SET valid_until = %s", (at(-5),))
            second = asyncio.create_task(fleet.end(assignment.assignment_id, at(-3)))
            await until_waiting(connection, second)
        await second
    assert await noted(connection) == [(4, -5), (4, -4)]


@asynccontextmanager
async def assigning(connection: Connection, vehicle: int, meter: int, since: float) -> AsyncIterator[None]:
    """Assign a meter to a vehicle in a transaction that is open meanwhile."""
    async with connection.transaction():
        entered = await staleness.enter(connection)
        await assign(connection, (vehicle, meter, since, None))
        await staleness.note_assignment(connection, vehicle, meter, at(since), None, entered)
        yield


async def test_two_assignments_to_one_meter_at_once_note_each_other(
    connection: Connection, fleet: Fleet, database: str
) -> None:
    await roll_up(connection, 4, -1)
    await roll_up(connection, 5, -1)
    async with connected(database) as first:
        async with assigning(first, 4, 1, -2):
            second = asyncio.create_task(fleet.assign("D5", "D1", at(-2), None))
            await until_waiting(connection, second)
        await second
    assert await noted(connection) == [(4, -1), (4, -1), (5, -1)]


async def test_a_first_reading_notes_those_with_whom_an_assignment_at_the_same_time_brings_it_together(
    connection: Connection, fleet: Fleet, database: str
) -> None:
    await assign(connection, (6, 1, -9, None))
    async with connected(database) as writer:
        async with writer.transaction():
            await append_new(writer, vehicles((4, 0, -2)))
            assigned = asyncio.create_task(fleet.assign("D4", "D1", at(-3), None))
            await until_waiting(connection, assigned)
        await assigned
        assert (6, -2) in await noted(connection)
        async with connected(database) as first:
            async with assigning(first, 5, 1, -3):
                written = asyncio.create_task(append_new(writer, vehicles((5, 0, -1))))
                await until_waiting(connection, written)
            await written
    assert {(5, -1), (6, -1)} <= set(await noted(connection))


HELD = "hashtext('wattstream.history'), (extract(epoch FROM %s::timestamptz) / 3600)::int4"


async def move(connection: Connection, hours: int) -> None:
    """Do what whoever moves the hour does: say so, and note all hours in between as a whole."""
    async with connection.transaction():
        await connection.execute("UPDATE rollup_state SET previous_log_from = log_from, log_from = %s", (at(hours),))
        await mark(connection, 0, *range(hours))


async def test_whoever_moves_the_hour_waits_for_those_who_write_by_the_old_one_and_holds_up_nobody(
    connection: Connection, fleet: Fleet, database: str
) -> None:
    async with connected(database) as old, connected(database) as new, connected(database) as mover:
        async with old.transaction():
            await append_new(old, vehicles((4, 0, 0.5)))
            await move(mover, 2)
            waiting = asyncio.create_task(mover.execute(f"SELECT pg_advisory_xact_lock({HELD})", (LOG_FROM,)))
            await until_waiting(connection, waiting)
            async with asyncio.timeout(20):
                await append_new(new, vehicles((5, 0, 0.5), (5, 0, 1.5), (5, 0, 2.5)))
                await fleet.assign("D5", "D1", at(-9), None)
            await old.execute("INSERT INTO vehicle_readings VALUES (4, null, %s, 50, 1, 20)", (at(1.5),))
            assert not waiting.done()
        await waiting
    found = await noted(connection)
    assert found == sorted([(0, 0), (0, 1), (5, 0), (5, 1), (5, 0), (5, 1)])


@pytest.mark.parametrize("how", ["readings", "assignment"])
async def test_whoever_has_entered_is_waited_for_to_the_end(
    connection: Connection, fleet: Fleet, database: str, how: str
) -> None:
    """Also an assignment: what it does not note it may still change."""
    async with connected(database) as holder, connected(database) as writer:
        async with holder.transaction():
            await holder.execute("LOCK TABLE meter_assignments, vehicle_readings IN EXCLUSIVE MODE")
            change = (
                fleet.assign("D4", "D1", at(1), None)
                if how == "assignment"
                else append_new(writer, vehicles((4, 0, 1)))
            )
            task = asyncio.create_task(change)
            await until_waiting(connection, task)
            waiting = asyncio.create_task(connection.execute(f"SELECT pg_advisory_xact_lock({HELD})", (LOG_FROM,)))
            await until_waiting(holder, task, waiting)
        await asyncio.gather(task, waiting)
    assert await noted(connection) == []


async def test_who_finds_the_hour_moved_while_entering_enters_by_the_new_one(
    connection: Connection, database: str
) -> None:
    async with connected(database) as mover, connected(database) as writer:
        async with mover.transaction():
            await mover.execute(f"SELECT pg_advisory_xact_lock({HELD})", (LOG_FROM,))
            task = asyncio.create_task(append_new(writer, vehicles((4, 0, 0), (4, 0, 1.5), (4, 0, 2))))
            await until_waiting(connection, task)
            await mover.execute("UPDATE rollup_state SET log_from = %s", (at(2),))
        await task
    assert await noted(connection) == [(4, 0), (4, 1)]
