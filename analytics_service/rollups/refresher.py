"""Refreshes rollups, in steps of one transaction each.

Any number of processes may do so at once: whoever has the lock does the step. A step that is cut off leaves no trace,
and is done again. What is stale is only ever taken out of the log by the transaction that stores what takes its place.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout

from analytics_service.answers import Connection, execute
from wattstream import logs
from wattstream.postgres import Pool

_HOUR = timedelta(hours=1)

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
                while await self.step(datetime.now(UTC)):
                    pass
                is_well = True
            except (psycopg.Error, PoolTimeout, TimeoutError) as error:
                if is_well:
                    log.warning("rollups cannot be refreshed; trying again and again", error=type(error).__name__)
                is_well = False
            await asyncio.sleep(self._pace.every.total_seconds())

    async def step(self, now: datetime) -> bool:
        """Do a bounded amount of what is to be done at `now`; return whether there may be more to do."""
        await self._advance(now)
        done = [await self._refresh_hour(), await self._refresh_devices()]
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

    async def _refresh_hour(self) -> bool:
        """Refresh the next devices of an hour that is stale for everybody."""
        async with self._pool.connection() as connection, connection.transaction():
            if not await _is_ours(connection):
                return False
            await execute(connection, "lock_epoch", {})
            hours = await execute(connection, "stale_hour", {"settle": self._pace.settle})
            if not hours:
                return False
            [note] = hours
            if not note["after_key"]:
                await execute(connection, "stale_hour_begun", note)
            most = {"after_key": note["after_key"], "most": self._pace.devices}
            keys = [row["device_key"] for row in await execute(connection, "next_devices", most)]
            await _refresh(connection, keys, [note["hour"]] * len(keys))
            last = keys[-1] if len(keys) == self._pace.devices else None
            await execute(connection, "stale_hour_done", {"stale_id": note["stale_id"], "after_key": last})
            return True

    async def _refresh_devices(self) -> bool:
        """Refresh some device-hours that are stale."""
        async with self._pool.connection() as connection, connection.transaction():
            if not await _is_ours(connection):
                return False
            taken = await execute(connection, "take_stale", {"settle": self._pace.settle, "most": self._pace.devices})
            await _refresh(connection, [row["device_key"] for row in taken], [row["hour"] for row in taken])
            return bool(taken)


async def _is_ours(connection: Connection) -> bool:
    [row] = await execute(connection, "lock_refresh", {})
    return bool(row["is_ours"])


async def _refresh(connection: Connection, device_keys: Sequence[int], hours: Sequence[datetime]) -> None:
    """Compute the rollups of device-hours anew; those whose history is gone keep the rollups that they have."""
    [state] = await execute(connection, "partition_days", {})
    days: set[date] = {hour.date() for hour in hours} & set(state["days"])
    wanted = [(key, hour) for key, hour in zip(device_keys, hours, strict=True) if hour.date() in days]
    if not wanted:
        return
    parameters: dict[str, Any] = {
        "device_keys": [key for key, _ in wanted],
        "hours": [hour for _, hour in wanted],
        "log_from": state["log_from"],
    }
    for statement in ("refresh_meters", "refresh_vehicles"):
        await execute(connection, statement, parameters, days)
    for statement in ("refresh_meter_days", "refresh_vehicle_days"):
        await execute(connection, statement, parameters)
