"""Finding the instances that run on this machine."""

import stat
from pathlib import Path

import pytest

from wattstream import instances
from wattstream.instances import Instance


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "wattstream" / "instances"


def instance(name: str) -> Instance:
    return Instance(Path("/data", name), 1, "h:1", "h:2", "h:3", "postgresql://u:p@h:4/d", "redis://:p@h:5/0")


def test_instances_are_found_while_they_run() -> None:
    with instances.registered(instance("b")), instances.registered(instance("a")):
        assert instances.running() == [instance("a"), instance("b")]
    assert instances.running() == []


def test_what_a_killed_instance_left_is_not_found_and_is_removed(state_home: Path) -> None:
    with instances.registered(instance("a")):
        (file,) = state_home.iterdir()
        (state_home / "killed.json").write_text(file.read_text())
        assert instances.running() == [instance("a")]
        assert list(state_home.iterdir()) == [file]


def test_only_their_user_can_read_the_passwords(state_home: Path) -> None:
    with instances.registered(instance("a")):
        (file,) = state_home.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_instance_that_another_version_tells_of_is_passed_over(state_home: Path) -> None:
    with instances.registered(instance("a")):
        (file,) = state_home.iterdir()
        file.write_text('{"data_dir": "/data/a", "something": "else"}')
        assert instances.running() == []


def test_where_nothing_was_ever_started_nothing_runs() -> None:
    assert instances.running() == []


def test_an_instance_runs_where_it_cannot_be_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with instances.registered(instance("a")):
        assert instances.running() == []
