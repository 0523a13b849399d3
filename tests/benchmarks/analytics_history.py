"""History that grows into the past, so that it always ends now and default windows have data.

It is stored as ingest stores it: hour after hour, sorted, the hours in which vehicles name meters noted ahead, what is
already rolled up noted as stale in the same transaction. Each partition is vacuumed as soon as it has its readings.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import psycopg

from tests.benchmarks.messages import MINUTE_US, Load
from tests.benchmarks.stage import Connection, copy, make_partitions, register

HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
_ENDS_BEFORE_NOW_US = 2 * MINUTE_US
_COMMIT_READINGS = 200_000
_NOTE_HOURS = """
INSERT INTO meter_vehicle_hours (meter_key, hour, vehicle_key)
SELECT meter_key, hour, vehicle_key
FROM unnest(%s::int4[], %s::int4[]) AS fleet (meter_key, vehicle_key),
    generate_series(to_timestamp(%s), to_timestamp(%s), interval '1 hour') AS hour
ORDER BY meter_key, hour
ON CONFLICT DO NOTHING
"""
_ASSIGN = """
INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from)
SELECT vehicle_key, meter_key, timestamptz '1970-01-01 00:00+00'
FROM unnest(%s::int4[], %s::int4[]) AS fleet (vehicle_key, meter_key)
"""
_MARK_STALE = """
INSERT INTO stale_hours (device_key, hour)
SELECT 0, hour
FROM generate_series(to_timestamp(%s), to_timestamp(%s), interval '1 hour') AS hour
WHERE hour < %s
"""


@dataclass
class Extent:
    """What is in history: a reading a minute of each device in [start_us, end_us)."""

    devices: int
    start_us: int
    end_us: int


class History:
    """A fleet's history: as many vehicles as meters, each vehicle at the meter of its number, which is assigned to it.

    Its extent is kept beside the data, so that a later run can go on from there.
    """

    def __init__(self, dsn: str, devices: int, folder: Path) -> None:
        self.dsn = dsn
        self._file = folder / "history.json"
        with self._connected() as connection:
            if self._file.exists():
                self.extent = Extent(**json.loads(self._file.read_text(encoding="utf-8")))
                if self.extent.devices != devices:
                    raise SystemExit(f"{folder} holds a fleet of {self.extent.devices:,} devices, not {devices:,}")
                self.meter_keys, self.vehicle_keys = _keys(connection, devices)
            else:
                hour_us = time.time_ns() // 1000 // HOUR_US * HOUR_US
                self.extent = Extent(devices, hour_us, hour_us)
                self.meter_keys, self.vehicle_keys = register(connection, devices)
                connection.execute(_ASSIGN, (self.vehicle_keys, self.meter_keys))
                connection.execute("VACUUM (ANALYZE) devices, meter_assignments")
                self._keep()

    def stages(self, days: list[int]) -> list[int]:
        """Return through which of these numbers of days history can still grow; the most at least."""
        there = (time.time_ns() // 1000 // HOUR_US * HOUR_US - self.extent.start_us) // DAY_US
        return [some for some in sorted(days) if some >= there] or [max(days)]

    def reach_back(self, days: int) -> int:
        """Load what is missing of the days before the present hour; return how many readings that is."""
        start_us = time.time_ns() // 1000 // HOUR_US * HOUR_US - days * DAY_US
        loaded = self._load(start_us, self.extent.start_us)
        self.extent.start_us = min(start_us, self.extent.start_us)
        self._keep()
        return loaded

    def catch_up(self) -> int:
        """Load what is missing until a few minutes ago; return how many readings that is."""
        end_us = time.time_ns() // 1000 // MINUTE_US * MINUTE_US - _ENDS_BEFORE_NOW_US
        loaded = self._load(self.extent.end_us, end_us)
        self.sent_until(end_us)
        return loaded

    def sent_until(self, end_us: int) -> None:
        """Take note that readings before `end_us` are there, by whatever way they came."""
        self.extent.end_us = max(end_us, self.extent.end_us)
        self._keep()

    def readings_before(self, end_us: int) -> int:
        """Return how many readings of the fleet are older than `end_us`."""
        minutes = (min(end_us, self.extent.end_us) - self.extent.start_us) // MINUTE_US
        return 2 * self.extent.devices * max(0, minutes)

    def _load(self, start_us: int, end_us: int) -> int:
        loaded = 0
        with self._connected() as connection:
            _settings(connection, autovacuum="off", full_page_writes="off")
            try:
                for day_us, loads in groupby(self._loads(start_us, end_us), lambda load: load.start_us // DAY_US):
                    make_partitions(connection, day_us * DAY_US, 2)
                    for load in loads:
                        self._store(connection, load)
                        loaded += len(load)
                    day = time.strftime("%Y%m%d", time.gmtime(day_us * DAY_US / 1e6))
                    connection.execute(f"VACUUM (ANALYZE) meter_readings_{day}, vehicle_readings_{day}")
                connection.execute("VACUUM (ANALYZE) meter_vehicle_hours, stale_hours")
            finally:
                _settings(connection, autovacuum=None, full_page_writes=None)
            connection.execute("CHECKPOINT")
        return loaded

    def _loads(self, start_us: int, end_us: int) -> Iterator[Load]:
        """Yield what is stored in one transaction each: an hour or, of small fleets, several hours of a day."""
        hours = max(1, min(24, _COMMIT_READINGS // (2 * 60 * self.extent.devices)))
        while start_us < end_us:
            until_us = min(
                end_us, start_us // HOUR_US * HOUR_US + hours * HOUR_US, start_us // DAY_US * DAY_US + DAY_US
            )
            yield Load(self.extent.devices, start_us, (until_us - start_us) // MINUTE_US)
            start_us = until_us

    def _store(self, connection: Connection, load: Load) -> None:
        hours = (load.start_us // HOUR_US * 3600, int(load.times_us[-1]) // HOUR_US * 3600)
        connection.execute(_NOTE_HOURS, (self.meter_keys, self.vehicle_keys, *hours))
        with connection.transaction():
            log_from = connection.execute("SELECT enter_history()").fetchone()
            assert log_from is not None
            copy(connection, *load.copy_data(self.meter_keys, self.vehicle_keys, 1))
            connection.execute(_MARK_STALE, (*hours, *log_from))

    def _keep(self) -> None:
        self._file.write_text(json.dumps(asdict(self.extent)), encoding="utf-8")

    def _connected(self) -> Connection:
        return psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC -c synchronous_commit=off")


def _keys(connection: Connection, devices: int) -> tuple[list[int], list[int]]:
    """Return the keys of the meters and of the vehicles, by number; others may have been registered later."""
    found = [
        connection.execute(
            "SELECT device_key FROM devices WHERE kind = %s ORDER BY device_id LIMIT %s", (kind, devices)
        ).fetchall()
        for kind in (1, 2)
    ]
    meters, vehicles = ([int(str(row[0])) for row in of_kind] for of_kind in found)
    return meters, vehicles


def _settings(connection: Connection, **settings: str | None) -> None:
    """Change settings of the server; None is what it was started with."""
    for name, value in settings.items():
        connection.execute(f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = {value}")
    connection.execute("SELECT pg_reload_conf()")
