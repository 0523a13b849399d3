"""Plans of the statements that answer questions, as they are executed."""

import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import psycopg
import pytest

from analytics_service import answers
from analytics_service.statements import statement
from wattstream.postgres import Pool

_EXECUTE = answers.execute
_SENT = re.compile(r"\tF\t\d+\t(?:Execute\b|Query\t \"(.*)\"$)")
HISTORY = ("vehicle_readings", "meter_readings")
ROLLUPS = ("vehicle_rollups", "meter_rollups")
Node = dict[str, Any]


class Executed(NamedTuple):
    """A statement with its parameters."""

    name: str
    text: str
    values: Sequence[Any]


class Recorder:
    """Keeps what answers execute."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.executed: list[Executed] = []
        monkeypatch.setattr(answers, "execute", self._execute)

    async def _execute(self, connection: Any, name: str, parameters: Any, days: Any = ()) -> Any:
        prepared = statement(name, days)
        self.executed.append(Executed(name, prepared.text, prepared.values(parameters)))
        return await _EXECUTE(connection, name, parameters, days)

    def last(self) -> Executed:
        return self.executed[-1]


async def plan(pool: Pool, executed: Executed, *settings: str) -> list[Node]:
    """Return the nodes of a statement's plan, prepared and executed as it was."""
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        for setting in settings:
            await connection.execute(f"SET LOCAL {setting}".encode())
        await connection.execute(f"PREPARE the_statement AS {executed.text}".encode())
        try:
            cursor = psycopg.AsyncClientCursor(connection)
            places = ", ".join(["%s"] * len(executed.values))
            options = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"
            await cursor.execute(
                f"EXPLAIN ({options}) EXECUTE the_statement({places})".encode(), [_literal(v) for v in executed.values]
            )
            [[found]] = await cursor.fetchall()
        finally:
            await connection.execute("DEALLOCATE the_statement")
    return list(_nodes(found[0]["Plan"]))


def _literal(value: Any) -> Any:
    return "{" + ",".join(map(str, value)) + "}" if isinstance(value, list) else value


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def on(nodes: list[Node], *tables: str) -> list[Node]:
    """Return the nodes that read those tables or their partitions."""
    return [node for node in nodes if node.get("Relation Name", "").startswith(tables)]


def rows(nodes: list[Node]) -> int:
    return sum(round(node["Actual Rows"] * node["Actual Loops"]) for node in nodes)


def buffers(nodes: list[Node]) -> int:
    return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in nodes)


def read_index_only(nodes: list[Node]) -> None:
    """Check that all that is read of history and rollups is read by index-only scans that need no table."""
    read = on(nodes, *HISTORY, *ROLLUPS)
    assert read
    scans = {(node["Node Type"], node["Relation Name"]) for node in read}
    assert {scan for scan, _ in scans} == {"Index Only Scan"}, scans
    assert sum(node["Heap Fetches"] for node in read) == 0
    assert sum(node.get("Rows Removed by Filter", 0) for node in read) == 0


def days_read(nodes: list[Node]) -> set[str]:
    """Return the days of the partitions that are read."""
    return {node["Relation Name"].rpartition("_")[2] for node in on(nodes, *HISTORY)}


@asynccontextmanager
async def messages(pool: Pool) -> AsyncIterator[list[str]]:
    """Yield what the only connection of a pool is told to execute meanwhile, which is there once that is over.

    Statements without parameters are as they were sent; one with parameters is "$".
    """
    sent: list[str] = []
    with tempfile.TemporaryFile() as trace:
        async with pool.connection() as connection:
            connection.pgconn.trace(trace.fileno())
        yield sent
        async with pool.connection() as connection:
            connection.pgconn.untrace()
        trace.seek(0)
        for line in trace.read().decode(errors="replace").splitlines():
            if found := _SENT.search(line):
                sent.append(found[1] or "$")
