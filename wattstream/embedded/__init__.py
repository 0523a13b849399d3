"""Everything that wattstream needs, run on this machine without set-up: PostgreSQL, Valkey and the services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from wattstream.embedded import folder, locks, postgres, valkey
from wattstream.embedded.folder import EmbeddedError

__all__ = ["EmbeddedError", "Stores", "stores"]


@dataclass(frozen=True)
class Stores:
    """Where the stores are, passwords included."""

    postgres_dsn: str
    redis_url: str


@asynccontextmanager
async def stores(path: Path) -> AsyncIterator[Stores]:
    """Run PostgreSQL and Valkey with their data in the folder `path`, which is made where there is none.

    The database is not migrated. Both survive kill -9 with their data, and are started again when they die.

    Raises:
        EmbeddedError: the folder is in use, or a store does not start; the message says why.
    """
    with folder.claimed(path) as home:
        await locks.clear_all(home)
        async with postgres.running(home) as dsn, valkey.running(home) as url:
            yield Stores(dsn, url)
