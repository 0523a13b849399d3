"""Rolling up: waits until it is done, and tells what of PostgreSQL's CPU it took."""

import time
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.benchmarks import processes
from tests.benchmarks.analytics_history import History
from tests.benchmarks.analytics_stage import House, Scene
from tests.benchmarks.stage import Connection

Row = dict[str, Any]
_POLL_S = 0.25
_PATIENCE_S = 120.0
_ANALYTICS = "wattstream analytics"
# Clients of PostgreSQL that have nothing to do with rolling up.
_OTHERS = ("wattstream", "benchmark", "reference")
_STATE = """
SELECT (SELECT count(*) FROM stale_hours), (SELECT sum(after_key) FROM stale_hours),
    log_from, log_from >= date_trunc('hour', now()) - interval '1 hour'
FROM rollup_state
"""
_FORGET = """
TRUNCATE vehicle_rollups, meter_rollups, stale_hours, efficiency_due;
UPDATE rollup_state SET log_from = DEFAULT, previous_log_from = DEFAULT
"""


@dataclass
class Backends:
    """CPU seconds that PostgreSQL's processes use from the first sample on, by whom they work for."""

    connection: Connection
    _names: dict[int, str] = field(default_factory=dict)
    _first_s: dict[int, float] = field(default_factory=dict)
    _last_s: dict[int, float] = field(default_factory=dict)

    def sample(self) -> None:
        """Look at all processes; one that ends before the next sample counts as far as it has been seen."""
        rows = self.connection.execute(
            "SELECT pid, coalesce(nullif(application_name, ''), backend_type) FROM pg_stat_activity"
        ).fetchall()
        is_first = not self._names
        for pid, name in ((int(str(row[0])), str(row[1])) for row in rows):
            used_s = processes.cpu_s(pid)
            self._names[pid] = name
            self._first_s.setdefault(pid, used_s if is_first else 0.0)
            self._last_s[pid] = max(used_s, self._last_s.get(pid, 0.0))

    def seconds(self) -> dict[str, float]:
        """Return what has been used, by application or by kind of process."""
        found: dict[str, float] = {}
        for pid, name in self._names.items():
            found[name] = found.get(name, 0.0) + self._last_s[pid] - self._first_s[pid]
        return found


class Refresh:
    """One measurement of rolling up: made before history grows, begun before the services start."""

    def __init__(self, house: House, history: History) -> None:
        self._postgres = house.pids()["postgres"]
        self._history = history
        self._connection = psycopg.connect(house.dsn, autocommit=True)
        self._backends = Backends(self._connection)
        self._rolled_up = history.readings_before(_log_from_us(self._connection))

    def begin(self) -> None:
        """Count from here on."""
        self._backends.sample()
        self._before_s, self._begun = processes.cpu_s(self._postgres), time.perf_counter()

    def finished(self, scene: Scene) -> Row:
        """Wait until everything is rolled up; return the row, CPU in microseconds a reading.

        postgres: PostgreSQL, all of it but what it did for others than the refresher. backends: the refresher's
        own backends. service: the analytics process. Starting the services counts for the clock.
        """
        wait(self._connection, self._backends)
        seconds = time.perf_counter() - self._begun
        readings = self._history.readings_before(_log_from_us(self._connection)) - self._rolled_up
        by = self._backends.seconds()
        others_s = sum(s for name, s in by.items() if name.startswith(_OTHERS) and not name.startswith(_ANALYTICS))
        cpu_s = {
            "postgres": processes.cpu_s(self._postgres) - self._before_s - others_s,
            "backends": sum(s for name, s in by.items() if name.startswith(_ANALYTICS)),
            "service": processes.cpu_s(scene.pids["analytics"]),
        }
        self._connection.close()
        return {
            "readings": readings,
            "seconds": seconds,
            "cpu_us": {name: s / readings * 1e6 for name, s in cpu_s.items()} if readings else {},
            "cpu_s_by": {name: s for name, s in by.items() if s > 0.05},
        }


def forget(dsn: str) -> None:
    """Have everything rolled up again."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_FORGET)


def wait(connection: Connection, backends: Backends | None = None) -> None:
    """Wait until every whole hour is rolled up and nothing is stale; the newest whole hour may still be held back."""
    changed, last = time.perf_counter(), None
    while True:
        if backends:
            backends.sample()
        found = connection.execute(_STATE).fetchone()
        assert found is not None
        stale, _, log_from, is_recent = found
        if not stale and is_recent:
            return
        if found[:3] != last:
            changed, last = time.perf_counter(), found[:3]
        if time.perf_counter() - changed > _PATIENCE_S:
            raise SystemExit(f"nothing is rolled up any more: {stale} hours stale, rolled up until {log_from}")
        time.sleep(_POLL_S)


def wait_for_alerts(connection: Connection, patience_s: float) -> None:
    """Wait until alerts have been looked for in what was rolled up, or nobody has looked for so long."""
    changed, last = time.perf_counter(), -1
    while time.perf_counter() - changed < patience_s:
        found = connection.execute("SELECT count(*) FROM efficiency_due").fetchone()
        assert found is not None
        due = int(str(found[0]))
        if not due:
            return
        if due != last:
            changed, last = time.perf_counter(), due
        time.sleep(_POLL_S)


def _log_from_us(connection: Connection) -> int:
    found = connection.execute("SELECT (extract(epoch FROM log_from) * 1000000)::int8 FROM rollup_state").fetchone()
    assert found is not None
    return int(str(found[0]))
