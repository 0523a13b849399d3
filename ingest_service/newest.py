"""Every device's newest reading, read back from history: what a state store that came back empty is filled with."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ingest_service.readings import KINDS, KeyedRows, Kind
from ingest_service.registry import Registry
from wattstream.postgres import Pool
from wattstream.resources import read

_DEVICES_A_SLICE = 1000
# As many partitions as one statement looks at: it locks each, and the database's table of locks is bounded.
_DAYS_A_STATEMENT = 31
_NEWEST = {kind: read("ingest_service.sql", f"newest_{kind.name}.sql") for kind in KINDS}
_DEVICE_KEYS = read("ingest_service.sql", "device_keys.sql")
_PARTITION_DAYS = read("ingest_service.sql", "partition_days.sql")


async def newest_readings(pool: Pool, registry: Registry) -> AsyncIterator[KeyedRows]:
    """Yield the newest reading of each device that has any, some devices at a time.

    The time of receipt is not kept in history; recorded_at stands in for it, or now where that is earlier.
    """
    stretches = await _stretches(pool)
    for kind in KINDS:
        after = 0
        while keys := await _slice(pool, registry, kind, after):
            after = keys[-1]
            for start, end in stretches:
                if not keys:
                    break
                rows = await _newest(pool, kind, keys, start, end)
                if rows:
                    found = _rows(kind, rows)
                    yield found
                    keys = sorted(set(keys) - set(found.key.tolist()))


async def _stretches(pool: Pool) -> list[tuple[datetime, datetime]]:
    """Return stretches of days, newest first, that together hold all of history."""
    async with pool.connection() as connection:
        days = [row[0] for row in await (await connection.execute(_PARTITION_DAYS)).fetchall()]
    runs = (days[i : i + _DAYS_A_STATEMENT] for i in range(0, len(days), _DAYS_A_STATEMENT))
    return [(_midnight(run[-1]), _midnight(run[0] + timedelta(days=1))) for run in runs]


def _midnight(day: Any) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def _slice(pool: Pool, registry: Registry, kind: Kind, after: int) -> list[int]:
    async with pool.connection() as connection:
        cursor = await connection.execute(_DEVICE_KEYS, {"kind": kind.number, "after": after, "most": _DEVICES_A_SLICE})
        found = await cursor.fetchall()
    for key, device_id in found:
        registry.remember(kind, device_id, key)
    return [key for key, _ in found]


async def _newest(pool: Pool, kind: Kind, keys: Sequence[int], start: datetime, end: datetime) -> list[Any]:
    async with pool.connection() as connection:
        cursor = await connection.execute(_NEWEST[kind], {"keys": list(keys), "start": start, "end": end})
        return await cursor.fetchall()


def _rows(kind: Kind, found: list[Any]) -> KeyedRows:
    recorded_at_us = np.array([row[1] for row in found], np.int64)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    return KeyedRows(
        kind,
        np.array([row[0] for row in found], np.int64),
        np.array([row[2] for row in found], np.int64),
        recorded_at_us,
        np.array([row[3:] for row in found], np.float64),
        np.minimum(recorded_at_us, now_us),
    )
