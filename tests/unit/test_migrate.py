"""The schema's versions, and how `wattstream migrate` finds its database and fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from wattstream import instances, migrate
from wattstream.cli import main
from wattstream.instances import Instance


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(main, ["migrate", *arguments])


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [step.version for step in migrate.migrations()] == list(range(1, len(migrate.migrations()) + 1))


@given(st.integers(min_value=0, max_value=99))
def test_only_the_version_of_this_code_has_no_problem(version: int) -> None:
    needed = migrate.migrations()[-1].version
    problem = migrate.schema_problem(version)
    if version == needed:
        assert problem is None
    elif version < needed:
        assert problem is not None
        assert "run `wattstream migrate`" in problem
    else:
        assert problem is not None
        assert "upgrade wattstream" in problem


def test_without_any_database_it_says_how_to_name_one(run: Callable[..., Result]) -> None:
    result = run()
    assert result.exit_code == 2
    assert "--dsn or WATTSTREAM_POSTGRES_DSN, or run `wattstream up`" in result.stderr


def test_with_several_instances_it_does_not_choose(run: Callable[..., Result]) -> None:
    def instance(name: str) -> Instance:
        return Instance(Path(name), 1, "h:1", "h:2", "h:3", "postgresql://h/d", "redis://h")

    with instances.registered(instance("/data/a")), instances.registered(instance("/data/b")):
        result = run()
    assert result.exit_code == 2
    assert "/data/a, /data/b" in result.stderr


def test_a_database_that_is_away_is_one_clear_line(run: Callable[..., Result]) -> None:
    result = run("--dsn", "postgresql://user:secret@127.0.0.1:1/nothing")
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: the database cannot be reached: ")
    assert "secret" not in result.output
    assert len(result.output.splitlines()) == 1


def test_a_dsn_that_is_none_is_one_clear_line(run: Callable[..., Result]) -> None:
    result = run("--dsn", "nonsense")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
