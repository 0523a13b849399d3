"""Answers that are made of rollups and readings, against the definitions, whatever order things happen in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_service import store
from analytics_service.answers import Answers, open_pool
from analytics_service.performance import Correlation, Performance
from analytics_service.rollups.refresher import Pace, Refresher
from analytics_service.windows import Window
from tests.integration.fleets import METERS, T0, VEHICLES, Fleet, assigned, exclusive, fleets
from wattstream import postgres

# So that a step does little, and the next one goes on.
PACE = Pace(every=timedelta(seconds=1), grace=timedelta(0), settle=timedelta(0), devices=2)
ORACLES = {Correlation.EXCLUSIVE_MINUTES: exclusive, Correlation.ASSIGNED_METER: assigned}
TABLES = ("meter_readings", "vehicle_readings", "meter_vehicle_hours", "meter_assignments", "stale_hours") + (
    "vehicle_rollups",
    "meter_rollups",
    "efficiency_due",
)
HOURS = [T0.replace(minute=0) + timedelta(hours=n) for n in range(4)]


class World:
    """A database that is written as ingest does, refreshed, and asked."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], keys: dict[str, int], pool: Any, asked: Any) -> None:
        self.connection, self.keys = connection, keys
        self.refresher = Refresher(pool, PACE)
        self.asked = asked

    async def empty(self) -> None:
        self.answers = Answers(self.asked, 2)
        async with self.connection.transaction():
            for table in TABLES:
                await self.connection.execute(f"DELETE FROM {table}")
            await self.connection.execute(
                "UPDATE rollup_state SET log_from = '1970-01-01', previous_log_from = '1970-01-01'"
            )

    async def write(self, fleet: Fleet) -> None:
        """Store readings and note what they make out of date, in one transaction."""
        key = self.keys
        for r in fleet.readings:
            if r.meter:
                await self.connection.execute(
                    "INSERT INTO meter_vehicle_hours VALUES (%s, date_trunc('hour', %s::timestamptz), %s)"
                    " ON CONFLICT DO NOTHING",
                    (key[r.meter], r.at, key[r.vehicle]),
                )
        async with self.connection.transaction():
            cursor = await self.connection.execute("SELECT enter_history()")
            (entered,) = await cursor.fetchone() or (None,)
            touched = set()
            for r in fleet.readings:
                await self.connection.execute(
                    "INSERT INTO vehicle_readings VALUES (%s, %s, %s, %s, %s, %s)",
                    (key[r.vehicle], r.meter and key[r.meter], r.at, r.soc, r.dc, r.temp),
                )
                touched.add((key[r.vehicle], key[r.meter] if r.meter else 0, r.at))
            for m in fleet.meter_readings:
                await self.connection.execute(
                    "INSERT INTO meter_readings VALUES (%s, %s, %s, 230)", (key[m.meter], m.at, m.ac)
                )
                touched.add((0, key[m.meter], m.at))
            hours = {(v, m, at.replace(minute=0, second=0, microsecond=0)) for v, m, at in touched}
            late = [one for one in hours if one[2] < entered]
            if late:
                await self.connection.execute(
                    "SELECT mark_stale(%s::int4[], %s::int4[], %s::timestamptz[])",
                    tuple(list(column) for column in zip(*late, strict=True)),
                )

    async def assign(self, fleet: Fleet) -> None:
        for a in fleet.assignments:
            async with self.connection.transaction():
                cursor = await self.connection.execute("SELECT enter_history()")
                (entered,) = await cursor.fetchone() or (None,)
                pair = (self.keys[a.vehicle], self.keys[a.meter])
                await self.connection.execute(
                    "INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)"
                    " VALUES (%s, %s, %s, %s)",
                    (*pair, a.since, a.until),
                )
                await self.connection.execute(
                    "SELECT mark_stale_assignment(%s, %s, %s, %s, %s)", (*pair, a.since, a.until, entered)
                )


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True, options="-c timezone=UTC") as connection,
        postgres.open_pool(database, name="test", size=2, statement_timeout_s=30, autocommit=True) as pool,
        open_pool(database, 2, 30) as asked,
    ):
        days = [T0.date() + timedelta(days=n) for n in range(2)]
        await connection.execute("SELECT ensure_partitions(%s::date[])", (days,))
        keys = {}
        for kind, ids in ((1, METERS), (2, VEHICLES)):
            for id_ in ids:
                cursor = await connection.execute(
                    "INSERT INTO devices (kind, device_id) VALUES (%s, %s) RETURNING device_key", (kind, id_)
                )
                (keys[id_],) = await cursor.fetchone() or (0,)
        yield World(connection, keys, pool, asked)


def parts_of(fleet: Fleet, shares: list[int], count: int) -> list[Fleet]:
    """Deal the readings of a fleet out, by number."""
    dealt = [Fleet([], [], [], fleet.start, fleet.end) for _ in range(count)]
    for number, reading in enumerate([*fleet.readings, *fleet.meter_readings]):
        part = dealt[shares[number % len(shares)] % count]
        (part.readings if reading in fleet.readings else part.meter_readings).append(reading)  # type: ignore[arg-type]
    return dealt


async def check(world: World, stored: Fleet, window: Window) -> None:
    for correlation, oracle in ORACLES.items():
        found = await store.performances(world.answers, VEHICLES, window, correlation)
        asked = Fleet(stored.readings, stored.meter_readings, stored.assignments, window.start, window.end)
        for vehicle in VEHICLES:
            same(found.get(vehicle), oracle(asked, vehicle))


def same(answer: Performance | None, expected: dict[str, Any] | None) -> None:
    assert (answer is None) == (expected is None)
    for name, value in (expected or {}).items():
        found = getattr(answer, name)
        if name == "meter_ids" or value is None:
            assert (list(found) if name == "meter_ids" else found) == value, name
        else:
            assert found == pytest.approx(value, rel=1e-9, abs=1e-9), name


windows = st.builds(
    lambda start, length: Window(T0 + timedelta(minutes=start), T0 + timedelta(minutes=start + length)),
    st.sampled_from([-1500, -59, 0, 1, 30, 61]),
    st.sampled_from([1, 60, 61, 120, 1440, 5000]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("refresh"), st.sampled_from([HOURS[0], HOURS[1], HOURS[2], HOURS[3] + timedelta(days=2)])),
        st.tuples(st.just("write"), st.none()),
        st.tuples(st.just("assign"), st.none()),
        st.tuples(st.just("ask"), windows),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(fleet=fleets(), shares=st.lists(st.integers(0, 5), min_size=1, max_size=12), steps=steps, window=windows)
async def test_answers_are_those_of_the_readings_stored_so_far(world: World, fleet, shares, steps, window):
    await world.empty()
    waiting = parts_of(fleet, shares, 1 + sum(kind == "write" for kind, _ in steps))
    stored = Fleet([], [], [], fleet.start, fleet.end)
    for kind, value in [*steps, ("write", None), ("ask", window)]:
        if kind == "refresh":
            await world.refresher.step(value)
        elif kind == "assign" and not stored.assignments:
            stored.assignments.extend(fleet.assignments)
            await world.assign(fleet)
        elif kind == "write" and waiting:
            part = waiting.pop()
            stored.readings.extend(part.readings)
            stored.meter_readings.extend(part.meter_readings)
            await world.write(part)
        elif kind == "ask":
            await check(world, stored, value)
    while await world.refresher.step(T0 + timedelta(days=3)):
        pass
    await check(world, stored, window)
    await check(world, stored, Window(T0 - timedelta(days=1), T0 + timedelta(days=2)))
    cursor = await world.connection.execute("SELECT count(*) FROM stale_hours")
    assert await cursor.fetchone() == (0,)


async def test_history_that_is_gone_leaves_its_rollups(world: World):
    await world.empty()
    readings = [(vehicle, T0 + timedelta(minutes=n), "M1") for n, vehicle in enumerate(VEHICLES)]
    fleet = fleet_of(readings)
    await world.write(fleet)
    await refresh(world)
    before = await asked_for_days(world)
    await world.connection.execute(f"DROP TABLE vehicle_readings_{T0:%Y%m%d}, meter_readings_{T0:%Y%m%d}")

    assert await asked_for_days(world) == before
    await world.connection.execute("SELECT ensure_partitions(%s::date[])", ([T0.date()],))
    await world.write(fleet_of([("V1", T0 + timedelta(seconds=30), "M1")]))
    await refresh(world)
    assert await asked_for_days(world) == before


async def refresh(world: World) -> None:
    while await world.refresher.step(T0 + timedelta(days=3)):
        pass


async def asked_for_days(world: World) -> dict[str, Performance]:
    window = Window(datetime(T0.year, T0.month, T0.day, tzinfo=UTC), T0 + timedelta(days=2))
    return await store.performances(world.answers, VEHICLES, window, Correlation.EXCLUSIVE_MINUTES)


def fleet_of(readings: list[tuple[str, datetime, str]]) -> Fleet:
    from tests.integration.fleets import MeterReading, VehicleReading

    return Fleet(
        [VehicleReading(vehicle, at, meter, 0.4, 50, 30) for vehicle, at, meter in readings],
        [MeterReading(meter, at, 0.5) for _, at, meter in readings],
        [],
        T0,
        T0 + timedelta(hours=1),
    )
