"""The instances that `wattstream up` runs on this machine for this user, and where they are."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from wattstream import logs

log = logs.get()


@dataclass(frozen=True)
class Instance:
    """A running instance: whose data and process it is, the services as host:port, the stores with their passwords."""

    data_dir: Path
    pid: int
    ingest: str
    state: str
    analytics: str
    postgres: str
    redis: str

    def addresses(self) -> dict[str, str]:
        """Return every address by what is there."""
        return {name: getattr(self, name) for name in ("ingest", "state", "analytics", "postgres", "redis")}


@contextmanager
def registered(instance: Instance) -> Iterator[None]:
    """Let `running` find `instance` for as long as this process is inside; where that cannot be, it is logged."""
    try:
        path, descriptor = _write(instance)
    except (OSError, RuntimeError) as error:
        log.warning("other commands will not find this instance by themselves", reason=str(error))
        yield
        return
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def running() -> list[Instance]:
    """Return the instances that run now, by data folder. What is left of those that were killed is removed."""
    try:
        files = list(_folder().glob("*.json"))
    except (OSError, RuntimeError):
        return []
    found = (_read(file) for file in files)
    return sorted((instance for instance in found if instance), key=lambda instance: instance.data_dir)


def _folder() -> Path:
    given = os.environ.get("XDG_STATE_HOME")
    return (Path(given) if given else Path.home() / ".local" / "state") / "wattstream" / "instances"


def _write(instance: Instance) -> tuple[Path, int]:
    """Write the file of `instance`, locked before it has the name that it is looked for by."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder)  # readable by this user alone
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, json.dumps({**asdict(instance), "data_dir": str(instance.data_dir)}).encode())
    return Path(name).rename(name + ".json"), descriptor


def _read(file: Path) -> Instance | None:
    """Return the instance that `file` tells of, or None, and no file, if that has ended."""
    with contextlib.suppress(FileNotFoundError), file.open(encoding="utf-8") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _parse(opened.read())
        file.unlink()
    return None


def _parse(text: str) -> Instance | None:
    with contextlib.suppress(ValueError, TypeError):  # another version may have written it
        fields = json.loads(text)
        return Instance(**{**fields, "data_dir": Path(fields["data_dir"])})
    return None
