"""What must be in the database before readings can be stored: their devices, their partitions, the hours they touch.

Each is written in a transaction of its own, ahead of the readings, and is harmless when the readings never come.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import psycopg
from psycopg_pool import PoolTimeout

from ingest_service.grouping import DAY_US, hours_named
from ingest_service.readings import KINDS, METER, VEHICLE, Batch, KeyedRows, Kind
from ingest_service.registry import Registry
from wattstream import logs
from wattstream.postgres import Pool
from wattstream.resources import read

_ENSURE_PARTITIONS = read("ingest_service.sql", "ensure_partitions.sql")
_NOTE_HOURS = read("ingest_service.sql", "note_hours.sql")
_DAYS_AHEAD = 3
_LOOK_AHEAD_EVERY_S = 600.0
_REMEMBERED_HOURS = 1_000_000
_EPOCH = date(1970, 1, 1)

log = logs.get()


class Groundwork:
    """Lays what readings need, and remembers what it has laid."""

    def __init__(self, pool: Pool, registry: Registry, *, registers: bool) -> None:
        self._pool = pool
        self._registry = registry
        self._registers = registers
        self._days: set[int] = set()
        self._hours: set[tuple[int, int, int]] = set()

    async def devices(self, batches: Sequence[Batch]) -> None:
        """Find the devices of the batches, and register those that are new if this service does so."""
        for kind in KINDS:
            ids = {device_id for batch in batches for device_id in batch.of(kind).device_id}
            if kind is METER:
                ids.update(meter_id for batch in batches for meter_id in batch.vehicle.meter_id if meter_id)
            if self._registers:
                await self._registry.register(kind, ids)
            else:
                await self._registry.find(kind, ids)

    async def places(self, rows: Mapping[Kind, KeyedRows]) -> None:
        """Make the partitions that the rows need, and note the hours in which their vehicles name meters."""
        days = {day for found in rows.values() for day in np.unique(found.recorded_at_us // DAY_US).tolist()}
        await self._partitions(days)
        hours = hours_named(rows[VEHICLE]) - self._hours
        if hours:
            meter_keys, hour_numbers, vehicle_keys = zip(*hours, strict=True)
            async with self._pool.connection() as connection:
                await connection.execute(
                    _NOTE_HOURS,
                    {"meter_keys": list(meter_keys), "hours": list(hour_numbers), "vehicle_keys": list(vehicle_keys)},
                )
            if len(self._hours) > _REMEMBERED_HOURS:
                self._hours.clear()
            self._hours |= hours

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
        self._hours.clear()

    async def _partitions(self, days: set[int]) -> None:
        missing = sorted(days - self._days)
        if missing:
            async with self._pool.connection() as connection:
                await connection.execute(
                    _ENSURE_PARTITIONS, {"days": [_EPOCH + timedelta(days=day) for day in missing]}
                )
            self._days.update(missing)
