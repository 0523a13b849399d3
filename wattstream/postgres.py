"""Connections to PostgreSQL: one pool a service, opened on a schema of the right version."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from wattstream import logs, migrate
from wattstream.server import StartError

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

_CONNECT_TIMEOUT_S = 5
_RETRY_S = 1.0
_CLOSE_WITHIN_S = 1
# A server that is gone without a word is found out in about half a minute, also by who waits for its answer.
_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}

log = logs.get()


@asynccontextmanager
async def open_pool(  # noqa: PLR0913 - keyword-only, one a property of the connections
    dsn: str,
    *,
    name: str,
    size: int,
    statement_timeout_s: float,
    autocommit: bool = False,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Pool]:
    """Open a pool of at most `size` connections, waiting for as long as PostgreSQL is away.

    Every session is in UTC, without JIT (it costs more than it saves on questions of milliseconds), and gives up a
    statement after `statement_timeout_s`; `settings` are set besides. Taking a connection fails with PoolTimeout after
    5 seconds. With `autocommit`, a statement outside of `connection.transaction()` is a transaction of its own.

    Raises:
        StartError: the schema is too old or too new; the message says what to run.
    """
    fixed = {
        "TimeZone": "UTC",
        "jit": "off",
        "default_transaction_isolation": "read committed",  # who writes history has to see what was written before it
        "statement_timeout": str(round(statement_timeout_s * 1000)),
    }

    async def configure(connection: AsyncConnection[tuple[Any, ...]]) -> None:
        await connection.set_autocommit(True)
        for setting in {**fixed, **(settings or {})}.items():
            await connection.execute("SELECT set_config(%s, %s, false)", setting)
        await connection.set_autocommit(autocommit)

    pool: Pool = AsyncConnectionPool(
        dsn,
        min_size=1,
        max_size=size,
        timeout=_CONNECT_TIMEOUT_S,
        reconnect_timeout=_CONNECT_TIMEOUT_S,
        configure=configure,
        kwargs={"application_name": f"wattstream {name}", "connect_timeout": _CONNECT_TIMEOUT_S, **_KEEPALIVE},
        open=False,
    )
    await pool.open()
    try:
        await _check_schema(pool)
        yield pool
    finally:
        await pool.close(timeout=_CLOSE_WITHIN_S)


async def check(pool: Pool) -> None:
    """Raise if PostgreSQL does not answer."""
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")


async def _check_schema(pool: Pool) -> None:
    while True:
        try:
            async with pool.connection() as connection:
                cursor = await connection.execute(migrate.VERSION_QUERY)
                row = await cursor.fetchone()
            break
        except psycopg.errors.UndefinedTable:
            row = None
            break
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("waiting for PostgreSQL", error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)
    problem = migrate.schema_problem(row[0] if row and row[0] is not None else 0)
    if problem:
        raise StartError(problem)
