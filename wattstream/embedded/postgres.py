"""PostgreSQL for one machine: made on first use, durable, and open to nobody but the holder of its password."""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from wattstream.embedded import account, ports, supervisor, wheels
from wattstream.embedded.environment import plain
from wattstream.embedded.folder import EmbeddedError, Home
from wattstream.embedded.programs import Account, Program

_NAME = "wattstream"  # of the user and of the database
_CONNECT_TIMEOUT_S = 2
_SETTINGS = {
    "listen_addresses": ports.HOST,
    "unix_socket_directories": "",
    "cluster_name": _NAME,
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "2GB",
    "wal_compression": "pglz",
    "checkpoint_timeout": "15min",
    "log_checkpoints": "off",
    "random_page_cost": "1.1",
    # A question or a migration may touch every partition of a month, with its indexes.
    "max_locks_per_transaction": "256",
    # Index-only scans need the visibility map, which autovacuum keeps.
    "autovacuum_naptime": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class _Cluster:
    """A database cluster: its folder, which holds `data` and `password`, PostgreSQL's programs, and their user."""

    folder: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def password(self) -> Path:
        return self.folder / "password"

    def program(self, *argv: str, **properties: object) -> Program:
        return Program(
            name="postgres",
            argv=(str(self.programs / argv[0]), *argv[1:]),
            env=plain(),
            cwd=Path("/"),
            account=self.account,
            stop_signal=signal.SIGINT,  # to the server: roll back what is open and shut down
            **properties,  # type: ignore[arg-type]
        )


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[str]:
    """Run PostgreSQL with its data in `home` and yield the DSN of the database, password included.

    Raises:
        EmbeddedError: it does not start.
    """
    cluster = await asyncio.to_thread(_cluster, home)
    if not cluster.data.exists():
        await _initialise(cluster, home)
    with ports.reserved(home, "postgres") as port:
        password = cluster.password.read_text(encoding="utf-8")
        dsn = f"postgresql://{_NAME}:{password}@{ports.HOST}:{port}/{_NAME}"
        settings = (f"{name}={value}" for name, value in {**_SETTINGS, "port": port}.items())
        arguments = [word for setting in settings for word in ("-c", setting)]
        server = cluster.program("postgres", "-D", str(cluster.data), *arguments, is_ready=lambda: _answers(dsn))
        async with supervisor.running(server, home):
            await _make_database(dsn)
            yield dsn


def _cluster(home: Home) -> _Cluster:
    place = home.path / "postgres"
    if place.is_symlink() and not place.exists():
        raise EmbeddedError(f"the database is gone: {place} points to {place.readlink()}, which is not there")
    user = account.choose(place / "data")
    if not (place / "data").exists():
        account.make_reachable_folder(place, user)
    elif not (place / "password").exists():
        raise EmbeddedError(f"the database has lost its password: {place / 'password'} is not there")
    elif user and not account.can_enter(place, user):
        raise EmbeddedError(f"PostgreSQL runs as {user.name}, to whom its data belongs, who cannot enter {place}")
    return _Cluster(place.resolve(), account.reachable_programs(wheels.postgres(), user), user)


async def _initialise(cluster: _Cluster, home: Home) -> None:
    """Make the cluster; one that was half made before is made anew."""
    partial = cluster.folder / "data.new"
    shutil.rmtree(partial, ignore_errors=True)
    _write_password(cluster)
    arguments = (
        f"--pgdata={partial}",
        f"--username={_NAME}",
        f"--pwfile={cluster.password}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
    )
    await supervisor.run(cluster.program("initdb", *arguments), home)
    partial.rename(cluster.data)


def _write_password(cluster: _Cluster) -> None:
    cluster.password.unlink(missing_ok=True)
    descriptor = os.open(cluster.password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(24))
        if cluster.account:
            os.fchown(descriptor, cluster.account.uid, cluster.account.gid)


async def _answers(dsn: str) -> bool:
    try:
        async with await _connect(dsn) as connection:
            await connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


async def _make_database(dsn: str) -> None:
    async with await _connect(dsn) as connection:
        cursor = await connection.execute("SELECT FROM pg_database WHERE datname = %s", (_NAME,))
        if await cursor.fetchone() is None:
            await connection.execute(f"CREATE DATABASE {_NAME}")


async def _connect(dsn: str) -> "psycopg.AsyncConnection[tuple[object, ...]]":
    """Connect to the database that is always there."""
    maintenance = make_conninfo(dsn, dbname="postgres", connect_timeout=_CONNECT_TIMEOUT_S)
    return await psycopg.AsyncConnection.connect(maintenance, autocommit=True)
