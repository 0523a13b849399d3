"""Asks the database: two statements a question, in one snapshot, whatever the number of vehicles."""

from collections.abc import Sequence
from typing import Any

from psycopg import IsolationLevel
from psycopg.rows import DictRow, dict_row

from analytics_service.performance import Correlation, MeterUse, Performance, of_uses
from analytics_service.windows import Window
from wattstream.postgres import Pool
from wattstream.resources import read

_AGGREGATE = {Correlation.EXCLUSIVE_MINUTES: "exclusive.sql", Correlation.ASSIGNED_METER: "assigned.sql"}


async def performances(
    pool: Pool, vehicle_ids: Sequence[str], window: Window, correlation: Correlation
) -> dict[str, Performance]:
    """Return the performance of those of the vehicles for which anything is kept, by id."""
    question = {
        "vehicle_ids": list(vehicle_ids),
        "start": window.start,
        "end": window.end,
        "exclusive": correlation is Correlation.EXCLUSIVE_MINUTES,
    }
    spans, rows = await _ask(pool, question, _AGGREGATE[correlation])
    meter_ids = _zip(spans["used_meter_keys"], spans["used_meter_ids"])
    uses: dict[int, list[MeterUse]] = {}
    for row in rows:
        uses.setdefault(row.pop("vehicle_key"), []).append(MeterUse(meter_ids.get(row.pop("meter_key")), **row))
    answers = {
        vehicle_id: of_uses(uses.get(key, ()))
        for key, vehicle_id in _zip(spans["asked_keys"], spans["asked_ids"]).items()
    }
    return {vehicle_id: answer for vehicle_id, answer in answers.items() if answer is not None}


async def _ask(pool: Pool, question: dict[str, Any], aggregate: str) -> tuple[DictRow, list[DictRow]]:
    async with pool.connection() as connection:
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(read("analytics_service.sql", "spans.sql"), question, prepare=True)
        spans = await cursor.fetchone()
        assert spans is not None
        if not spans["asked_keys"]:
            return spans, []
        # Never prepared: a plan for any window would hold, and lock, the partitions of all.
        await cursor.execute(read("analytics_service.sql", aggregate), {**question, **spans}, prepare=False)
        return spans, await cursor.fetchall()


def _zip(keys: Sequence[int] | None, ids: Sequence[str] | None) -> dict[int, str]:
    return dict(zip(keys or (), ids or (), strict=True))
