"""The data folder: where it is, who may enter, and that only one supervisor uses it."""

import os
import stat
from pathlib import Path

import pytest

from wattstream.embedded import folder
from wattstream.embedded.folder import EmbeddedError, claimed


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_that_is_in_use_says_by_which_process_and_where_its_services_are(tmp_path: Path) -> None:
    with claimed(tmp_path) as home:
        home.tell({"pid": 4711, "ingest": "127.0.0.1:1", "state": "127.0.0.1:2", "analytics": "127.0.0.1:3"})
        with pytest.raises(EmbeddedError) as refused, claimed(tmp_path):
            pass
    assert str(refused.value) == (
        f"the data folder {tmp_path} is in use by process 4711;"
        " its services: ingest 127.0.0.1:1, state 127.0.0.1:2, analytics 127.0.0.1:3"
    )


def test_a_folder_that_is_in_use_and_starting_names_the_process(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}$"), claimed(tmp_path):
        pass


def test_a_folder_can_be_used_again_after_its_user_has_left(tmp_path: Path) -> None:
    for _ in range(2):
        with claimed(tmp_path):
            pass


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"data folder cannot be used: .*file"), claimed(tmp_path / "file" / "data"):
        pass


def test_what_is_inside_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        with claimed(tmp_path / "new" / "data") as home:
            home.tell({"password": "secret"})
            assert mode(home.run) == mode(home.log) == 0o700
            assert mode(home.run / "supervisor.json") == 0o600
            assert mode(home.path) == (0o711 if os.geteuid() == 0 else 0o700)
    finally:
        os.umask(before)


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with claimed(tmp_path):
        assert mode(tmp_path) == 0o755


def test_the_default_folder_follows_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert folder.default({}) == tmp_path / ".local" / "share" / "wattstream"
    assert folder.default({"XDG_DATA_HOME": "/data"}) == Path("/data/wattstream")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert folder.default({"XDG_DATA_HOME": "/data"}) == Path("/var/lib/wattstream/default")
