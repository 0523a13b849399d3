"""Alerts as detection would write them: every change gives a row the next revision, one transaction at a time."""

from collections.abc import Iterable
from typing import Any

import psycopg

OPEN, CLOSED, WITHDRAWN = 1, 2, 3

_INSERT = """
    INSERT INTO efficiency_alerts (vehicle_key, meter_key, state, since, until, minutes_kept, kwh_consumed_ac,
        kwh_delivered_dc, lowest_efficiency, threshold, revision)
    VALUES (
        coalesce((SELECT device_key FROM devices WHERE kind = 2 AND device_id = %(vehicle)s), 0),
        coalesce((SELECT device_key FROM devices WHERE kind = 1 AND device_id = %(meter)s), 0),
        1, '2026-02-10 14:00Z', '2026-02-10 16:00Z', 90, 10, 8, 0.75, 0.85, nextval('efficiency_alert_revisions'))
    RETURNING alert_id
"""
_CHANGE = """
    UPDATE efficiency_alerts SET state = %(state)s, minutes_kept = minutes_kept + 1, changed_at = now(),
        closed_at = CASE %(state)s WHEN 1 THEN NULL ELSE now() END, revision = nextval('efficiency_alert_revisions')
    WHERE alert_id = %(alert_id)s
"""


class AlertRows:
    """Alerts of the vehicles V1, V2 and the meters M1, M2, over a connection of one's own."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.execute(
            "INSERT INTO devices (kind, device_id) VALUES (1, 'M1'), (1, 'M2'), (2, 'V1'), (2, 'V2')"
            " ON CONFLICT DO NOTHING"
        )

    @property
    def backend_pid(self) -> int:
        """The process of the connection in the database."""
        return self._connection.info.backend_pid

    def add(self, vehicle: str = "V1", meter: str = "") -> int:
        """Open an alert and return its id."""
        row = self._connection.execute(_INSERT, {"vehicle": vehicle, "meter": meter}).fetchone()
        assert row is not None
        return int(row[0])

    def add_many(self, count: int) -> list[int]:
        """Open alerts about V1, all at once."""
        with self._connection.transaction():
            return [self.add() for _ in range(count)]

    def change(self, *alert_ids: int, state: int = OPEN) -> None:
        """Change alerts, all at once."""
        with self._connection.transaction():
            for alert_id in alert_ids:
                self._connection.execute(_CHANGE, {"alert_id": alert_id, "state": state})

    def acknowledge(self, alert_id: int) -> None:
        """Note that somebody has seen an alert."""
        self._connection.execute(
            "UPDATE efficiency_alerts SET acknowledged_at = now(), acknowledged_by = 'somebody', changed_at = now(),"
            " revision = nextval('efficiency_alert_revisions') WHERE alert_id = %s",
            (alert_id,),
        )

    def forget(self) -> None:
        """Delete all alerts, as a database has none that begins anew."""
        self._connection.execute("DELETE FROM efficiency_alerts")

    def revisions(self) -> dict[int, int]:
        """Return the revision of every alert, by id."""
        return dict(self._connection.execute("SELECT alert_id, revision FROM efficiency_alerts").fetchall())

    def open_revisions(self) -> dict[int, int]:
        """Return the revision of every open alert, by id."""
        query = "SELECT alert_id, revision FROM efficiency_alerts WHERE state = 1"
        return dict(self._connection.execute(query).fetchall())


def versions(alerts: Iterable[Any]) -> list[tuple[int, int]]:
    """Return the id and the state of each alert."""
    return [(alert.alert_id, alert.state) for alert in alerts]
