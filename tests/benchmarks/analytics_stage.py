"""What answers are measured on: stores that run all the time, and services that run while something is measured."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from psycopg.conninfo import make_conninfo

from tests.benchmarks import processes
from tests.benchmarks.stage import clean
from wattstream.embedded import Stores

BARE = "bare"
_LOCKED_BY_STORES = ("postgres", "valkey")


class Used(NamedTuple):
    """Seconds of CPU that have been used so far.

    Attributes:
        analytics: the service that answers.
        bare: the one that answers SELECT 1.
        postgres: PostgreSQL, all its processes.
        machine: everybody.
    """

    analytics: float
    bare: float
    postgres: float
    machine: float

    def since(self, before: "Used") -> "Used":
        """Return what has been used since then."""
        return Used(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass(frozen=True)
class Scene:
    """Running services: their addresses and processes, by name."""

    addresses: Mapping[str, str]
    pids: Mapping[str, int]

    def used(self) -> Used:
        """Return what has been used so far."""
        analytics, bare, postgres = (processes.cpu_s(self.pids[name]) for name in ("analytics", BARE, "postgres"))
        return Used(analytics, bare, postgres, processes.machine_cpu_s())


@dataclass(frozen=True)
class House:
    """Running stores, and the folder that all data are in."""

    stores: Stores
    folder: Path

    @property
    def dsn(self) -> str:
        """Where PostgreSQL is, for this benchmark's own questions."""
        return make_conninfo(self.stores.postgres_dsn, application_name="benchmark")

    @property
    def postgres_log(self) -> Path:
        """What PostgreSQL has to say."""
        return self.folder / "data/log/postgres.log"

    def pids(self) -> dict[str, int]:
        """Return the processes of the stores."""
        return _locked(self.folder / "data", _LOCKED_BY_STORES)

    @contextmanager
    def services(self) -> Iterator[Scene]:
        """Run the three services on the stores, and beside them the one that answers SELECT 1."""
        environ = {
            **clean(os.environ),
            "WATTSTREAM_LOG_LEVEL": "warning",
            "WATTSTREAM_POSTGRES_DSN": self.stores.postgres_dsn,
            "WATTSTREAM_REDIS_URL": self.stores.redis_url,
            # All readings are there when the services start; there is nothing to wait for before they are rolled up.
            "WATTSTREAM_ANALYTICS_REFRESH_SETTLE_S": "0",
        }
        up = [sys.executable, "-m", "wattstream", "up", "--data-dir", str(self.folder / "services")]
        bare = [sys.executable, "-m", "tests.benchmarks.analytics_bare"]
        with _running(up, environ) as (_, line), _running(bare, environ) as (process, address):
            pids = _locked(self.folder / "services", ("ingest", "state", "analytics"))
            yield Scene({**json.loads(line), BARE: address.strip()}, {**self.pids(), **pids, BARE: process.pid})


@contextmanager
def _running(command: list[str], environ: Mapping[str, str]) -> "Iterator[tuple[subprocess.Popen[str], str]]":
    """Run a program that says in a line when it is ready; yield it and the line."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(environ), text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{command[2]} does not start")
        yield process, line
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def _locked(folder: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Return the programs that run under the locks of a data folder."""
    return {name: int((folder / "run" / f"{name}.lock").read_text(encoding="utf-8").split()[0]) for name in names}
