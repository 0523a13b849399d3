"""A small world for tests of what ingest notes as out of date: times are hours around the one that is rolled up last.

Hours below 0 are rolled up; devices 1 to 3 are meters, those from 4 on vehicles.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from ingest_service.readings import METER, VEHICLE, KeyedRows, Kind

LOG_FROM = datetime(2026, 2, 10, 12, tzinfo=UTC)
HOUR_US = 3_600_000_000
Connection = psycopg.AsyncConnection[tuple[Any, ...]]
_LOG_FROM_US = int(LOG_FROM.timestamp()) * 1_000_000
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"


def at(hours: float) -> datetime:
    return LOG_FROM + timedelta(hours=hours)


def rows(kind: Kind, *entries: tuple[int, int, float]) -> KeyedRows:
    """Return rows: key, key of the meter named or 0, hour."""
    table = sorted((key, meter, _LOG_FROM_US + round(hour * HOUR_US)) for key, meter, hour in entries)
    table.sort(key=lambda row: (row[0], row[2]))
    keys, meters, times = np.array(table, np.int64).reshape(-1, 3).T
    count = len(table)
    return KeyedRows(kind, keys, meters, times, np.ones((count, len(kind.values))), np.zeros(count, np.int64))


def vehicles(*entries: tuple[int, int, float]) -> dict[Kind, KeyedRows]:
    return {METER: rows(METER), VEHICLE: rows(VEHICLE, *entries)}


def meters(*entries: tuple[int, float]) -> dict[Kind, KeyedRows]:
    return {METER: rows(METER, *((key, 0, hour) for key, hour in entries)), VEHICLE: rows(VEHICLE)}


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Connection]:
    async with await psycopg.AsyncConnection.connect(dsn, options="-c timezone=UTC", autocommit=True) as opened:
        yield opened


async def make_world(connection: Connection) -> None:
    """Register meters 1 to 3 and vehicles 4 to 9, make partitions, and have hours below 0 rolled up."""
    await connection.execute(
        "INSERT INTO devices (kind, device_id) SELECT CASE WHEN i <= 3 THEN 1 ELSE 2 END, 'D' || i"
        " FROM generate_series(1, 9) AS i ORDER BY i"
    )
    await connection.execute("SELECT ensure_partitions('{2026-02-09, 2026-02-10, 2026-02-11}')")
    await connection.execute("UPDATE rollup_state SET log_from = %s", (LOG_FROM,))


async def name_meter(connection: Connection, *named: tuple[int, int, int]) -> None:
    """Have it noted that vehicles name meters: vehicle, meter, hour."""
    await connection.cursor().executemany(
        "INSERT INTO meter_vehicle_hours (vehicle_key, meter_key, hour) VALUES (%s, %s, %s)",
        [(vehicle, meter, at(hour)) for vehicle, meter, hour in named],
    )


async def assign(connection: Connection, *assigned: tuple[int, int, float, float | None]) -> None:
    """Assign meters to vehicles without a note: vehicle, meter, from, until."""
    await connection.cursor().executemany(
        "INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until) VALUES (%s, %s, %s, %s)",
        [
            (vehicle, meter, at(since), None if until is None else at(until))
            for vehicle, meter, since, until in assigned
        ],
    )


async def noted(connection: Connection) -> list[tuple[int, int]]:
    """Return what is noted as out of date: device and hour, in order, as often as it is noted."""
    cursor = await connection.execute(
        "SELECT device_key, (extract(epoch FROM hour - %s) / 3600)::int4 FROM stale_hours ORDER BY 1, 2", (LOG_FROM,)
    )
    return await cursor.fetchall()  # type: ignore[return-value]


async def stored(connection: Connection) -> int:
    """Return how many readings there are."""
    cursor = await connection.execute(
        "SELECT (SELECT count(*) FROM vehicle_readings) + (SELECT count(*) FROM meter_readings)"
    )
    [[count]] = await cursor.fetchall()
    return int(count)


async def until_waiting(connection: Connection, *tasks: "asyncio.Task[Any]") -> None:
    """Return when as many transactions as there are tasks wait for a lock; none of the tasks may end meanwhile."""
    while True:
        cursor = await connection.execute(_WAITING, (connection.info.dbname,))
        [[waiting]] = await cursor.fetchall()
        for task in tasks:
            assert not task.done(), "it should have waited"
        if waiting == len(tasks):
            return
        await asyncio.sleep(0.005)
