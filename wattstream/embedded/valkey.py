"""Valkey for one machine: appends every change to a file, flushed every second, and answers to a password."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis

from wattstream.embedded import folder, ports, supervisor, wheels
from wattstream.embedded.environment import plain
from wattstream.embedded.folder import Home
from wattstream.embedded.programs import Program
from wattstream.redis import connect

_SETTINGS = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir ./
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
always-show-logo no
"""


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[str]:
    """Run Valkey with its data in `home` and yield its URL, password included.

    Raises:
        EmbeddedError: it does not start.
    """
    data = home.path / "valkey"
    folder.make(data, folder.PRIVATE)
    password = _password(data / "password")
    with ports.reserved(home, "valkey") as port:
        settings = data / "valkey.conf"
        folder.write_private(settings, _SETTINGS.format(port=port, password=password))
        url = f"redis://:{password}@{ports.HOST}:{port}/0"
        program = Program(
            name="valkey",
            argv=(str(wheels.valkey()), settings.name),
            env=plain(),
            cwd=data,
            is_ready=lambda: _answers(url),
        )
        async with supervisor.running(program, home):
            yield url


def _password(path: Path) -> str:
    if not path.exists():
        folder.write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8")


async def _answers(url: str) -> bool:
    client = connect(url, max_connections=1)
    try:
        return bool(await client.ping())
    except redis.RedisError:
        return False
    finally:
        await client.aclose()
