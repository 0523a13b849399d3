"""The stored alerts and rules, for those who ask and those who decide. Each method is one transaction."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row

from analytics_service.alerts.drops import Rule
from analytics_service.alerts.messages import Alert
from analytics_service.alerts.selection import Selection
from analytics_service.alerts.store import Connection, lock_alerts
from wattstream.errors import NotFoundError
from wattstream.postgres import Pool
from wattstream.resources import read

_AT_ONCE = 2


class RuleOf(NamedTuple):
    """The rule of a meter, or of the fleet where the id is empty."""

    meter_id: str
    rule: Rule


class Book:
    """Reads and writes alerts and rules of the database behind `pool`, whose connections are in autocommit mode.

    It takes two of them at a time, and leaves the others to what goes on in the background.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def alerts(
        self, selection: Selection, since: datetime | None, until: datetime | None, before: int, most: int
    ) -> list[Alert]:
        """Return alerts with ids below `before`, the newest first, at most `most`.

        None is no limit: else the drop ended after `since` and began before `until`. An open one has not ended.
        """
        question = {
            "subject": selection.subject,
            "state": selection.state,
            "vehicle_id": selection.vehicle_id,
            "meter_id": selection.meter_id,
            "unacknowledged_only": selection.unacknowledged_only,
            "since": since,
            "until": until,
            "before": before,
            "most": most,
        }
        async with self._connection() as connection, connection.cursor(row_factory=class_row(Alert)) as cursor:
            # Never prepared: what carries it depends on the filter.
            await cursor.execute(_sql("alerts_list"), question, prepare=False)
            return await cursor.fetchall()

    async def acknowledge(self, alert_id: int, acknowledged_by: str, note: str) -> Alert:
        """Note that somebody has seen an alert, over whoever did before; return it as it is then.

        Raises:
            NotFoundError: there is no such alert.
        """
        parameters = {"alert_id": alert_id, "acknowledged_by": acknowledged_by, "note": note}
        async with self._connection() as connection, connection.transaction():
            await lock_alerts(connection)
            async with connection.cursor(row_factory=class_row(Alert)) as cursor:
                await cursor.execute(_sql("alerts_acknowledge"), parameters)
                alert = await cursor.fetchone()
        if alert is None:
            raise NotFoundError("efficiency_alert", str(alert_id), f"there is no alert {alert_id}")
        return alert

    async def rules(self) -> list[RuleOf]:
        """Return all rules, the fleet's first."""
        async with self._connection() as connection:
            rows = await (await connection.execute(_sql("rules_list"))).fetchall()
        return [RuleOf(meter_id, Rule(*rule)) for meter_id, *rule in rows]

    async def set_rule(self, meter_id: str, rule: Rule) -> None:
        """Set the rule of a meter or the fleet, and have whom it concerns looked at again.

        Raises:
            NotFoundError: there is no such meter.
        """
        async with self._connection() as connection, connection.transaction():
            meter_key = await _meter_key(connection, "rules_set", {"meter_id": meter_id, **rule._asdict()})
            if meter_key is None:
                raise NotFoundError("meter", meter_id, f"meter {meter_id} is not registered")
            await connection.execute(_sql("rules_due"), {"meter_key": meter_key})

    async def delete_rule(self, meter_id: str) -> None:
        """Delete the rule of a meter, and have whom it concerns looked at again by the fleet's.

        Raises:
            NotFoundError: it has none.
        """
        async with self._connection() as connection, connection.transaction():
            meter_key = await _meter_key(connection, "rules_delete", {"meter_id": meter_id})
            if meter_key is None:
                raise NotFoundError("efficiency_rule", meter_id, f"meter {meter_id} has no rule of its own")
            await connection.execute(_sql("rules_due"), {"meter_key": meter_key})

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self._turns, self._pool.connection() as connection:
            yield connection


async def _meter_key(connection: Connection, name: str, parameters: Mapping[str, Any]) -> int | None:
    row = await (await connection.execute(_sql(name), parameters)).fetchone()
    return row[0] if row else None


def _sql(name: str) -> str:
    return read("analytics_service.sql", f"{name}.sql")
