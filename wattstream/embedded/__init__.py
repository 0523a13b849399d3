"""Everything that wattstream needs, run on this machine without set-up: PostgreSQL, Valkey and the services."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from wattstream import instances, migrate
from wattstream.embedded import folder, locks, postgres, services, valkey
from wattstream.embedded.folder import EmbeddedError
from wattstream.embedded.signals import run
from wattstream.instances import Instance

__all__ = ["EmbeddedError", "Stores", "default_data_dir", "instance", "run", "stores"]

default_data_dir = folder.default


@dataclass(frozen=True)
class Stores:
    """Where the stores are, passwords included."""

    postgres_dsn: str
    redis_url: str


@asynccontextmanager
async def stores(path: Path, environ: Mapping[str, str] | None = None) -> AsyncIterator[Stores]:
    """Run PostgreSQL and Valkey with their data in the folder `path`, which is made where there is none.

    The database is not migrated. Both survive kill -9 with their data, and are started again when they die. A server
    that `environ` names, by WATTSTREAM_POSTGRES_DSN or WATTSTREAM_REDIS_URL, is used in place of ours.

    Raises:
        EmbeddedError: the folder is in use, or a store does not start; the message says why.
    """
    with folder.claimed(path) as home:
        async with _stores(home, environ or {}) as found:
            yield found


@asynccontextmanager
async def instance(
    data_dir: Path, *, ports: Mapping[str, int | None] | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Instance]:
    """Run all of wattstream with its data in `data_dir`: the stores, migrated, and the three services, ready.

    It is found by `wattstream.instances` while it runs.

    Args:
        data_dir: made where there is none.
        ports: ports to listen on, of `ingest`, `state` and `analytics`; where none is given a free one is used, the
            same as the last time if possible.
        environ: what the services are configured by, os.environ if None; the stores that it names, if any, are used in
            place of ours.

    Raises:
        EmbeddedError: the folder is in use, or something does not start; the message says why.
    """
    environ = os.environ if environ is None else environ
    with folder.claimed(data_dir) as home:
        async with _stores(home, environ) as found:
            await asyncio.to_thread(_migrate, found.postgres_dsn)
            addressed = {
                **environ,
                "WATTSTREAM_POSTGRES_DSN": found.postgres_dsn,
                "WATTSTREAM_REDIS_URL": found.redis_url,
            }
            async with services.running(home, addressed, ports or {}) as addresses:
                whole = Instance(
                    home.path, os.getpid(), **addresses, postgres=found.postgres_dsn, redis=found.redis_url
                )
                home.tell({"pid": whole.pid, **whole.addresses()})
                with instances.registered(whole):
                    yield whole


@asynccontextmanager
async def _stores(home: folder.Home, environ: Mapping[str, str]) -> AsyncIterator[Stores]:
    await locks.clear_all(home)
    async with AsyncExitStack() as stack:
        dsn = environ.get("WATTSTREAM_POSTGRES_DSN", "")
        if not dsn:
            dsn = await stack.enter_async_context(postgres.running(home))
        url = environ.get("WATTSTREAM_REDIS_URL", "")
        if not url:
            url = await stack.enter_async_context(valkey.running(home))
        yield Stores(dsn, url)


def _migrate(dsn: str) -> None:
    try:
        list(migrate.migrate(dsn))
    except (migrate.SchemaError, psycopg.Error) as error:
        raise EmbeddedError(f"the database cannot be migrated: {error}") from None
