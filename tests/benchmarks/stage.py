"""A running wattstream to measure: real processes on an empty data folder, with history that makes indexes real."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.benchmarks import processes
from tests.benchmarks.messages import MINUTE_US, Load

PRELOADED_MINUTES = 120


@dataclass
class Stage:
    """A running wattstream: its addresses, its processes, and the next minute of history that is still free."""

    addresses: dict[str, str]
    devices: int
    folder: Path
    data_dir: Path
    start_us: int
    meter_keys: list[int]
    vehicle_keys: list[int]

    def load(self, minutes: int) -> Load:
        """Return readings of minutes that nothing has used yet."""
        load = Load(self.devices, self.start_us, minutes)
        self.start_us += minutes * MINUTE_US
        return load

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds used so far, by program."""
        return {
            name: sum(processes.cpu_s(pid) for pid in self.pids(name))
            for name in ("ingest", "state", "postgres", "valkey")
        }

    def pids(self, name: str) -> list[int]:
        """Return the processes of a program, without their children."""
        words = {
            "ingest": "-m ingest_service",
            "state": "-m state_service",
            "postgres": "bin/postgres",
            "valkey": "valkey-server",
        }
        lock = (self.data_dir / "run" / f"{name}.lock").read_text(encoding="utf-8")
        return [pid for pid in processes.pids(words[name]) if pid == int(lock.split()[0])]


@contextmanager
def stage(devices: int, environ: dict[str, str] | None = None) -> Iterator[Stage]:
    """Run wattstream with two hours of history of so many meters and vehicles."""
    with tempfile.TemporaryDirectory(prefix="wattstream-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        data_dir = folder / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "wattstream", "up", "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "WATTSTREAM_LOG_LEVEL": "warning", **(environ or {})},
        )
        try:
            assert process.stdout is not None
            addresses = json.loads(process.stdout.readline())
            start_us = _last_midnight_us(days_ago=2)
            meter_keys, vehicle_keys = _preload(addresses["postgres"], devices, start_us)
            yield Stage(
                addresses,
                devices,
                folder,
                data_dir,
                start_us + PRELOADED_MINUTES * MINUTE_US,
                meter_keys,
                vehicle_keys,
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _last_midnight_us(days_ago: int) -> int:
    import time

    day_s = 86_400
    return (int(time.time()) // day_s - days_ago) * day_s * 1_000_000


def _preload(dsn: str, devices: int, start_us: int) -> tuple[list[int], list[int]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        keys = []
        for kind, prefix in ((1, "meter"), (2, "vehicle")):
            connection.execute(
                "INSERT INTO devices (kind, device_id) SELECT %s, %s || lpad(n::text, 5, '0')"
                " FROM generate_series(0, %s) AS n ORDER BY n",
                (kind, f"{prefix}-", devices - 1),
            )
            found = connection.execute("SELECT device_key FROM devices WHERE kind = %s ORDER BY device_id", (kind,))
            keys.append([row[0] for row in found])
        connection.execute(
            "SELECT ensure_partitions(array(SELECT (to_timestamp(%s) AT TIME ZONE 'UTC')::date + n"
            " FROM generate_series(0, 3) AS n))",
            (start_us / 1e6,),
        )
        # Ten minutes at a time, so that the heap has the order in which readings come.
        for minute in range(0, PRELOADED_MINUTES, 10):
            (data,) = Load(devices, start_us + minute * MINUTE_US, 10).copy_data(keys[0], keys[1], 1)
            copy(connection, data)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    return keys[0], keys[1]


def copy(connection: psycopg.Connection[tuple[object, ...]], data: tuple[bytes, bytes]) -> None:
    """Copy ready-made data of meters and vehicles in one transaction."""
    from ingest_service import history
    from ingest_service.readings import METER, VEHICLE

    with connection.transaction():
        for kind, of_kind in zip((METER, VEHICLE), data, strict=True):
            with connection.cursor().copy(history._COPY[kind]) as into:
                into.write(of_kind)
