"""PostgreSQL does not run as root: whom it runs as instead, and what that user can reach."""

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from wattstream import logs
from wattstream.embedded import folder
from wattstream.embedded.folder import EmbeddedError
from wattstream.embedded.programs import Account
from wattstream.embedded.wheels import Postgres

_CHECK_DEADLINE_S = 30

log = logs.get()


def choose(data: Path) -> Account | None:
    """Return whom PostgreSQL runs as with its data in `data`; None: as we do, since we are not root.

    Raises:
        EmbeddedError: we are root and there is nobody else.
    """
    if os.geteuid() != 0:
        return None
    if data.exists():
        owner = data.stat().st_uid
        try:
            entry = pwd.getpwuid(owner)
        except KeyError:
            raise EmbeddedError(f"{data} belongs to user {owner}, who has no entry in /etc/passwd") from None
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")


def make_reachable_folder(place: Path, account: Account | None) -> None:
    """Make a folder for `account` at `place`, or, where it could not get there, elsewhere with a link to it."""
    if account is None:
        folder.make(place, folder.PRIVATE)
        return
    place.mkdir(mode=folder.PRIVATE, exist_ok=True)
    os.chown(place, account.uid, account.gid)
    if can_enter(place, account):
        return
    shutil.rmtree(place)
    elsewhere = folder.SYSTEM_ROOT / "data"
    folder.make(elsewhere, folder.PASSABLE)
    target = Path(tempfile.mkdtemp(prefix=f"{place.parent.name}-", dir=elsewhere))
    os.chown(target, account.uid, account.gid)
    if not can_enter(target, account):
        raise EmbeddedError(f"PostgreSQL runs as {account.name}, who can enter neither {place.parent} nor {target}")
    place.symlink_to(target)
    log.warning(
        "the database lies elsewhere: its user cannot enter the data folder",
        user=account.name,
        data_folder=str(place.parent),
        database=str(target),
    )


def can_enter(place: Path, account: Account) -> bool:
    """Say whether `account` can enter the folder that `place` is or points to."""
    return _succeeds([shutil.which("test") or "/bin/test", "-x", str(place.resolve())], account)


def reachable_programs(installed: Postgres, account: Account | None) -> Path:
    """Return the folder of PostgreSQL's programs: the installed one, or a copy where `account` cannot reach that.

    Raises:
        EmbeddedError: the copy cannot be reached either.
    """
    if account is None or _can_run(installed, account):
        return installed.bin
    # Keyed by where it comes from too: the same version may be built differently.
    origin = hashlib.sha256(os.fsencode(installed.site)).hexdigest()[:8]
    copy = Postgres(installed.version, folder.SYSTEM_ROOT / "runtime" / f"postgres-{installed.version}-{origin}")
    if not copy.site.exists():
        _copy(installed, copy.site)
    if not _can_run(copy, account):
        raise EmbeddedError(f"PostgreSQL runs as {account.name}, who cannot run {copy.bin / 'postgres'}")
    return copy.bin


def _copy(installed: Postgres, target: Path) -> None:
    folder.make(target.parent, folder.PASSABLE)
    with tempfile.TemporaryDirectory(dir=target.parent) as partial:
        whole = Path(partial, "whole")
        for part in installed.parts:
            if (installed.site / part).exists():
                shutil.copytree(
                    installed.site / part,
                    whole / part,
                    ignore=shutil.ignore_patterns("include", "*.a"),
                    symlinks=True,
                )
        for place in (whole, *whole.rglob("*")):
            if not place.is_symlink():
                place.chmod(0o755 if place.is_dir() or os.access(place, os.X_OK) else 0o644)
        try:
            whole.rename(target)
        except OSError:
            if not target.exists():  # else another instance was faster
                raise
    log.info("PostgreSQL's programs are copied to where their user can reach them", folder=str(target))


def _can_run(installed: Postgres, account: Account) -> bool:
    return _succeeds([str(installed.bin / "postgres"), "--version"], account)


def _succeeds(argv: list[str], account: Account) -> bool:
    try:
        done = subprocess.run(
            argv,
            cwd="/",
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CHECK_DEADLINE_S,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
