"""The file of a spool: that it is one, sound, and this process's own."""

import os
import sqlite3
from pathlib import Path

from wattstream import resources

_APPLICATION_ID = 0x77617474  # "watt"
_VERSION = 1


class SpoolError(Exception):
    """The spool cannot be used; the message says why. Nothing in the file has been changed for that."""


class SpoolFullError(SpoolError):
    """The spool has no room for the readings, which have not been accepted."""


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Take a file for this process, and check that it is a sound spool, before anything is written to it."""
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if (application, tables) == (0, 0):
        for statement in resources.read("wattstream.client.sql", "schema.sql").split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={_VERSION}")
    elif (application, version) != (_APPLICATION_ID, _VERSION):
        raise SpoolError(f"{path} is not a spool of this version")
    connection.execute("COMMIT")
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise SpoolError(f"{path} is damaged: {found}; move it away to begin anew")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: a plain fsync leaves the data in the drive's own memory
    connection.execute("PRAGMA journal_size_limit=4194304")
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the entry of a new file durable."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
