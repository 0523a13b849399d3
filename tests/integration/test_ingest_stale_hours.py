"""Readings of hours that are rolled up are noted with them, device-hour by device-hour, and all others cost nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_service.history import append_any, append_new
from ingest_service.readings import METER, VEHICLE, KeyedRows, Kind
from tests.integration.stale import (
    Connection,
    assign,
    connected,
    make_world,
    meters,
    name_meter,
    noted,
    rows,
    stored,
    until_waiting,
    vehicles,
)

Append = Callable[[Connection, dict[Kind, KeyedRows]], Awaitable[object]]
both_ways = pytest.mark.parametrize("append", [append_new, append_any])
A_MICROSECOND = 1 / 3_600_000_000


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Connection]:
    async with connected(database) as opened:
        await make_world(opened)
        yield opened


@both_ways
async def test_readings_of_hours_that_are_not_rolled_up_note_nothing(connection: Connection, append: Append) -> None:
    await assign(connection, (4, 1, -9, None))
    await append(connection, {METER: rows(METER, (1, 0, 0), (1, 0, 3)), VEHICLE: rows(VEHICLE, (4, 1, 0), (5, 0, 7))})
    assert await stored(connection) == 4
    assert await noted(connection) == []


@both_ways
async def test_of_readings_around_the_last_hour_that_is_rolled_up_only_the_earlier_ones_are_noted(
    connection: Connection, append: Append
) -> None:
    await append(connection, vehicles((4, 0, -A_MICROSECOND), (5, 0, 0), (6, 0, -1), (7, 0, -1 - A_MICROSECOND)))
    assert await noted(connection) == [(4, -1), (6, -1), (7, -2)]


@both_ways
async def test_a_late_reading_of_a_vehicle_concerns_all_that_are_on_its_meters_in_that_hour(
    connection: Connection, append: Append
) -> None:
    await name_meter(connection, (5, 1, -2), (6, 1, -3), (7, 2, -2))  # 5 on the meter that 4 names; 7 on that of 4
    await assign(connection, (4, 2, -9, None), (8, 1, -1.5, None), (9, 1, -5, -2), (6, 1, -1, None))
    await append(connection, vehicles((4, 1, -2), (4, 1, -1.5), (4, 1, -1.1)))
    assert await noted(connection) == [(4, -2), (5, -2), (7, -2), (8, -2)]


@both_ways
async def test_a_late_reading_of_a_meter_concerns_the_meter_and_all_vehicles_on_it(
    connection: Connection, append: Append
) -> None:
    await name_meter(connection, (5, 1, -2), (6, 2, -2))
    await assign(connection, (8, 1, -9, -1.9), (9, 1, -1, None))
    await append(connection, meters((1, -2), (1, -1.5), (3, -4)))
    assert await noted(connection) == [(1, -2), (3, -4), (5, -2), (8, -2)]


async def test_what_is_there_already_is_not_noted_again(connection: Connection) -> None:
    await append_new(connection, vehicles((4, 0, -2.5), (4, 0, -1.5)))
    await connection.execute("DELETE FROM stale_hours")
    await append_any(connection, vehicles((4, 0, -2.5), (4, 0, -1.5)))
    assert await noted(connection) == []
    await append_any(connection, vehicles((4, 0, -2.5), (4, 0, -1.5), (4, 0, -1.4), (5, 0, -2.5)))
    assert await noted(connection) == [(4, -2), (5, -3)]


async def test_an_hour_that_concerns_a_thousand_devices_is_noted_as_a_whole(connection: Connection) -> None:
    await append_new(
        connection, vehicles(*((10 + i, 0, -2) for i in range(1000)), *((10 + i, 0, -3) for i in range(9)))
    )
    assert await noted(connection) == [(0, -2)] + [(10 + i, -3) for i in range(9)]


async def test_so_is_an_hour_in_which_one_reading_concerns_a_thousand(connection: Connection) -> None:
    await name_meter(connection, *((10 + i, 1, -2) for i in range(999)), *((10 + i, 1, -3) for i in range(998)))
    await append_new(connection, meters((1, -2), (1, -3)))
    assert await noted(connection) == [(0, -2), (1, -3)] + [(10 + i, -3) for i in range(998)]


async def test_no_note_without_the_readings(connection: Connection, database: str) -> None:
    await append_new(connection, vehicles((4, 0, 1)))
    with pytest.raises(psycopg.errors.UniqueViolation):
        await append_new(connection, vehicles((4, 0, -2), (4, 0, 1)))
    async with connection.transaction(force_rollback=True):
        await append_any(connection, vehicles((4, 0, -2), (4, 0, 1)))
        assert await noted(connection) == [(4, -2)]
    with pytest.raises(psycopg.OperationalError):
        await append_and_be_killed(connection, database)
    assert (await stored(connection), await noted(connection)) == (1, [])


async def append_and_be_killed(connection: Connection, database: str) -> None:
    async with connected(database) as doomed, doomed.transaction():
        await append_new(doomed, vehicles((4, 0, -2)))
        assert await noted(doomed) == [(4, -2)]
        await connection.execute("SELECT pg_terminate_backend(%s)", (doomed.info.backend_pid,))


@both_ways
async def test_no_readings_without_the_note(connection: Connection, database: str, append: Append) -> None:
    """One that is killed between the readings and the note has stored nothing, and what it does over is noted."""
    async with connected(database) as doomed, connected(database) as holder, holder.transaction():
        await holder.execute("LOCK TABLE stale_hours")
        task = asyncio.create_task(append(doomed, vehicles((4, 0, -2))))
        await until_waiting(connection, task)
        await connection.execute("SELECT pg_terminate_backend(%s)", (doomed.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            await task
    assert (await stored(connection), await noted(connection)) == (0, [])
    await append_any(connection, vehicles((4, 0, -2)))
    assert (await stored(connection), await noted(connection)) == (1, [(4, -2)])


Named = tuple[int, int, int]
Assigned = tuple[int, int, float, float | None]
HALVES = st.integers(-6, 3).map(lambda halves: halves / 2)
METERS, VEHICLES = st.integers(1, 3), st.integers(4, 7)
NAMED = st.sets(st.tuples(VEHICLES, METERS, st.integers(-3, 1)), max_size=5)
ASSIGNED = st.lists(
    st.tuples(VEHICLES, METERS, HALVES, st.none() | st.integers(1, 6).map(lambda halves: halves / 2)).map(
        lambda made: (*made[:3], None if made[3] is None else made[2] + made[3])
    ),
    max_size=4,
)


def expected(
    named: Iterable[Named], assigned: Iterable[Assigned], of_meters: Iterable[tuple], of_vehicles: Iterable[tuple]
) -> list[tuple[int, int]]:
    """Say by hand what the readings put out of date."""

    def pairs(hour: int) -> set[tuple[int, int]]:
        """Return which vehicles are on which meters in an hour."""
        by_assignment = {(v, m) for v, m, a, b in assigned if a < hour + 1 and (b is None or b > hour)}
        return by_assignment | {(v, m) for v, m, h in named if h == hour}

    found = set()
    for device, meter, hours in [*of_vehicles, *((m, m, h) for m, _, h in of_meters)]:
        hour = int(hours // 1)
        assigned_now = {m for v, m, a, b in assigned if v == device and a < hour + 1 and (b is None or b > hour)}
        if hour < 0:
            on = {v for v, m in pairs(hour) if m in {meter} | assigned_now}
            found |= {(device, hour)} | {(v, hour) for v in on}
    return sorted(found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    NAMED,
    ASSIGNED,
    st.sets(st.tuples(METERS, st.just(0), HALVES), max_size=4),
    st.dictionaries(st.tuples(VEHICLES, HALVES), st.integers(0, 3), max_size=4).map(
        lambda table: [(vehicle, meter, hour) for (vehicle, hour), meter in table.items()]
    ),
)
async def test_what_is_noted_is_what_is_touched_no_more_no_less(
    connection: Connection,
    named: set[Named],
    assigned: list[Assigned],
    of_meters: set[tuple[int, int, float]],
    of_vehicles: list[tuple[int, int, float]],
) -> None:
    async with connection.transaction(force_rollback=True):
        await name_meter(connection, *named)
        await assign(connection, *assigned)
        await append_new(connection, {METER: rows(METER, *of_meters), VEHICLE: rows(VEHICLE, *of_vehicles)})
        assert await noted(connection) == expected(named, assigned, of_meters, of_vehicles)
