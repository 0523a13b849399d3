"""PostgreSQL's disk is full for a while: what it acknowledged is kept, what it cannot store is held."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream import migrate, server

Make = Callable[..., Any]


class Disk:
    """A small disk of its own, and a database on it."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.dsn = dsn
        self._filler = folder / "filler"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(fragile: Any, scratch: Path) -> Iterator[Disk]:
    mount = shutil.which("mount")
    if sys.platform != "linux" or os.geteuid() != 0 or mount is None:
        pytest.skip("only root on Linux can make a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(scratch)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        place = scratch / "tablespace"
        place.mkdir()
        owner = (fragile._folder / "postgres/data").stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        scratch.chmod(0o755)
        with psycopg.connect(fragile.dsn, autocommit=True) as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
            admin.execute(b"CREATE DATABASE on_small_disk TABLESPACE small")
            try:
                dsn = make_conninfo(fragile.dsn, dbname="on_small_disk")
                list(migrate.migrate(dsn))
                yield Disk(scratch, dsn)
            finally:
                admin.execute(b"DROP DATABASE on_small_disk WITH (FORCE)")
                admin.execute(b"DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "--lazy", scratch], check=True)


async def test_while_the_disk_is_full_readings_are_held_and_afterwards_stored(
    disk: Disk, make_client: Make, stored: Make
) -> None:
    clients = [make_client(f"M{i}", 20_000, batch=100) for i in range(2)]
    config = IngestConfig(listen="127.0.0.1:0", postgres_dsn=disk.dsn, state_address="127.0.0.1:1")
    async with server.serving(config, lifespan) as address:
        await make_client("FIRST", 10).send_all(address)
        disk.fill()
        sending = [asyncio.create_task(client.send_all(address)) for client in clients]
        full = asyncio.create_task(_until_unchanged(lambda: sum(len(client.acked) for client in clients)))
        await asyncio.wait_for(full, 30)
        assert not any(task.done() for task in sending)
        acked = {client.name: set(client.acked) for client in clients}
        disk.free()
        found = stored(disk.dsn)
        assert all(seconds <= found.get(name, set()) for name, seconds in acked.items())
        await asyncio.wait_for(asyncio.gather(*sending), 60)
    found = stored(disk.dsn)
    assert {client.name: found[client.name] for client in clients} == {c.name: c.acked for c in clients}
    assert all(client.statuses == [grpc.StatusCode.OK] for client in clients)


async def _until_unchanged(value: Callable[[], int]) -> None:
    """Return when `value` has been the same for a second."""
    before = -1
    while before != (before := value()):
        await asyncio.sleep(1)
