"""Brings the database schema up to date: numbered SQL files, applied in order, each in one transaction."""

from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

import psycopg

VERSION_QUERY = "SELECT max(version) FROM schema_migrations"
_LOCK_KEY = 0x77617474  # "watt"; any fixed number does, as long as nothing else in the database uses it


class Migration(NamedTuple):
    """A numbered step of the schema."""

    version: int
    name: str
    sql: str


class SchemaError(Exception):
    """The database cannot be migrated; the message says why."""


def migrations() -> list[Migration]:
    """Return all migrations in order."""
    found = (file for file in files("wattstream.migrations").iterdir() if file.name.endswith(".sql"))
    steps = (Migration(int(file.name[:4]), file.name[5:-4], file.read_text(encoding="utf-8")) for file in found)
    return sorted(steps)


def schema_problem(version: int) -> str | None:
    """Return what is wrong with a database at `version` (0: never migrated), or None if it is the one we need."""
    needed = migrations()[-1].version
    if version < needed:
        return f"the database schema is at version {version}, older than {needed}: run `wattstream migrate`"
    if version > needed:
        return f"the database schema is at version {version}, newer than {needed}: upgrade wattstream"
    return None


def migrate(dsn: str) -> Iterator[Migration]:
    """Apply what is missing, yielding each migration after its commit. Two at once take turns.

    Raises:
        SchemaError: the schema is newer than this code, or a migration failed (and left no trace).
        psycopg.OperationalError: the database is away.
    """
    with psycopg.connect(dsn, autocommit=True, application_name="wattstream migrate", connect_timeout=5) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations ("
            "version int PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        row = connection.execute(VERSION_QUERY).fetchone()
        current: int = (row[0] if row else None) or 0
        steps = migrations()
        if current > steps[-1].version:
            raise SchemaError(str(schema_problem(current)))
        for step in steps:
            if step.version > current:
                _apply(connection, step)
                yield step


def _apply(connection: psycopg.Connection[tuple[object, ...]], step: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(step.sql.encode())
            connection.execute(
                "INSERT INTO schema_migrations (version, name) VALUES (%s, %s)", (step.version, step.name)
            )
    except psycopg.DatabaseError as error:
        if isinstance(error, psycopg.OperationalError):
            raise
        raise SchemaError(f"migration {step.version:04} {step.name} failed: {error}") from error
