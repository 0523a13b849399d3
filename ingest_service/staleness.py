"""Notes which rollups a change of history or of assignments puts out of date, in the transaction that makes the change.

What has to be kept to, and why it is enough, is told in the migration that makes the rollups.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from ingest_service.grouping import hours_before
from ingest_service.readings import Ints, KeyedRows, Kind
from wattstream.resources import read

Connection = AsyncConnection[tuple[Any, ...]]

_ENTER_HISTORY = read("ingest_service.sql", "enter_history.sql")
_MARK_STALE = read("ingest_service.sql", "mark_stale.sql")
_MARK_STALE_ASSIGNMENT = read("ingest_service.sql", "mark_stale_assignment.sql")


async def enter(connection: Connection) -> datetime:
    """Enter the transaction as one that changes history; return from when on nothing has to be noted, a whole hour.

    To be done before anything else in the transaction.
    """
    cursor = await connection.execute(_ENTER_HISTORY)
    [[entered]] = await cursor.fetchall()
    log_from: datetime = entered
    return log_from


async def note(connection: Connection, stored: Mapping[Kind, KeyedRows], entered: datetime) -> None:
    """Note what the rows that are stored put out of date; costs nothing where all are as new as `entered`."""
    hours = hours_before(stored, int(entered.timestamp()) * 1_000_000)
    if len(hours):
        columns = zip(("vehicle_keys", "meter_keys", "hours"), map(_array, hours.T), strict=True)
        await connection.execute(_MARK_STALE, dict(columns))


def _array(numbers: Ints) -> str:
    """Return numbers as PostgreSQL writes an array: psycopg takes several times as long for a list."""
    return "{" + ",".join(map(str, numbers.tolist())) + "}"


async def note_assignment(  # noqa: PLR0913, PLR0917 - what the statement needs
    connection: Connection,
    vehicle_key: int,
    meter_key: int,
    since: datetime,
    until: datetime | None,
    entered: datetime,
) -> None:
    """Note what is out of date now that a vehicle has, or no longer has, a meter for [since, until); None is no end."""
    parameters = {
        "vehicle_key": vehicle_key,
        "meter_key": meter_key,
        "since": since,
        "until": until,
        "entered": entered,
    }
    await connection.execute(_MARK_STALE_ASSIGNMENT, parameters)
