"""What becomes of the alerts of a subject when its drops are found again: a pure function.

A drop is the alert that it overlaps, so an alert keeps its id however late readings move its ends, open it again or
close it. Where two alerts turn out to be one drop, the older one goes on and the other is withdrawn; where one turns
out to be two drops, the first is the alert and the second a new one. An alert whose drop is no longer found is
withdrawn, and comes back if a drop is found in its place again and no other alert is there.
"""

from collections.abc import Sequence
from datetime import datetime
from math import isclose
from typing import NamedTuple

from analytics_service.alerts.drops import Drop, Start

OPEN, CLOSED, WITHDRAWN = 1, 2, 3  # as in AlertState

_NOISE = 1e-9


class Known(NamedTuple):
    """An alert that is stored; the `closed_by` of its drop is None if it is open, and may be later than it need be."""

    alert_id: int
    state: int
    drop: Drop


class Change(NamedTuple):
    """An alert to be stored: a new one where `alert_id` is None."""

    alert_id: int | None
    state: int
    drop: Drop


def live(known: Sequence[Known]) -> list[Drop]:
    """Return the drops of alerts that are not withdrawn, in order of time."""
    return sorted((alert.drop for alert in known if alert.state != WITHDRAWN), key=lambda drop: drop.since)


def changes(known: Sequence[Known], start: Start, drops: Sequence[Drop]) -> list[Change]:
    """Return what has to be stored so that the alerts from `start` on are `drops`, in order of time.

    `known` are all alerts of the subject.
    """
    left = sorted(
        (alert for alert in known if _may_change(alert, start)),
        key=lambda alert: (alert.state == WITHDRAWN, alert.drop.since, alert.alert_id),
    )
    found = []
    for drop in drops:
        match = next((alert for alert in left if _overlap(alert.drop, drop)), None)
        if match is not None:
            left.remove(match)
        if match is None or _differs(match, drop):
            found.append(Change(match.alert_id if match else None, _state(drop), drop))
    gone = [Change(alert.alert_id, WITHDRAWN, alert.drop) for alert in left if alert.state != WITHDRAWN]
    return found + gone


def _may_change(alert: Known, start: Start) -> bool:
    if alert.state == WITHDRAWN:
        return alert.drop.until > start.first
    return alert.drop.since >= start.first or (start.drop is not None and alert.drop.since == start.drop.since)


def _overlap(one: Drop, other: Drop) -> bool:
    return one.since < other.until and other.since < one.until


def _state(drop: Drop) -> int:
    return OPEN if drop.closed_by is None else CLOSED


def _differs(alert: Known, drop: Drop) -> bool:
    """Tell whether the stored alert says something else, or does not say that it was still open at `closed_by`."""
    old = alert.drop
    return (
        alert.state != _state(drop)
        or (old.since, old.until, old.minutes) != (drop.since, drop.until, drop.minutes)
        or not isclose(old.kwh_ac, drop.kwh_ac, rel_tol=_NOISE)
        or not isclose(old.kwh_dc, drop.kwh_dc, rel_tol=_NOISE)
        or not isclose(old.lowest, drop.lowest, rel_tol=_NOISE)
        or _is_later(drop.closed_by, old.closed_by)
    )


def _is_later(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one > other
