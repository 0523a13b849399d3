"""Appends sorted rows to history: straight in by COPY, or through staging where some may be there already.

Either notes which rollups are out of date by that, in the same transaction.
"""

from collections.abc import Mapping

import numpy as np

from ingest_service import staleness
from ingest_service.copy_format import copy_bytes
from ingest_service.grouping import matching
from ingest_service.readings import KINDS, Bools, KeyedRows, Kind
from ingest_service.staleness import Connection
from wattstream.resources import read


def _statements(name: str) -> dict[Kind, str]:
    return {kind: read("ingest_service.sql", f"{name}_{kind.name}.sql") for kind in KINDS}


_COPY = _statements("copy")
_STAGE = _statements("stage")
_COPY_STAGED = _statements("copy_staged")
_INSERT_STAGED = _statements("insert_staged")


async def append_new(connection: Connection, rows: Mapping[Kind, KeyedRows]) -> dict[Kind, Bools]:
    """Append rows none of which is there yet, in one transaction; return which they were: all.

    Raises:
        psycopg.DatabaseError: a row is there already, or the database cannot store them; nothing was stored.
    """
    async with connection.transaction():
        entered = await staleness.enter(connection)
        for kind, of_kind in rows.items():
            if len(of_kind):
                await _copy(connection, _COPY[kind], of_kind)
        await staleness.note(connection, rows, entered)
    return {kind: np.ones(len(of_kind), np.bool_) for kind, of_kind in rows.items()}


async def append_any(connection: Connection, rows: Mapping[Kind, KeyedRows]) -> dict[Kind, Bools]:
    """Append those rows that are not there yet, in one transaction; return which they were.

    Raises:
        psycopg.DatabaseError: the database cannot store them; nothing was stored.
    """
    stored = {kind: np.zeros(len(of_kind), np.bool_) for kind, of_kind in rows.items()}
    async with connection.transaction():
        entered = await staleness.enter(connection)
        for kind, of_kind in rows.items():
            if len(of_kind):
                await connection.execute(_STAGE[kind])
                await _copy(connection, _COPY_STAGED[kind], of_kind)
                cursor = await connection.execute(_INSERT_STAGED[kind])
                stored[kind] = matching(of_kind, await cursor.fetchall())
        await staleness.note(connection, {kind: rows[kind].take(stored[kind]) for kind in rows}, entered)
    return stored


async def _copy(connection: Connection, statement: str, rows: KeyedRows) -> None:
    async with connection.cursor().copy(statement) as copy:
        await copy.write(copy_bytes(rows))
