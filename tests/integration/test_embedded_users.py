"""Whom the embedded PostgreSQL runs as, started by root or an ordinary user, and what those users can reach."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import psycopg
import pytest

from wattstream import embedded
from wattstream.embedded import account, folder, wheels

DEADLINE_S = 30
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
STORES = """
import asyncio, sys
from pathlib import Path
from wattstream import embedded
async def main():
    async with embedded.stores(Path(sys.argv[1])) as stores:
        print(stores.postgres_dsn, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


def store(dsn: str, value: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def stored(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n").fetchall()]


def server_of(data: Path) -> Path:
    """Return what /proc knows of the running PostgreSQL."""
    return Path("/proc", (data / "run" / "postgres.lock").read_text().split()[0])


@pytest.fixture
def system_root(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for /var/lib/wattstream."""
    monkeypatch.setattr(folder, "SYSTEM_ROOT", scratch / "system")
    return scratch / "system"


async def test_postgresql_runs_as_the_user_to_whom_its_data_belongs(scratch: Path) -> None:
    data = scratch / "data"
    async with embedded.stores(data) as started:
        owner = (data / "postgres" / "data").stat().st_uid
        assert pwd.getpwuid(owner).pw_name in ("postgres", "nobody")
        assert server_of(data).stat().st_uid == owner
        store(started.postgres_dsn, 1)
    nobody = pwd.getpwnam("nobody")
    for place in ((data / "postgres"), *(data / "postgres").rglob("*")):
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
    async with embedded.stores(data) as started:
        assert server_of(data).stat().st_uid == nobody.pw_uid
        assert stored(started.postgres_dsn) == [1]


async def test_data_in_a_folder_that_only_root_enters_lies_elsewhere(scratch: Path, system_root: Path) -> None:
    closed = scratch / "closed"
    closed.mkdir(mode=0o700)
    for n in (1, 2):
        async with embedded.stores(closed / "data") as started:
            store(started.postgres_dsn, n)
    place = closed / "data" / "postgres"
    assert place.is_symlink()
    assert place.resolve().parent == system_root / "data"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    async with embedded.stores(closed / "data") as started:
        assert stored(started.postgres_dsn) == [1, 2]
    target = place.resolve()
    (target / "data").rename(target / "data.new")  # as if it had been killed while it was made
    async with embedded.stores(closed / "data") as started:
        store(started.postgres_dsn, 3)
    assert place.resolve() == target


async def test_the_programs_of_a_checkout_that_only_root_enters_are_copied_once(
    scratch: Path, system_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = wheels.postgres()
    closed = scratch / "checkout"
    closed.mkdir(mode=0o700)
    for part in installed.parts:
        shutil.copytree(installed.site / part, closed / part, ignore=shutil.ignore_patterns("*.a"))
    monkeypatch.setattr(wheels, "postgres", lambda: installed._replace(site=closed))
    for n in (1, 2):
        async with embedded.stores(scratch / "data") as started:
            store(started.postgres_dsn, n)
            program = (server_of(scratch / "data") / "exe").resolve()
            assert program.is_relative_to(system_root / "runtime")
        copies = list((system_root / "runtime").iterdir())
        monkeypatch.setattr(account, "_copy", None)
    assert len(copies) == 1
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


async def test_a_database_whose_folder_was_closed_since_is_a_clear_error(scratch: Path) -> None:
    async with embedded.stores(scratch / "parent" / "data"):
        pass
    (scratch / "parent").chmod(0o700)
    with pytest.raises(embedded.EmbeddedError, match="who cannot enter"):
        async with embedded.stores(scratch / "parent" / "data"):
            pass


def test_an_ordinary_user_needs_nothing_special(scratch: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    user: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    packages = [str(Path(embedded.__file__).parents[2]), *(word for word in sys.path if "site-packages" in word)]
    env = {
        "PYTHONPATH": ":".join(packages),
        "LD_LIBRARY_PATH": str(scratch / "python" / "lib"),
        "HOME": str(scratch),
        "PATH": os.environ["PATH"],
    }
    python = sys.executable if can_import(sys.executable, env, user) else copy_of_python(scratch / "python")
    if not can_import(python, env, user):
        pytest.skip("the packages of this Python are where an ordinary user cannot read them")
    home = scratch / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    command = [python, "-c", STORES, str(home / "data")]
    process = subprocess.Popen(
        command, env=env, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **user
    )
    assert process.stdout
    dsn = process.stdout.readline().strip()
    store(dsn, 1)
    assert stored(dsn) == [1]
    for place in (home / "data" / "postgres" / "data", home / "data" / "valkey"):
        assert place.stat().st_uid == nobody.pw_uid
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    process.communicate(timeout=DEADLINE_S)


def can_import(python: str, env: dict[str, str], user: dict[str, Any]) -> bool:
    attempt = [python, "-c", "import wattstream.embedded"]
    try:
        return subprocess.run(attempt, env=env, cwd="/", check=False, **user).returncode == 0
    except OSError:
        return False


def copy_of_python(target: Path) -> str:
    """Copy the interpreter to where everyone can run it."""
    library = Path(os.__file__).parent
    unneeded = shutil.ignore_patterns("site-packages", "test", "idlelib", "config-*", "__pycache__")
    shutil.copytree(library, target / "lib" / library.name, ignore=unneeded)
    shared = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME"))
    if shared.suffix != ".a" and shared.exists():
        shutil.copy(shared, target / "lib")
    (target / "bin").mkdir()
    return str(shutil.copy(os.path.realpath(sys.executable), target / "bin"))
