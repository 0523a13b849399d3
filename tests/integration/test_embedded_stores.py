"""The embedded PostgreSQL and Valkey: real ones, killed and started again."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from wattstream import embedded

DEADLINE_S = 30
STORES = """
import asyncio, sys
from pathlib import Path
from wattstream import embedded
async def main():
    async with embedded.stores(Path(sys.argv[1])) as stores:
        print(stores.postgres_dsn, stores.redis_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def answers(attempt: Callable[[], object]) -> None:
    """Return when `attempt` succeeds; a server that was killed takes its time to come back."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            attempt()
        except (psycopg.OperationalError, redis.RedisError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def store(started: embedded.Stores, value: int) -> None:
    with psycopg.connect(started.postgres_dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))
    with redis.Redis.from_url(started.redis_url) as client:
        client.rpush("kept", value)


def stored(started: embedded.Stores) -> tuple[list[int], list[int]]:
    with psycopg.connect(started.postgres_dsn) as connection:
        rows = [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n").fetchall()]
    with redis.Redis.from_url(started.redis_url) as client:
        values: list[bytes] = client.lrange("kept", 0, -1)
    return rows, [int(value) for value in values]


def process_of(data: Path, name: str) -> int:
    return int((data / "run" / f"{name}.lock").read_text().split()[0])


class Shared(NamedTuple):
    """Stores that several tests look at."""

    data: Path
    stores: embedded.Stores


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with tempfile.TemporaryDirectory(prefix="wattstream-test-") as name:
        Path(name).chmod(0o755)
        process, started = start(Path(name, "data"))
        yield Shared(Path(name, "data"), started)
        process.communicate(timeout=DEADLINE_S)


def start(data: Path) -> tuple["subprocess.Popen[str]", embedded.Stores]:
    """Run stores in a process of their own, until its input ends."""
    command = [sys.executable, "-c", STORES, str(data)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, embedded.Stores(*process.stdout.readline().split())


async def test_data_addresses_and_passwords_survive_restarts(scratch: Path) -> None:
    seen = []
    for n in (1, 2):
        async with embedded.stores(scratch / "data") as started:
            store(started, n)
            seen.append(started)
    assert seen[0] == seen[1]
    async with embedded.stores(scratch / "data") as started:
        assert stored(started) == ([1, 2], [1, 2])


def test_the_stores_are_durable_private_and_in_utc(shared: Shared) -> None:
    with psycopg.connect(shared.stores.postgres_dsn) as connection:
        names = ("fsync", "synchronous_commit", "data_checksums", "TimeZone", "listen_addresses", "server_encoding")
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in names]
    assert shown == [("on",), ("on",), ("on",), ("UTC",), ("127.0.0.1",), ("UTF8",)]
    with redis.Redis.from_url(shared.stores.redis_url) as client:
        kept = client.config_get("append*")
    assert kept["appendonly"] == "yes"
    assert kept["appendfsync"] == "everysec"


def test_only_their_user_can_read_the_passwords(shared: Shared) -> None:
    for file in ("postgres/password", "valkey/password", "valkey/valkey.conf"):
        assert stat.S_IMODE((shared.data / file).stat().st_mode) == 0o600


def test_without_the_password_nobody_gets_in(shared: Shared) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(shared.stores.postgres_dsn, password="guess")
    port = int(shared.stores.redis_url.rpartition(":")[2].partition("/")[0])
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_argument_of_a_process_holds_a_password(shared: Shared) -> None:
    for name in ("postgres", "valkey"):
        arguments = Path(f"/proc/{process_of(shared.data, name)}/cmdline").read_text()
        assert name in arguments
        assert (shared.data / name / "password").read_text() not in arguments


async def test_two_instances_run_beside_each_other(shared: Shared, scratch: Path) -> None:
    store(shared.stores, 1)
    async with embedded.stores(scratch / "data") as other:
        store(other, 2)
        assert stored(other) == ([2], [2])
    assert stored(shared.stores) == ([1], [1])


async def test_a_store_that_is_killed_comes_back_at_its_address_with_its_data(scratch: Path) -> None:
    data = scratch / "data"
    async with embedded.stores(data) as started:
        store(started, 1)
        wait_for_fsync(started)
        killed = [process_of(data, name) for name in ("postgres", "valkey")]
        for process in killed:
            os.kill(process, signal.SIGKILL)
        await asyncio.to_thread(answers, lambda: stored(started))
        store(started, 2)
        assert stored(started) == ([1, 2], [1, 2])
        assert not {process_of(data, name) for name in ("postgres", "valkey")} & set(killed)


def wait_for_fsync(started: embedded.Stores) -> None:
    with redis.Redis.from_url(started.redis_url) as client:
        client.execute_command("WAITAOF", 1, 0, 5000)


def test_what_was_stored_survives_a_killed_supervisor_and_addresses_stay(scratch: Path) -> None:
    process, started = start(scratch / "data")
    store(started, 1)
    wait_for_fsync(started)
    process.kill()
    process.communicate()
    process, again = start(scratch / "data")
    assert again == started
    assert stored(again) == ([1], [1])
    process.communicate(timeout=DEADLINE_S)


async def test_a_cluster_that_was_half_made_is_made_anew(scratch: Path) -> None:
    async with embedded.stores(scratch / "data"):
        pass
    (scratch / "data" / "postgres" / "data").rename(scratch / "data" / "postgres" / "data.new")
    async with embedded.stores(scratch / "data") as started:
        store(started, 1)
        assert stored(started) == ([1], [1])


async def test_a_lost_password_is_a_clear_error(scratch: Path) -> None:
    async with embedded.stores(scratch / "data"):
        pass
    (scratch / "data" / "postgres" / "password").unlink()
    with pytest.raises(embedded.EmbeddedError, match="the database has lost its password"):
        async with embedded.stores(scratch / "data"):
            pass


async def test_servers_that_the_environment_names_are_used_each_by_itself(scratch: Path) -> None:
    async with embedded.stores(scratch / "data", {"WATTSTREAM_POSTGRES_DSN": "postgresql://h/d"}) as started:
        assert started.postgres_dsn == "postgresql://h/d"
        assert started.redis_url.startswith("redis://:")
        assert not (scratch / "data" / "postgres").exists()
