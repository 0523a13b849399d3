"""Looks for drops in what has changed of the rollups, in steps of one transaction each.

Devices are taken out of efficiency_due by the transaction that stores what has become of their alerts; one that is cut
off leaves no trace, and its devices are taken again. Most devices are healthy: three statements find so for all devices
of a step together. Only subjects that have been low in a sliding window, or have an alert, are looked at hour by hour.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import psycopg
from psycopg_pool import PoolTimeout

from analytics_service.alerts import store
from analytics_service.alerts.drops import Hour, Start, find, resume
from analytics_service.alerts.revision import Change, Known, changes, live
from analytics_service.alerts.store import Connection, Suspect
from wattstream import logs
from wattstream.postgres import Pool

_DEVICES = 1_000
_STEP_AT_MOST_S = 60.0
# A device that has late readings all the time would otherwise never be looked at.
_OVERDUE_AFTER_S = 600.0

log = logs.get()


@dataclass
class _Backlog:
    """Devices that were due at a time and have not been taken since."""

    noted_at: float
    device_keys: set[int] = field(default_factory=set)


class Evaluation:
    """Keeps alerts up to date with the rollups of the database behind `pool`.

    Any number of processes may do so at once: whoever has the lock does the step. A device whose rollups are out of
    date in hours that matter is left for later, so that a history that arrives in pieces does not open alerts that the
    next piece withdraws; but not for longer than two times ten minutes.

    Args:
        pool: connections in autocommit mode, one of which is used.
        every_s: how long to rest when nothing is left to do, in seconds.
    """

    def __init__(self, pool: Pool, every_s: float) -> None:
        self._pool = pool
        self._every_s = every_s
        self._devices = _DEVICES
        self._backlog = _Backlog(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Look for ever, until cancelled; a database that is away is waited for."""
        is_well = True
        while True:
            try:
                await self.round()
                is_well = True
            except (psycopg.Error, PoolTimeout, TimeoutError) as error:
                # A step that takes too long may do with fewer devices.
                self._devices = max(1, self._devices // 2)
                if is_well:
                    log.warning("alerts cannot be looked for; trying again and again", error=type(error).__name__)
                is_well = False
            await asyncio.sleep(self._every_s)

    async def round(self) -> None:
        """Look at all devices that are due and need not wait."""
        is_late = asyncio.get_running_loop().time() > self._backlog.noted_at + _OVERDUE_AFTER_S
        overdue = frozenset(self._backlog.device_keys) if is_late else frozenset()
        last_key = 0
        while taken := await self._step(last_key, overdue):
            last_key = max(taken)
            self._backlog.device_keys -= taken
        if is_late:
            await self._note_backlog()

    async def _step(self, after_key: int, overdue: Collection[int]) -> set[int]:
        """Look at the next devices; return which, none if there are none or another process looks."""
        async with asyncio.timeout(_STEP_AT_MOST_S), self._pool.connection() as connection, connection.transaction():
            if not await store.is_only_one(connection):
                return set()
            taken = await store.take(connection, after_key, self._devices, overdue)
            if taken:
                suspects = await _confirmed(connection, await store.suspects(connection, taken))
                await store.write(connection, await _found(connection, suspects))
        self._devices = min(_DEVICES, 2 * self._devices)
        return {key for key, _ in taken}

    async def _note_backlog(self) -> None:
        async with asyncio.timeout(_STEP_AT_MOST_S), self._pool.connection() as connection:
            self._backlog = _Backlog(asyncio.get_running_loop().time(), await store.due(connection))


async def _confirmed(connection: Connection, suspects: Sequence[Suspect]) -> list[Suspect]:
    """Return those that have an alert that may change, or a low window."""
    confirmed = [suspect for suspect in suspects if suspect.is_alerted]
    of_window: dict[int, list[Suspect]] = defaultdict(list)
    for suspect in suspects:
        if not suspect.is_alerted:
            of_window[suspect.rule.window_hours].append(suspect)
    for alike in of_window.values():
        low = await store.sustained(connection, alike)
        confirmed += [suspect for suspect in alike if suspect.subject in low]
    return confirmed


async def _found(connection: Connection, suspects: Sequence[Suspect]) -> list[tuple[Suspect, Change]]:
    """Find the drops of subjects again, as far as they may have changed; return what has to be stored."""
    if not suspects:
        return []
    known = await store.known(connection, (suspect.subject for suspect in suspects))
    left = {suspect.subject: suspect for suspect in suspects}
    starts = {of: resume(live(known.get(of, ())), suspect.changed) for of, suspect in left.items()}
    since = {of: starts[of].first - left[of].rule.window for of in left}
    found: list[tuple[Suspect, Change]] = []
    async with aclosing(store.hours(connection, since)) as series:
        async for of, hours in series:
            suspect = left.pop(of)
            # In a thread: years of hours take a while, and questions are answered by the same loop.
            changed = await asyncio.to_thread(_changes, suspect, starts[of], hours, known.get(of, ()))
            found += [(suspect, change) for change in changed]
    for of, suspect in left.items():
        found += [(suspect, change) for change in _changes(suspect, starts[of], (), known.get(of, ()))]
    return found


def _changes(suspect: Suspect, start: Start, hours: Sequence[Hour], known: Sequence[Known]) -> list[Change]:
    return changes(known, start, find(suspect.rule, start, hours))
