"""Refreshes rollups, in steps of one transaction each.

Any number of processes may do so at once: whoever has the lock does the step. A step that is cut off leaves no trace,
and is done again. What is stale is only ever taken out of the log by the transaction that stores what takes its place.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg_pool import PoolTimeout

from analytics_service.answers import Connection, execute
from analytics_service.statements import array
from wattstream import logs
from wattstream.postgres import Pool

# Longer than ingest lets a transaction take.
_WRITERS_WITHIN_S = 150.0
_LOOK_EVERY_S = 0.02
# A statement ends by itself long before; a database that is frozen does not.
_STEP_WITHIN_S = 600.0

log = logs.get()


@dataclass(frozen=True)
class Pace:
    """How rollups are refreshed.

    Attributes:
        every: how long to rest when nothing is left to do.
        grace: how long after its end an hour is rolled up; readings that come later are late.
        settle: how long what is stale is left alone, as more of its kind is likely to come.
        devices: how many devices, or device-hours, a step refreshes at the most.
    """

    every: timedelta
    grace: timedelta
    settle: timedelta
    devices: int


class Refresher:
    """Keeps the rollups of the database behind `pool`, whose connections must be in autocommit mode."""

    def __init__(self, pool: Pool, pace: Pace) -> None:
        self._pool = pool
        self._pace = pace

    async def run(self) -> None:
        """Refresh for ever, until cancelled; a database that is away is waited for."""
        is_well = True
        while True:
            try:
                while await self._step_in_time():
                    pass
                is_well = True
            except (psycopg.Error, PoolTimeout, TimeoutError) as error:
                if is_well:
                    log.warning("rollups cannot be refreshed; trying again and again", error=type(error).__name__)
                is_well = False
            await asyncio.sleep(self._pace.every.total_seconds())

    async def _step_in_time(self) -> bool:
        async with asyncio.timeout(_STEP_WITHIN_S):
            return await self.step(datetime.now(UTC))

    async def step(self, now: datetime) -> bool:
        """Do a bounded amount of what is to be done at `now`; return whether there may be more to do."""
        await self._advance(now)
        newest_id = await self._newest_note()
        done = [await self._refresh_hour(newest_id), await self._refresh_devices(newest_id)]
        return any(done)

    async def _advance(self, now: datetime) -> None:
        """Let rollups reach up to the newest hour that is over, and note the hours up to there as stale."""
        until = now - self._pace.grace
        target = until.replace(minute=0, second=0, microsecond=0)
        async with self._pool.connection() as connection, connection.transaction():
            if not await _is_ours(connection):
                return
            [state] = await execute(connection, "partition_days", {})
            if state["log_from"] < target:
                await execute(connection, "lock_epoch", {})
                await execute(connection, "lock_state", {})
                [state] = await execute(connection, "partition_days", {})
                await execute(connection, "advance", {"target": target, "days": state["days"]})

    async def _newest_note(self) -> int:
        """Return up to which note the log may be taken, once all who noted readings before it have committed them.

        A writer notes whoever is on a meter as far as it sees. One who comes to the meter at the same time notes both,
        and may commit first: were that taken right away, who has come would be refreshed without the other's readings.
        """
        async with self._pool.connection() as connection, asyncio.timeout(_WRITERS_WITHIN_S):
            [noted] = await execute(connection, "late_writers", {})
            left = len(noted["writers"])
            while left:
                await asyncio.sleep(_LOOK_EVERY_S)
                [row] = await execute(connection, "transactions_left", {"writers": noted["writers"]})
                left = row["count"]
            return int(noted["newest_id"])

    async def _refresh_hour(self, newest_id: int) -> bool:
        """Refresh the next devices of an hour that is stale for everybody."""
        async with self._pool.connection() as connection, connection.transaction():
            if not await _is_ours(connection):
                return False
            await execute(connection, "lock_epoch", {})
            hours = await execute(connection, "stale_hour", {"settle": self._pace.settle, "newest_id": newest_id})
            if not hours:
                return False
            [note] = hours
            if not note["after_key"]:
                await execute(connection, "stale_hour_begun", {**note, "newest_id": newest_id})
            most = {"after_key": note["after_key"], "most": self._pace.devices}
            keys = [row["device_key"] for row in await execute(connection, "next_devices", most)]
            await _refresh(connection, keys, [note["hour"]] * len(keys))
            last = keys[-1] if len(keys) == self._pace.devices else None
            await execute(connection, "stale_hour_done", {"stale_id": note["stale_id"], "after_key": last})
            return True

    async def _refresh_devices(self, newest_id: int) -> bool:
        """Refresh some device-hours that are stale."""
        async with self._pool.connection() as connection, connection.transaction():
            if not await _is_ours(connection):
                return False
            most = {"settle": self._pace.settle, "newest_id": newest_id, "most": self._pace.devices}
            taken = await execute(connection, "take_stale", most)
            await _refresh(connection, [row["device_key"] for row in taken], [row["hour"] for row in taken])
            return bool(taken)


async def _is_ours(connection: Connection) -> bool:
    [row] = await execute(connection, "lock_refresh", {})
    return bool(row["is_ours"])


async def _refresh(connection: Connection, device_keys: Sequence[int], hours: Sequence[datetime]) -> None:
    """Compute the rollups of device-hours anew; those whose history is gone keep the rollups that they have."""
    if not device_keys:
        return
    [state] = await execute(connection, "partition_days", {})
    days: set[date] = {hour.date() for hour in hours} & set(state["days"])
    parameters = {"device_keys": array(device_keys), "hours": array(hours), "log_from": state["log_from"]}
    if days:
        for statement in ("refresh_meters", "refresh_vehicles"):
            await execute(connection, statement, parameters, days)
    for statement in ("refresh_meter_days", "refresh_vehicle_days"):
        await execute(connection, statement, parameters)
