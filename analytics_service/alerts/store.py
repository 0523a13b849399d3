"""What looking for drops reads and writes, within the transaction of whoever looks."""

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from analytics_service.alerts.drops import Drop, Hour, Rule
from analytics_service.alerts.revision import OPEN, Change, Known
from wattstream.resources import read

Connection = AsyncConnection[TupleRow]

_HOUR = timedelta(hours=1)
_ROWS_AT_ONCE = 5_000


class Subject(NamedTuple):
    """A vehicle (meter_key 0), a meter (vehicle_key 0), or a vehicle at a meter."""

    vehicle_key: int
    meter_key: int


@dataclass(frozen=True)
class Suspect:
    """A subject that is worth a closer look, from the hour `changed` on; `is_alerted`: an alert about it may change."""

    subject: Subject
    changed: datetime
    is_alerted: bool
    rule: Rule


async def is_only_one(connection: Connection) -> bool:
    """Tell whether this transaction is the only one that looks for drops, and so may."""
    [row] = await _rows(connection, "alerts_finder_lock", {})
    return bool(row["pg_try_advisory_xact_lock"])


async def take(
    connection: Connection, after_key: int, most: int, overdue: Collection[int]
) -> list[tuple[int, datetime]]:
    """Take at most `most` due devices by key, after one; `overdue` ones even if their rollups are out of date."""
    question = {"after_key": after_key, "most": most, "overdue": list(overdue)}
    return [(row["device_key"], row["hour"]) for row in await _rows(connection, "alerts_take", question)]


async def due(connection: Connection) -> set[int]:
    """Return all due devices."""
    return {row["device_key"] for row in await _rows(connection, "alerts_due", {})}


async def suspects(connection: Connection, taken: Sequence[tuple[int, datetime]]) -> list[Suspect]:
    """Return the subjects of devices that were taken that have a low hour, or an alert that may change."""
    question = {"device_keys": [key for key, _ in taken], "hours": [hour for _, hour in taken]}
    return [
        Suspect(
            Subject(row["vehicle_key"], row["meter_key"]),
            row["hour"],
            row["is_alerted"],
            Rule(row["threshold"], row["hysteresis"], row["least_minutes"], row["window_hours"]),
        )
        for row in await _rows(connection, "alerts_subjects", question)
    ]


async def sustained(connection: Connection, of_one_window: Sequence[Suspect]) -> set[Subject]:
    """Return those whose sliding window is low at a low hour; the windows of all are of the same length."""
    question = {
        **_keys(suspect.subject for suspect in of_one_window),
        "hours": [suspect.changed for suspect in of_one_window],
        "thresholds": [suspect.rule.threshold for suspect in of_one_window],
        "least_minutes": [suspect.rule.least_minutes for suspect in of_one_window],
        "window": of_one_window[0].rule.window,
    }
    return {Subject(**row) for row in await _rows(connection, "alerts_sustained", question)}


async def known(connection: Connection, subjects: Iterable[Subject]) -> dict[Subject, list[Known]]:
    """Return all alerts about subjects."""
    found: dict[Subject, list[Known]] = {}
    for row in await _rows(connection, "alerts_known", _keys(subjects)):
        closed_by = None if row["state"] == OPEN else row["closed_at"] + _HOUR
        energies = row["kwh_consumed_ac"], row["kwh_delivered_dc"]
        drop = Drop(row["since"], row["until"], row["minutes_kept"], *energies, row["lowest_efficiency"], closed_by)
        subject = Subject(row["vehicle_key"], row["meter_key"])
        found.setdefault(subject, []).append(Known(row["alert_id"], row["state"], drop))
    return found


async def hours(
    connection: Connection, since: Mapping[Subject, datetime]
) -> AsyncGenerator[tuple[Subject, list[Hour]], None]:
    """Yield the hours with kept minutes of subjects, each from a time on; a subject that has none is left out."""
    question = {**_keys(since), "since": list(since.values())}
    last: Subject | None = None
    found: list[Hour] = []
    async with connection.cursor("alert_hours") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        await cursor.execute(_sql("alerts_hours"), question)
        async for vehicle_key, meter_key, *hour in cursor:
            subject = Subject(vehicle_key, meter_key)
            if last not in (None, subject):
                yield last, found
                found = []
            last = subject
            found.append(Hour(*hour))
    if last is not None:
        yield last, found


async def write(connection: Connection, changes: Sequence[tuple[Suspect, Change]]) -> None:
    """Store changes of alerts, each with the next revision."""
    if not changes:
        return
    await lock_alerts(connection)
    new = [(suspect, change) for suspect, change in changes if change.alert_id is None]
    if new:
        rules = {"thresholds": [suspect.rule.threshold for suspect, _ in new]}
        subjects = _keys(suspect.subject for suspect, _ in new)
        await _execute(connection, "alerts_insert", {**subjects, **rules, **_columns(change for _, change in new)})
    old = [change for _, change in changes if change.alert_id is not None]
    if old:
        ids = {"alert_ids": [change.alert_id for change in old]}
        closed_by = {"closed_by": [change.drop.closed_by for change in old]}
        await _execute(connection, "alerts_update", {**ids, **closed_by, **_columns(old)})


async def lock_alerts(connection: Connection) -> None:
    """Wait until this transaction is the only one that changes alerts; all that do call this first."""
    await _execute(connection, "alerts_lock", {})


def _keys(subjects: Iterable[Subject]) -> dict[str, list[int]]:
    listed = list(subjects)
    return {"vehicle_keys": [s.vehicle_key for s in listed], "meter_keys": [s.meter_key for s in listed]}


def _columns(changes: Iterable[Change]) -> dict[str, list[Any]]:
    listed = list(changes)
    drops = [change.drop for change in listed]
    return {
        "states": [change.state for change in listed],
        "since": [drop.since for drop in drops],
        "until": [drop.until for drop in drops],
        "minutes": [drop.minutes for drop in drops],
        "ac": [drop.kwh_ac for drop in drops],
        "dc": [drop.kwh_dc for drop in drops],
        "lowest": [drop.lowest for drop in drops],
    }


async def _rows(connection: Connection, name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    cursor = connection.cursor(row_factory=dict_row)
    # Never prepared: how much there is to read depends on the arrays.
    await cursor.execute(_sql(name), parameters, prepare=False)
    return await cursor.fetchall()


async def _execute(connection: Connection, name: str, parameters: Mapping[str, Any]) -> None:
    await connection.execute(_sql(name), parameters, prepare=False)


def _sql(name: str) -> str:
    return read("analytics_service.sql", f"{name}.sql")
