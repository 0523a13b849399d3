"""Appends sorted rows to history: straight in by COPY, or through staging where some may be there already."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from ingest_service.copy_format import copy_bytes
from ingest_service.grouping import matching
from ingest_service.readings import KINDS, Bools, KeyedRows, Kind
from wattstream.resources import read

Connection = AsyncConnection[tuple[Any, ...]]


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
        for kind, of_kind in rows.items():
            if len(of_kind):
                await _copy(connection, _COPY[kind], of_kind)
    return {kind: np.ones(len(of_kind), np.bool_) for kind, of_kind in rows.items()}


async def append_any(connection: Connection, rows: Mapping[Kind, KeyedRows]) -> dict[Kind, Bools]:
    """Append those rows that are not there yet, in one transaction; return which they were.

    Raises:
        psycopg.DatabaseError: the database cannot store them; nothing was stored.
    """
    stored = {kind: np.zeros(len(of_kind), np.bool_) for kind, of_kind in rows.items()}
    async with connection.transaction():
        for kind, of_kind in rows.items():
            if len(of_kind):
                await connection.execute(_STAGE[kind])
                await _copy(connection, _COPY_STAGED[kind], of_kind)
                cursor = await connection.execute(_INSERT_STAGED[kind])
                stored[kind] = matching(of_kind, await cursor.fetchall())
    return stored


async def _copy(connection: Connection, statement: str, rows: KeyedRows) -> None:
    async with connection.cursor().copy(statement) as copy:
        await copy.write(copy_bytes(rows))
