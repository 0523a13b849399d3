"""A fleet's rollups as the refresher leaves them, and the alerts that are found in them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import dict_row

from analytics_service.alerts.evaluate import Evaluation
from wattstream import postgres
from wattstream.postgres import Pool

T0 = datetime(2026, 2, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
STATES = {1: "open", 2: "closed", 3: "withdrawn"}


class Row(NamedTuple):
    """A rollup of an hour: whose, at which meter, and what was kept; energies in kWh."""

    vehicle: str
    meter: str
    start: datetime
    minutes: int
    ac: float
    dc: float


class Alert(NamedTuple):
    """What an alert says; times as hours from T0."""

    vehicle: str
    meter: str
    state: str
    since: float
    until: float
    minutes: int
    ac: float
    dc: float
    lowest: float


def row(vehicle: str, meter: str, hour: int, efficiency: float, minutes: int = 60) -> Row:
    return Row(vehicle, meter, T0 + hour * HOUR, minutes, 10.0, 10.0 * efficiency)


class Fleet:
    """Writes rollups into a database; the meter "" is none."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.keys: dict[tuple[int, str], int] = {(1, ""): 0}

    def store(self, rows: Iterable[Row], *, notes: bool = True) -> None:
        """Store rollups, over those that are there, and note them as the refresher does."""
        listed = [(self.key(2, r.vehicle), self.key(1, r.meter), *r[2:]) for r in rows]
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO vehicle_rollups VALUES (%s, 1, %s, %s, 0, 0, %s, 0, 0, %s, %s, 0, 0, 0, 0, 0)"
                " ON CONFLICT (vehicle_key, hours, start, meter_key) DO UPDATE SET"
                " minutes_kept = excluded.minutes_kept, kwh_consumed_ac = excluded.kwh_consumed_ac,"
                " kwh_delivered_dc = excluded.kwh_delivered_dc",
                [(vehicle, start, meter, *rest) for vehicle, meter, start, *rest in listed],
            )
            if notes:
                self.note((key, r[2]) for r in listed for key in r[:2] if key)

    def remove(self, rows: Iterable[Row]) -> None:
        """Remove rollups, and note that."""
        with self.connection.transaction():
            for r in rows:
                keys = self.key(2, r.vehicle), self.key(1, r.meter)
                delete = "DELETE FROM vehicle_rollups WHERE vehicle_key = %s AND meter_key = %s AND start = %s"
                self.connection.execute(delete, (*keys, r.start))
                self.note((key, r.start) for key in keys if key)

    def note(self, due: Iterable[tuple[int, datetime]]) -> None:
        """Note devices as due from an hour on."""
        least: dict[int, datetime] = {}
        for key, hour in due:
            least[key] = min(hour, least.get(key, hour))
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO efficiency_due VALUES (%s, %s) ON CONFLICT (device_key)"
                " DO UPDATE SET hour = least(efficiency_due.hour, excluded.hour)",
                sorted(least.items()),
            )

    def key(self, kind: int, device_id: str) -> int:
        if (kind, device_id) not in self.keys:
            insert = "INSERT INTO devices (kind, device_id) VALUES (%s, %s) RETURNING device_key"
            [self.keys[kind, device_id]] = self.connection.execute(insert, (kind, device_id)).fetchone() or (0,)
        return self.keys[kind, device_id]

    def due(self) -> set[int]:
        return {key for (key,) in self.connection.execute("SELECT device_key FROM efficiency_due")}

    def alerts(self, *states: str) -> list[Alert]:
        """Return the alerts in some states, by default those not withdrawn, by vehicle, meter and time."""
        found = self.connection.execute(
            "SELECT coalesce(v.device_id, ''), coalesce(m.device_id, ''), a.state, a.since, a.until, a.minutes_kept,"
            " a.kwh_consumed_ac, a.kwh_delivered_dc, a.lowest_efficiency FROM efficiency_alerts a"
            " LEFT JOIN devices v ON v.device_key = vehicle_key LEFT JOIN devices m ON m.device_key = meter_key"
            " ORDER BY 1, 2, a.since"
        ).fetchall()
        alerts = [
            Alert(*r[:2], STATES[r[2]], (r[3] - T0) / HOUR, (r[4] - T0) / HOUR, r[5], *(round(x, 9) for x in r[6:]))
            for r in found
        ]
        return [alert for alert in alerts if alert.state in (states or ("open", "closed"))]

    def stored(self) -> list[dict[str, Any]]:
        """Return all alerts with everything that is stored, by id."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute("SELECT * FROM efficiency_alerts ORDER BY alert_id").fetchall()


def spans(alerts: Iterable[Alert]) -> set[tuple[str, str, str, float, float]]:
    """Return what alerts are about, their states and their hours."""
    return {alert[:5] for alert in alerts}


@asynccontextmanager
async def open_pool(dsn: str, size: int = 2) -> AsyncIterator[Pool]:
    async with postgres.open_pool(dsn, name="test", size=size, statement_timeout_s=30, autocommit=True) as pool:
        yield pool


async def evaluate(pool: Pool) -> None:
    """Look at all that is due."""
    await Evaluation(pool, 0.01).round()
