"""Migrations on a real, empty database."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from wattstream import migrate
from wattstream.cli import main
from wattstream.migrate import Migration, SchemaError


@pytest.fixture
def empty(stores) -> Iterator[str]:  # type: ignore[no-untyped-def]
    name = f"empty_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(stores.postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield make_conninfo(stores.postgres_dsn, dbname=name)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def version(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(migrate.VERSION_QUERY).fetchone()
        assert row is not None
        return int(row[0])


def test_the_command_applies_all_and_then_nothing(empty: str) -> None:
    first = CliRunner().invoke(main, ["migrate", "--dsn", empty])
    newest = migrate.migrations()[-1]
    assert first.exit_code == 0
    assert first.output.splitlines() == [
        *(f"applied {step.version:04} {step.name}" for step in migrate.migrations()),
        f"the schema is at version {newest.version}",
    ]
    second = CliRunner().invoke(main, ["migrate", "--json"], env={"WATTSTREAM_POSTGRES_DSN": empty})
    assert second.exit_code == 0
    assert json.loads(second.output) == {"version": newest.version, "applied": []}
    assert version(empty) == newest.version


def test_two_at_once_take_turns_and_apply_each_migration_once(empty: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        applied = [step for done in threads.map(lambda _: list(migrate.migrate(empty)), range(4)) for step in done]
    assert applied == migrate.migrations()


def test_a_failing_migration_leaves_no_trace_and_those_before_it_stay(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Migration(1, "good", "CREATE TABLE good (n int)")
    bad = Migration(2, "bad", "CREATE TABLE half (n int); SELECT no_such_function()")
    monkeypatch.setattr(migrate, "migrations", lambda: [good, bad])
    with pytest.raises(SchemaError, match=r"migration 0002 bad failed: .*no_such_function"):
        list(migrate.migrate(empty))
    assert version(empty) == 1
    with psycopg.connect(empty) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE tablename IN ('good', 'half')").fetchall()
    assert rows == [("good",)]


def test_a_schema_that_is_newer_than_this_code_is_refused(empty: str) -> None:
    list(migrate.migrate(empty))
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'future')")
    result = CliRunner().invoke(main, ["migrate", "--dsn", empty])
    assert result.exit_code == 1
    assert "version 9999, newer than" in result.stderr


def test_a_user_who_may_not_create_anything_is_told(empty: str) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(empty, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        try:
            dsn = make_conninfo(empty, user=role, password="reader")
            result = CliRunner().invoke(main, ["migrate", "--dsn", dsn])
        finally:
            admin.execute(f"DROP ROLE {role}")
    assert result.exit_code == 1
    assert "permission denied" in result.stderr
    assert len(result.output.splitlines()) == 1
