"""Servers for tests: one PostgreSQL and one Valkey a test session, an empty database and an empty store a test.

WATTSTREAM_TEST_POSTGRES_DSN and WATTSTREAM_TEST_REDIS_URL name servers to use instead of the embedded pair. The
database user must be allowed to create databases; the Redis database is emptied before each test that uses it.
"""

import asyncio
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from wattstream import migrate


class Stores(NamedTuple):
    """Where the session's servers are."""

    postgres_dsn: str
    redis_url: str


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """Keep the tests apart from whatever the shell that runs them has configured, or runs."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="wattstream-state-") as folder:
        for name in list(os.environ):
            if name.startswith("WATTSTREAM_") and not name.startswith("WATTSTREAM_TEST_"):
                patch.delenv(name)
        patch.setenv("XDG_STATE_HOME", folder)
        yield


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Yield a folder that an unprivileged PostgreSQL can enter too (pytest's own only its owner can)."""
    with tempfile.TemporaryDirectory(prefix="wattstream-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def stores() -> Iterator[Stores]:
    """Yield the session's PostgreSQL and Valkey."""
    given = os.environ.get("WATTSTREAM_TEST_POSTGRES_DSN"), os.environ.get("WATTSTREAM_TEST_REDIS_URL")
    if given[0] and given[1]:
        yield Stores(given[0], given[1])
        return
    with _embedded_stores() as started:
        yield started


@contextmanager
def _embedded_stores() -> Iterator[Stores]:
    from wattstream import embedded

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory(prefix="wattstream-test-") as name:
        Path(name).chmod(0o755)
        context = embedded.stores(Path(name))
        started = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(60)
        try:
            yield Stores(started.postgres_dsn, started.redis_url)
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


@pytest.fixture(scope="session")
def template(stores: Stores) -> Iterator[str]:
    """Yield the name of a migrated, empty database to copy."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(stores.postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            list(migrate.migrate(make_conninfo(stores.postgres_dsn, dbname=name)))
            yield name
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(stores: Stores, template: str) -> Iterator[str]:
    """Yield the DSN of a migrated, empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(stores.postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield make_conninfo(stores.postgres_dsn, dbname=name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(stores: Stores) -> str:
    """Return the URL of an empty Redis database."""
    with redis.Redis.from_url(stores.redis_url) as client:
        client.flushdb()
    return stores.redis_url
