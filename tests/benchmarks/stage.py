"""A running wattstream to measure: real processes on an empty data folder, with history that makes indexes real."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import psycopg

from tests.benchmarks import processes
from tests.benchmarks.messages import METER_VALUES, MINUTE_US, VEHICLE_VALUES, Load, device_id

PRELOADED_MINUTES = 120
_QUIET_CORES = 0.15
COPY_METERS = f"COPY meter_readings (meter_key, recorded_at, {', '.join(METER_VALUES)}) FROM STDIN (FORMAT binary)"
COPY_VEHICLES = (
    f"COPY vehicle_readings (vehicle_key, meter_key, recorded_at, {', '.join(VEHICLE_VALUES)})"
    " FROM STDIN (FORMAT binary)"
)
Connection = psycopg.Connection[tuple[object, ...]]


class Used(NamedTuple):
    """Seconds: of the clock, and of CPU by whom they were used.

    Attributes:
        clock: some time.
        ours: the processes of wattstream on the way of a reading, ingest and state.
        postgres: PostgreSQL.
        valkey: Valkey.
        others: whatever else runs on this machine and is neither wattstream nor this benchmark.
    """

    clock: float
    ours: float
    postgres: float
    valkey: float
    others: float


@dataclass
class Stage:
    """A running wattstream: its addresses, its processes, and the next minute of history that is still free."""

    addresses: dict[str, str]
    pids: dict[str, int]
    devices: int
    folder: Path
    start_us: int
    meter_keys: list[int]
    vehicle_keys: list[int]
    loaded: int = 0

    @property
    def dsn(self) -> str:
        """Where PostgreSQL is."""
        return self.addresses["postgres"]

    def load(self, minutes: int) -> Load:
        """Return readings of minutes that nothing has used yet; they are expected to be stored."""
        load = Load(self.devices, self.start_us, minutes)
        self.start_us += minutes * MINUTE_US
        self.loaded += len(load)
        return load

    def readings(self, count: int) -> Iterator[bytes]:
        """Return so many serialised readings of minutes that nothing has used yet; they are expected to be stored."""
        load = self.load(-(-count // (2 * self.devices)))
        self.loaded -= len(load) - count
        return islice(load.readings(), count)

    def copy_data(self, load: Load, parts: int) -> list[tuple[bytes, bytes]]:
        """Return a load as what each of `parts` connections copies of meters and of vehicles."""
        return load.copy_data(self.meter_keys, self.vehicle_keys, parts)

    def store(self, load: Load) -> None:
        """Copy a load into history, sorted, in one transaction."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            copy(connection, *self.copy_data(load, 1))

    def settle(self) -> None:
        """Do what is left over from the row before, so that the next does not pay for it.

        After a checkpoint the first change of each page is logged as a whole page. A minute of readings changes the
        page of every device in every index, so that no row pays for that either, however short it is.
        """
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("VACUUM")
            connection.execute("CHECKPOINT")
        self.store(self.load(1))

    def wait_for_quiet(self, patience_s: float) -> None:
        """Wait for a second in which others leave nearly all of the machine to us, but not for ever."""
        until = time.perf_counter() + patience_s
        while time.perf_counter() < until:
            before = self.used()
            time.sleep(1)
            if self.used().others - before.others < _QUIET_CORES:
                return

    def stored(self) -> int:
        """Return how many readings are in history."""
        with psycopg.connect(self.dsn) as connection:
            found = connection.execute(
                "SELECT (SELECT count(*) FROM meter_readings) + (SELECT count(*) FROM vehicle_readings)"
            ).fetchone()
        assert found is not None
        return int(str(found[0]))

    def used(self) -> Used:
        """Return what has been used so far."""
        cpu_s = {name: processes.cpu_s(pid) for name, pid in self.pids.items()}
        others_s = processes.machine_cpu_s() - processes.cpu_s(os.getpid())
        return Used(time.perf_counter(), cpu_s["ingest"] + cpu_s["state"], cpu_s["postgres"], cpu_s["valkey"], others_s)


@contextmanager
def stage(devices: int, environ: dict[str, str]) -> Iterator[Stage]:
    """Run wattstream with two hours of history of so many meters and vehicles."""
    with tempfile.TemporaryDirectory(prefix="wattstream-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as another user
        process = subprocess.Popen(
            [sys.executable, "-m", "wattstream", "up", "--data-dir", str(folder / "data")],
            stdout=subprocess.PIPE,
            env={**clean(os.environ), "WATTSTREAM_LOG_LEVEL": "warning", **environ},
        )
        try:
            yield _prepared(process, devices, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


def copy(connection: Connection, *data: tuple[bytes, bytes]) -> None:
    """Copy ready-made data of meters and vehicles, one transaction each."""
    for meters, vehicles in data:
        with connection.transaction():
            for statement, of_kind in ((COPY_METERS, meters), (COPY_VEHICLES, vehicles)):
                with connection.cursor().copy(statement) as into:
                    into.write(of_kind)


def clean(environ: "os._Environ[str]") -> dict[str, str]:
    """Leave out what the shell has configured for other instances."""
    return {name: value for name, value in environ.items() if not name.startswith("WATTSTREAM_")}


def _prepared(process: "subprocess.Popen[bytes]", devices: int, folder: Path) -> Stage:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("wattstream does not start")
    pids = {
        lock.stem: int(lock.read_text(encoding="utf-8").split()[0]) for lock in (folder / "data/run").glob("*.lock")
    }
    addresses = json.loads(line)
    with psycopg.connect(addresses["postgres"], autocommit=True) as connection:
        # It would run at some time in some row; each row is followed by a VACUUM instead.
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
        keys = register(connection, devices)
        start_us = days_ago_us(2)
        make_partitions(connection, start_us, 3)
        on = Stage(addresses, pids, devices, folder, start_us, *keys)
        preload(connection, on)
        connection.execute("VACUUM ANALYZE")
    return on


def preload(connection: Connection, on: Stage) -> None:
    """Store two hours, ten minutes at a time, so that the heap has about the order in which readings come."""
    for _ in range(0, PRELOADED_MINUTES, 10):
        copy(connection, *on.copy_data(on.load(10), 1))


def days_ago_us(days: int) -> int:
    """Return the beginning of the UTC day so many days ago, in microseconds since 1970."""
    day_s = 86_400
    return (int(time.time()) // day_s - days) * day_s * 1_000_000


def make_partitions(connection: Connection, start_us: int, days: int) -> None:
    """Make the partitions of so many days."""
    connection.execute(
        "SELECT ensure_partitions(array(SELECT (to_timestamp(%s) AT TIME ZONE 'UTC')::date + n"
        " FROM generate_series(0, %s) AS n))",
        (start_us / 1e6, days - 1),
    )


def register(connection: Connection, devices: int) -> tuple[list[int], list[int]]:
    """Register so many meters and vehicles; return their keys, by number."""
    keys = []
    for kind, name in ((1, "meter"), (2, "vehicle")):
        connection.execute(
            "INSERT INTO devices (kind, device_id) SELECT %s, unnest(%s::text[])",
            (kind, [device_id(name, number) for number in range(devices)]),
        )
        found = connection.execute("SELECT device_key FROM devices WHERE kind = %s ORDER BY device_id", (kind,))
        keys.append([int(str(row[0])) for row in found])
    return keys[0], keys[1]
