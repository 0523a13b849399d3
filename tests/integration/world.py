"""A database that is written as ingest does, refreshed, and asked: answers are held against the definitions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from analytics_service import store
from analytics_service.answers import Answers, open_pool
from analytics_service.performance import Correlation, Performance
from analytics_service.rollups.refresher import Pace, Refresher
from analytics_service.windows import Window
from tests.integration.fleets import METERS, T0, VEHICLES, Fleet, MeterReading, VehicleReading, assigned, exclusive
from wattstream import postgres
from wattstream.postgres import Pool

# So that a step does little, and the next one goes on.
PACE = Pace(every=timedelta(seconds=1), grace=timedelta(0), settle=timedelta(0), devices=2)
SINCE = T0.replace(minute=0) - timedelta(hours=2)
ORACLES = {Correlation.EXCLUSIVE_MINUTES: exclusive, Correlation.ASSIGNED_METER: assigned}
HISTORY = ("meter_readings", "vehicle_readings", "meter_vehicle_hours", "meter_assignments")
TABLES = (*HISTORY, "stale_hours", "vehicle_rollups", "meter_rollups", "efficiency_due")
Connection = psycopg.AsyncConnection[Any]


class World:
    """Devices of a fleet in a database, its refresher, and who asks."""

    def __init__(self, dsn: str, connection: Connection, pool: Pool, asked: Pool) -> None:
        self.dsn, self.connection, self.pool = dsn, connection, pool
        self.keys: dict[str, int] = {}
        self.refresher = Refresher(pool, PACE)
        self.answers = Answers(asked, 2)
        self.stored = Fleet([], [], [], T0, T0)
        self._asked = asked

    async def register(self, kind: int, ids: Sequence[str]) -> None:
        for id_ in ids:
            [(self.keys[id_],)] = await self.rows(
                "INSERT INTO devices (kind, device_id) VALUES (%s, %s) RETURNING device_key", kind, id_
            )

    async def rows(self, query: str, *parameters: Any) -> list[Any]:
        cursor = await self.connection.execute(query.encode(), parameters)
        return await cursor.fetchall()

    async def empty(self, since: datetime = SINCE) -> None:
        """Have no readings, and nothing rolled up but the hours before `since`."""
        self.answers = Answers(self._asked, 2)
        self.stored = Fleet([], [], [], T0, T0)
        async with self.connection.transaction():
            for table in TABLES:
                await self.connection.execute(f"DELETE FROM {table}")
            await self.connection.execute(
                "UPDATE rollup_state SET log_from = %s, previous_log_from = log_from", (since,)
            )

    async def write(self, fleet: Fleet) -> None:
        """Store readings and note what they make out of date, in one transaction."""
        await self.announce(fleet)
        async with self.connection.transaction():
            await self.append(self.connection, fleet)
        self.keep(fleet)

    @asynccontextmanager
    async def writing(self, fleet: Fleet) -> AsyncIterator[None]:
        """Do the same on a connection of its own, and commit in the end."""
        await self.announce(fleet)
        async with await psycopg.AsyncConnection.connect(self.dsn, options="-c timezone=UTC") as writer:
            await self.append(writer, fleet)
            yield
        self.keep(fleet)

    def keep(self, fleet: Fleet) -> None:
        self.stored.readings.extend(fleet.readings)
        self.stored.meter_readings.extend(fleet.meter_readings)

    async def announce(self, fleet: Fleet) -> None:
        """Note ahead in which hours vehicles name meters."""
        await self.connection.cursor().executemany(
            "INSERT INTO meter_vehicle_hours VALUES (%s, date_trunc('hour', %s::timestamptz), %s)"
            " ON CONFLICT DO NOTHING",
            [(self.keys[r.meter], r.at, self.keys[r.vehicle]) for r in fleet.readings if r.meter],
        )

    async def append(self, connection: Connection, fleet: Fleet) -> None:
        key = self.keys
        cursor = await connection.execute("SELECT enter_history()")
        (entered,) = await cursor.fetchone() or (None,)
        await connection.cursor().executemany(
            "INSERT INTO vehicle_readings VALUES (%s, %s, %s, %s, %s, %s)",
            [(key[r.vehicle], r.meter and key[r.meter], r.at, r.soc, r.dc, r.temp) for r in fleet.readings],
        )
        await connection.cursor().executemany(
            "INSERT INTO meter_readings VALUES (%s, %s, %s, 230)",
            [(key[m.meter], m.at, m.ac) for m in fleet.meter_readings],
        )
        touched = {(key[r.vehicle], key[r.meter] if r.meter else 0, hour(r.at)) for r in fleet.readings}
        touched |= {(0, key[m.meter], hour(m.at)) for m in fleet.meter_readings}
        if late := [one for one in touched if one[2] < entered]:
            await connection.execute(
                "SELECT mark_stale(%s::int4[], %s::int4[], %s::timestamptz[])",
                tuple(list(column) for column in zip(*late, strict=True)),
            )

    async def assign(self, fleet: Fleet) -> None:
        for a in fleet.assignments:
            async with self.connection.transaction():
                [(entered,)] = await self.rows("SELECT enter_history()")
                pair = (self.keys[a.vehicle], self.keys[a.meter])
                await self.connection.execute(
                    "INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)"
                    " VALUES (%s, %s, %s, %s)",
                    (*pair, a.since, a.until),
                )
                await self.connection.execute(
                    "SELECT mark_stale_assignment(%s, %s, %s, %s, %s)", (*pair, a.since, a.until, entered)
                )
        self.stored.assignments.extend(fleet.assignments)

    async def refresh(self, now: datetime = T0 + timedelta(days=3)) -> None:
        """Refresh, in larger steps, until nothing is left."""
        refresher = Refresher(self.pool, replace(PACE, devices=100))
        while await refresher.step(now):
            pass


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[World]:
    """Yield a world that has its devices and partitions of two days, and no readings."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True, options="-c timezone=UTC") as connection,
        postgres.open_pool(dsn, name="test", size=2, statement_timeout_s=30, autocommit=True) as pool,
        open_pool(dsn, 2, 30) as asked,
    ):
        world = World(dsn, connection, pool, asked)
        days = [T0.date() + timedelta(days=n) for n in range(2)]
        await connection.execute("SELECT ensure_partitions(%s::date[])", (days,))
        await world.register(1, METERS)
        await world.register(2, VEHICLES)
        await world.empty()
        yield world


def fleet_of(readings: Sequence[tuple[str, datetime, str | None]], metered: bool = True) -> Fleet:
    """Return readings of vehicles, each with one of the meter that it names."""
    return Fleet(
        [VehicleReading(vehicle, at, meter, 0.4, 50, 30) for vehicle, at, meter in readings],
        sorted({MeterReading(meter, at, 0.5) for _, at, meter in readings if meter and metered}),
        [],
        T0,
        T0 + timedelta(hours=1),
    )


def hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


async def check(world: World, window: Window) -> None:
    """Hold the answers about all vehicles against the definitions."""
    fleet = Fleet(
        world.stored.readings, world.stored.meter_readings, world.stored.assignments, window.start, window.end
    )
    vehicles = sorted({*VEHICLES, *(reading.vehicle for reading in fleet.readings)})
    for correlation, oracle in ORACLES.items():
        found = await store.performances(world.answers, vehicles, window, correlation)
        for vehicle in vehicles:
            same(found.get(vehicle), oracle(fleet, vehicle))


def same(answer: Performance | None, expected: dict[str, Any] | None) -> None:
    assert (answer is None) == (expected is None)
    for name, value in (expected or {}).items():
        found = getattr(answer, name)
        if name == "meter_ids" or value is None:
            assert (list(found) if name == "meter_ids" else found) == value, name
        else:
            assert found == pytest.approx(value, rel=1e-9, abs=1e-9), name
