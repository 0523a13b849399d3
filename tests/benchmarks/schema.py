"""What it costs to know who shared a meter's minute: three ways, the same readings, one server, one run.

Run by `python -m tests.benchmarks.schema`. `hours` is the schema as it is, which notes once an hour that a vehicle
named a meter; `index` has a second index on vehicle history instead; `occupancy` a narrow table beside it. Each has two
hours of history, then takes an hour more, a few minutes a commit over one connection, in turn with the others.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo

from tests.benchmarks.messages import MINUTE_US, Load
from tests.benchmarks.stage import (
    COPY_METERS,
    COPY_VEHICLES,
    PRELOADED_MINUTES,
    Connection,
    days_ago_us,
    make_partitions,
    register,
)
from wattstream import embedded, migrate

HOUR_US = 60 * MINUTE_US
COMMIT_MINUTES = 3
MEASURED_MINUTES = 60
_DROP_HOURS = "DROP TABLE meter_vehicle_hours;"
_INDEX = "CREATE INDEX ON vehicle_readings (meter_key, recorded_at) INCLUDE (vehicle_key);"
_OCCUPANCY = """
CREATE TABLE meter_occupancy (
    meter_key        int4 NOT NULL,
    vehicle_key      int4 NOT NULL,
    recorded_at      timestamptz NOT NULL,
    kwh_delivered_dc float8 NOT NULL,
    PRIMARY KEY (meter_key, recorded_at, vehicle_key) INCLUDE (kwh_delivered_dc)
);
"""
_COPY_OCCUPANCY = (
    "COPY meter_occupancy (meter_key, vehicle_key, recorded_at, kwh_delivered_dc) FROM STDIN (FORMAT binary)"
)
_NOTE_HOURS = """
INSERT INTO meter_vehicle_hours (meter_key, hour, vehicle_key)
SELECT meter_key, to_timestamp(%s), vehicle_key FROM unnest(%s::int4[], %s::int4[]) AS n (meter_key, vehicle_key)
ON CONFLICT DO NOTHING
"""
_VEHICLE_BYTES = """
SELECT sum(pg_relation_size(oid)) FROM pg_class
WHERE relkind IN ('r', 'i') AND relname ~ '^(vehicle_readings|meter_vehicle_hours|meter_occupancy)'
"""
WAYS = {"hours": "", "index": _DROP_HOURS + _INDEX, "occupancy": _DROP_HOURS + _OCCUPANCY}


class Took(NamedTuple):
    """What one load took: seconds for the vehicles' readings and their occupancy, and for the meters'."""

    vehicles_s: float
    meters_s: float


class Way:
    """A database that has one of the ways, with two hours of history."""

    def __init__(self, name: str, dsn: str, devices: int) -> None:
        self._name = name
        self._connection: Connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute(WAYS[name])
        self._keys = register(self._connection, devices)
        self._noted_us = 0
        self._noting_s: list[float] = []
        self.took: list[Took] = []
        make_partitions(self._connection, days_ago_us(2), 1)
        for minute in range(0, PRELOADED_MINUTES, 10):
            self.store(Load(devices, days_ago_us(2) + minute * MINUTE_US, 10))
        self._connection.execute("VACUUM ANALYZE")
        self.took.clear()

    def store(self, load: Load) -> None:
        """Store a load as the ingest service does: hours ahead, then both kinds in one transaction."""
        ((meters, vehicles),) = load.copy_data(*self._keys, 1)
        occupancy = load.occupancy_data(*self._keys)
        if self._name == "hours":
            self._note_hours(load)
        begin = time.perf_counter()
        with self._connection.transaction():
            self._copy(COPY_VEHICLES, vehicles)
            if self._name == "occupancy":
                self._copy(_COPY_OCCUPANCY, occupancy)
            vehicles_s = time.perf_counter() - begin
            self._copy(COPY_METERS, meters)
        self.took.append(Took(vehicles_s, time.perf_counter() - begin - vehicles_s))

    def figures(self, devices: int) -> tuple[float, float, float]:
        """Return vehicle readings a second, readings of both kinds a second, and bytes a vehicle reading."""
        rounds = MEASURED_MINUTES / COMMIT_MINUTES
        vehicles_s = rounds * median(took.vehicles_s for took in self.took)
        vehicles_s += MEASURED_MINUTES / 60 * median(self._noting_s or [0.0])
        both_s = vehicles_s + rounds * median(took.meters_s for took in self.took)
        rows = devices * MEASURED_MINUTES
        size = self._vehicle_bytes() / (devices * (PRELOADED_MINUTES + MEASURED_MINUTES))
        return rows / vehicles_s, 2 * rows / both_s, size

    def _copy(self, statement: str, data: bytes) -> None:
        with self._connection.cursor().copy(statement) as into:
            into.write(data)

    def _note_hours(self, load: Load) -> None:
        """Note the hours that have not been noted, as the writer's cache would."""
        for hour_us in sorted({int(time_us) // HOUR_US * HOUR_US for time_us in load.times_us}):
            if hour_us > self._noted_us:
                begin = time.perf_counter()
                self._connection.execute(_NOTE_HOURS, (hour_us / 1e6, *self._keys))
                self._noting_s.append(time.perf_counter() - begin)
                self._noted_us = hour_us

    def _vehicle_bytes(self) -> int:
        found = self._connection.execute(_VEHICLE_BYTES).fetchone()
        assert found is not None
        return int(str(found[0]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000, help="meters, and as many vehicles")
    devices = parser.parse_args().devices
    for name, (vehicles_s, both_s, size) in asyncio.run(_measured(devices)).items():
        print(f"{name:12}{vehicles_s:12,.0f} vehicle rows/s{both_s:12,.0f} rows/s{size:8.1f} bytes a vehicle row")


async def _measured(devices: int) -> dict[str, tuple[float, float, float]]:
    with tempfile.TemporaryDirectory(prefix="wattstream-bench-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may run as another user
        async with embedded.stores(Path(folder) / "data") as stores:
            return await asyncio.to_thread(_compare, stores.postgres_dsn, devices)


def _compare(dsn: str, devices: int) -> dict[str, tuple[float, float, float]]:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
        for name in WAYS:
            admin.execute(f"CREATE DATABASE bench_{name}")
            list(migrate.migrate(make_conninfo(dsn, dbname=f"bench_{name}")))
        ways = {name: Way(name, make_conninfo(dsn, dbname=f"bench_{name}"), devices) for name in WAYS}
        start_us = days_ago_us(2) + PRELOADED_MINUTES * MINUTE_US
        admin.execute("CHECKPOINT")
        for minute in range(0, MEASURED_MINUTES, COMMIT_MINUTES):
            for way in ways.values():
                way.store(Load(devices, start_us + minute * MINUTE_US, COMMIT_MINUTES))
        return {name: way.figures(devices) for name, way in ways.items()}


if __name__ == "__main__":
    main()
