"""What must be in the database before readings can be stored: their devices, their partitions, the hours they touch.

Each is written in a transaction of its own, ahead of the readings, and is harmless when the readings never come.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import psycopg
from psycopg_pool import PoolTimeout

from ingest_service.batches import Batch
from ingest_service.grouping import DAY_US, hours_named
from ingest_service.readings import KINDS, VEHICLE, Bools, Ints, KeyedRows, Kind
from ingest_service.registry import Registry
from wattstream import logs
from wattstream.postgres import Pool
from wattstream.resources import read

_ENSURE_PARTITIONS = read("ingest_service.sql", "ensure_partitions.sql")
_NOTE_HOURS = read("ingest_service.sql", "note_hours.sql")
_DAYS_AHEAD = 3
_LOOK_AHEAD_EVERY_S = 600.0
_EPOCH = date(1970, 1, 1)

log = logs.get()


class NotedHours:
    """Which hours have been noted: of each vehicle the last, which is the one that its next reading most likely needs.

    Noting an hour again is harmless, so to know one a vehicle is enough, however much history is read in.
    """

    def __init__(self) -> None:
        self._last = np.zeros(0, np.int64)  # by vehicle key: meter key and hour

    def missing(self, hours: Ints) -> Ints:
        """Return those of `hours`, given as by `hours_named`, that are not known to have been noted."""
        self._make_room(hours)
        is_new: Bools = self._last[hours[:, 2]] != _packed(hours)
        return hours[is_new]

    def remember(self, hours: Ints) -> None:
        """Remember hours that have been noted; of those of one vehicle the last one given."""
        self._make_room(hours)
        self._last[hours[:, 2]] = _packed(hours)

    def _make_room(self, hours: Ints) -> None:
        most = int(hours[:, 2].max(initial=0))
        if most >= len(self._last):
            self._last = np.pad(self._last, (0, 2 * most + 1 - len(self._last)))


def _packed(hours: Ints) -> Ints:
    return (hours[:, 0] << 32) + hours[:, 1]


class Groundwork:
    """Lays what readings need, and remembers what it has laid."""

    def __init__(self, pool: Pool, registry: Registry, *, registers: bool) -> None:
        self._pool = pool
        self._registry = registry
        self._registers = registers
        self._days: set[int] = set()
        self._noted = NotedHours()

    async def devices(self, batches: Sequence[Batch]) -> None:
        """Find the devices of the batches, and register those that are new if this service does so."""
        for kind in KINDS:
            ids = {device_id for batch in batches for device_id in batch.new_ids()[kind]}
            if self._registers:
                await self._registry.register(self._pool, kind, ids)
            else:
                await self._registry.find(self._pool, kind, ids)

    async def places(self, rows: Mapping[Kind, KeyedRows]) -> None:
        """Make the partitions that the rows need, and note the hours in which their vehicles name meters."""
        days = {day for found in rows.values() for day in np.unique(found.recorded_at_us // DAY_US).tolist()}
        await self._partitions(days)
        hours = self._noted.missing(hours_named(rows[VEHICLE]))
        if len(hours):
            meter_keys, hour_numbers, vehicle_keys = hours.T.tolist()
            async with self._pool.connection() as connection:
                await connection.execute(
                    _NOTE_HOURS, {"meter_keys": meter_keys, "hours": hour_numbers, "vehicle_keys": vehicle_keys}
                )
            self._noted.remember(hours)

    async def run(self) -> None:
        """Make the partitions of today and the days that follow, again and again, until cancelled."""
        while True:
            today = (datetime.now(UTC).date() - _EPOCH).days
            try:
                await self._partitions({today + ahead for ahead in range(_DAYS_AHEAD)})
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("partitions cannot be made ahead; trying again", error=type(error).__name__)
            await asyncio.sleep(_LOOK_AHEAD_EVERY_S)

    def forget(self) -> None:
        """Forget which partitions and hours are there: somebody may have removed them."""
        self._days.clear()
        self._noted = NotedHours()

    async def _partitions(self, days: set[int]) -> None:
        missing = sorted(days - self._days)
        if missing:
            async with self._pool.connection() as connection:
                await connection.execute(
                    _ENSURE_PARTITIONS, {"days": [_EPOCH + timedelta(days=day) for day in missing]}
                )
            self._days.update(missing)
