"""`wattstream up` with the PostgreSQL and the Redis that Debian packages, where they are installed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import redis

from wattstream.embedded import account, ports, supervisor
from wattstream.embedded.folder import claimed
from wattstream.embedded.programs import Program

DEADLINE_S = 60
WATTSTREAM = [sys.executable, "-c", "from wattstream.cli import main; main()"]
INITDB = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
REDIS = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(not (INITDB and REDIS), reason="Debian's PostgreSQL and Redis are not installed")


class Servers(NamedTuple):
    """Where Debian's servers run."""

    postgres: str
    redis: str


@pytest.fixture
async def debian(scratch: Path) -> AsyncIterator[Servers]:
    """Run Debian's servers under our supervisor."""
    with claimed(scratch / "debian") as home, ports.reserved(home, "pg") as pg, ports.reserved(home, "redis") as rd:
        servers = Servers(f"postgresql://debian@127.0.0.1:{pg}/postgres", f"redis://127.0.0.1:{rd}/0")
        initdb, postgres = postgres_programs(scratch / "pgdata", servers.postgres, pg)
        await supervisor.run(initdb, home)
        async with supervisor.running(postgres, home), supervisor.running(redis_program(scratch, servers, rd), home):
            yield servers


def postgres_programs(data: Path, dsn: str, port: int) -> tuple[Program, Program]:
    user = account.choose(data)
    account.make_reachable_folder(data, user)

    async def is_ready() -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def program(name: str, *arguments: str) -> Program:
        argv = (str(INITDB[-1].with_name(name)), "-D", str(data), *arguments)
        return Program(name, argv, {}, Path("/"), user, signal.SIGINT, is_ready=is_ready)

    listen = ("-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
    return program("initdb", "-U", "debian", "-E", "UTF8", "--locale=C", "-A", "trust"), program("postgres", *listen)


def redis_program(folder: Path, servers: Servers, port: int) -> Program:
    async def is_ready() -> bool:
        try:
            with redis.Redis.from_url(servers.redis, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    return Program("redis", (str(REDIS), "--port", str(port), "--bind", "127.0.0.1"), {}, folder, is_ready=is_ready)


def test_the_check_figures_come_out_with_debians_servers(debian: Servers, scratch: Path) -> None:
    with psycopg.connect(debian.postgres) as connection:
        assert connection.info.server_version // 10000 == int(INITDB[-1].parts[-3])
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_")}
    named = {"WATTSTREAM_POSTGRES_DSN": debian.postgres, "WATTSTREAM_REDIS_URL": debian.redis}
    env = {**ours, "XDG_STATE_HOME": str(scratch)}
    command = [*WATTSTREAM, "up", "--data-dir", str(scratch / "data")]
    up = subprocess.Popen(command, env={**env, **named}, stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout
        addresses = json.loads(up.stdout.readline())
        assert (addresses["postgres"], addresses["redis"]) == debian
        subprocess.run([*WATTSTREAM, "seed"], env=env, check=True, capture_output=True, timeout=DEADLINE_S)
        window = ["--start", "2026-02-10T14:47Z", "--end", "2026-02-10T14:57Z"]
        answer = subprocess.run(
            [*WATTSTREAM, "performance", "V1", *window, "--json"],
            env=env,
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        assert re.search(r"0\.90096316447320", answer.stdout)
    finally:
        up.send_signal(signal.SIGTERM)
        up.communicate(timeout=DEADLINE_S)
    assert up.returncode == 0
