"""What it costs to know who shared a meter's minute: three ways, the same readings, one server, one run.

Run by `python -m tests.benchmarks.schema`. `hours` is the schema as it is, which notes once an hour that a vehicle named
a meter; `index` has a second index on vehicle history instead; `occupancy` a narrow table beside it. Each has two hours
of history, then takes an hour more, a few minutes a commit over one connection, in turn with the others.
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
from tests.benchmarks.processes import cpu_s
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

_DROP_HOURS = "DROP TABLE meter_vehicle_hours;"
_INDEX = """
CREATE INDEX vehicle_readings_meter ON vehicle_readings (meter_key, recorded_at) INCLUDE (vehicle_key);
"""
_OCCUPANCY = """
CREATE TABLE meter_occupancy (
    meter_key        int4 NOT NULL,
    recorded_at      timestamptz NOT NULL,
    vehicle_key      int4 NOT NULL,
    kwh_delivered_dc float8 NOT NULL,
    PRIMARY KEY (meter_key, recorded_at, vehicle_key) INCLUDE (kwh_delivered_dc)
);
"""
_COPY_OCCUPANCY = (
    "COPY meter_occupancy (vehicle_key, meter_key, recorded_at, kwh_delivered_dc) FROM STDIN (FORMAT binary)"
)
_NOTE_HOURS = """
INSERT INTO meter_vehicle_hours (meter_key, hour, vehicle_key)
SELECT meter, date_trunc('hour', to_timestamp(%s), 'UTC'), vehicle FROM unnest(%s::int4[], %s::int4[]) AS n (meter, vehicle)
ON CONFLICT DO NOTHING
"""
_SIZE = """
SELECT coalesce(sum(pg_relation_size(oid)), 0) FROM pg_class
WHERE relkind IN ('r', 'i') AND relname ~ '^(vehicle_readings|meter_vehicle_hours|meter_occupancy)'
"""
WAYS = {"hours": "", "index": _DROP_HOURS + _INDEX, "occupancy": _DROP_HOURS + _OCCUPANCY}


class Round(NamedTuple):
    """What some readings took: seconds of vehicle history and what belongs to it, of meter history, and bytes."""

    vehicles_s: float
    meters_s: float
    vehicle_bytes: int


class Way:
    """A database with one of the ways."""

    def __init__(self, name: str, dsn: str, devices: int) -> None:
        self.name = name
        self._connection: Connection = psycopg.connect(dsn, autocommit=True)
        self._connection.execute("SET lock_timeout = '30s'")
        self._connection.execute(WAYS[name])
        self._keys = register(self._connection, devices)
        make_partitions(self._connection, days_ago_us(2), 1)

    def store(self, load: Load) -> Round:
        """Store readings as the ingest service would."""
        ((meters, vehicles),) = load.copy_data(*self._keys, 1)
        size = self._size()
        begin = time.perf_counter()
        self._copy(COPY_METERS, meters)
        meters_s = time.perf_counter() - begin
        self._note_hours(load)
        with self._connection.transaction():
            self._copy(COPY_VEHICLES, vehicles)
            if self.name == "occupancy":
                self._copy(_COPY_OCCUPANCY, load.copy_occupancy(*self._keys))
        return Round(time.perf_counter() - begin - meters_s, meters_s, self._size() - size)
