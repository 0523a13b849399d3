"""The data folder of one instance: where things lie in it, who may enter, and that one supervisor at a time uses it."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRIVATE = 0o700
PASSABLE = 0o711  # another user may pass through to what is theirs, and see nothing on the way
SYSTEM_ROOT = Path("/var/lib/wattstream")


class EmbeddedError(Exception):
    """Something cannot be run on this machine; the message says what, and what to do where that is known."""


@dataclass(frozen=True)
class Home:
    """A data folder in use by this process."""

    path: Path

    @property
    def run(self) -> Path:
        """Locks and ports: what only says how things run now."""
        return self.path / "run"

    @property
    def log(self) -> Path:
        """One log a program."""
        return self.path / "log"

    def tell(self, about: Mapping[str, Any]) -> None:
        """Leave word for whoever finds the folder in use."""
        write_private(self.run / "supervisor.json", json.dumps(dict(about)))


def default(environ: Mapping[str, str]) -> Path:
    """Return the data folder of a user who names none.

    Raises:
        EmbeddedError: the user has no home folder.
    """
    if os.geteuid() == 0:
        return SYSTEM_ROOT / "default"
    if environ.get("XDG_DATA_HOME"):
        return Path(environ["XDG_DATA_HOME"]) / "wattstream"
    try:
        return Path.home() / ".local" / "share" / "wattstream"
    except RuntimeError:
        raise EmbeddedError("there is no home folder; say where the data goes with --data-dir") from None


@contextmanager
def claimed(path: Path) -> Iterator[Home]:
    """Make the data folder at `path` where there is none, and keep other supervisors off it.

    Raises:
        EmbeddedError: another supervisor uses it, or it cannot be written.
    """
    home = Home(path.absolute())
    try:
        make(home.path, PASSABLE if os.geteuid() == 0 else PRIVATE)
        make(home.run, PRIVATE)
        make(home.log, PRIVATE)
        lock = os.open(home.run / "supervisor", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(f"the data folder cannot be used: {error}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise EmbeddedError(_in_use(home)) from None
    try:
        home.tell({"pid": os.getpid()})
        yield home
    finally:
        (home.run / "supervisor.json").unlink(missing_ok=True)
        os.close(lock)


def make(folder: Path, mode: int) -> None:
    """Make `folder` and the parents that are missing, with `mode` whatever the umask; what is there stays as it is."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        place.chmod(mode)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.rename(path)


def _in_use(home: Home) -> str:
    try:
        about = json.loads((home.run / "supervisor.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = {}
    services = [f"{name} {about[name]}" for name in ("ingest", "state", "analytics") if name in about]
    where = f"; its services: {', '.join(services)}" if services else ""
    return f"the data folder {home.path} is in use by process {about.get('pid', '(unknown)')}{where}"
