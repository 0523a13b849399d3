"""When efficiency drops, for how long and how deep: the rule of alerts, as pure functions over a subject's hours.

A drop opens at an hour that is itself below the threshold when the sliding window that ends with it, of so many hours
of the clock, is below it too and has enough kept minutes. It begins with the first low hour of the window and ends, so
far, with the last one.

It closes when the hours of the window that come after its last low hour have enough kept minutes and together reach
the threshold plus the hysteresis, provided that the window, from the beginning of the drop on, is no longer below the
threshold. So a subject that has recovered closes as soon as its good minutes outweigh the bad ones that are still in
the window, mostly in the same session; one that swings stays open for as long as it would open again; and one that
just stops charging stays open. Hours up to the end of a drop never count towards another one.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import NamedTuple

_HOUR = timedelta(hours=1)
_EVER = datetime.min.replace(tzinfo=UTC)
# Sums of the same readings taken in another order differ by less than this share.
_NOISE = 1e-9


class Hour(NamedTuple):
    """What a subject's kept minutes of a UTC hour add up to; energies in kWh."""

    start: datetime
    minutes: int
    kwh_ac: float
    kwh_dc: float


class Rule(NamedTuple):
    """When a drop of efficiency is worth an alert; see EfficiencyRule of the contract."""

    threshold: float
    hysteresis: float
    least_minutes: int
    window_hours: int

    @property
    def window(self) -> timedelta:
        """How long the sliding window is."""
        return timedelta(hours=self.window_hours)


class Drop(NamedTuple):
    """A sustained drop, over [since, until): whole hours, of which the first and the last are low; energies in kWh.

    Attributes:
        lowest: the lowest efficiency of the sliding window, from `since` on, at any low hour since it opened.
        closed_by: an hour by which it had closed, none later being needed to tell; None while it is open.
    """

    since: datetime
    until: datetime
    minutes: int
    kwh_ac: float
    kwh_dc: float
    lowest: float
    closed_by: datetime | None = None


class Start(NamedTuple):
    """From where on to look for drops: the first hour, before which hours do not count, and what is open before it."""

    first: datetime
    count_from: datetime
    drop: Drop | None = None


def resume(drops: Sequence[Drop], changed: datetime) -> Start:
    """Return from where on to look again when hours from `changed` on may have changed.

    `drops` are those found before, in order of time. Those that begin before `Start.first`, but for `Start.drop`, stay
    as they are; all others are found again.
    """
    before = [drop for drop in drops if drop.since < changed]
    if not before:
        return Start(changed, _EVER)
    *earlier, last = before
    if last.until > changed:
        # Its last hours may have changed. When it began, nothing was open: its first hour is low, and would have been
        # one more of what was open.
        return Start(last.since, earlier[-1].until if earlier else _EVER)
    if last.closed_by is None or last.closed_by >= changed:
        return Start(last.until, _EVER, last._replace(closed_by=None))
    return Start(changed, last.until)


def find(rule: Rule, start: Start, hours: Sequence[Hour]) -> list[Drop]:
    """Return the drops from `start` on, in order of time; only the last one may be open.

    `hours` are those with kept minutes, in order, from the length of the window before `start.first` on.
    """
    found: list[Drop] = []
    drop, count_from = start.drop, start.count_from
    for position in range(_index(hours, start.first), len(hours)):
        low = _is_low(rule, hours[position : position + 1])
        if drop is None:
            drop = _opened(rule, _window(rule, hours, position, count_from)) if low else None
        elif low:
            drop = _extended(rule, drop, hours, position)
        elif _has_recovered(rule, drop, hours, position):
            found.append(drop._replace(closed_by=hours[position].start))
            count_from, drop = drop.until, None
    return [*found, drop] if drop else found


def _opened(rule: Rule, window: Sequence[Hour]) -> Drop | None:
    if _minutes(window) < rule.least_minutes or not _is_low(rule, window):
        return None
    # The hours before the first low one only raise the efficiency: without them it is low all the more.
    first = next(i for i in range(len(window)) if _is_low(rule, window[i : i + 1]))
    hours = window[first:]
    minutes, ac, dc = _minutes(hours), _ac(hours), _dc(hours)
    return Drop(hours[0].start, hours[-1].start + _HOUR, minutes, ac, dc, dc / ac)


def _extended(rule: Rule, drop: Drop, hours: Sequence[Hour], position: int) -> Drop:
    new = hours[_index(hours, drop.until) : position + 1]
    window = _window(rule, hours, position, drop.since)
    return drop._replace(
        until=hours[position].start + _HOUR,
        minutes=drop.minutes + _minutes(new),
        kwh_ac=drop.kwh_ac + _ac(new),
        kwh_dc=drop.kwh_dc + _dc(new),
        lowest=min(drop.lowest, _dc(window) / _ac(window)),
    )


def _has_recovered(rule: Rule, drop: Drop, hours: Sequence[Hour], position: int) -> bool:
    since_drop = _window(rule, hours, position, drop.until)
    if _minutes(since_drop) < rule.least_minutes or not _is_high(rule, since_drop):
        return False
    return not _is_low(rule, _window(rule, hours, position, drop.since))


def _window(rule: Rule, hours: Sequence[Hour], position: int, count_from: datetime) -> Sequence[Hour]:
    begin = max(hours[position].start - rule.window + _HOUR, count_from)
    return hours[_index(hours, begin) : position + 1]


def _index(hours: Sequence[Hour], start: datetime) -> int:
    return bisect_left(hours, start, key=lambda hour: hour.start)


def _is_low(rule: Rule, hours: Sequence[Hour]) -> bool:
    ac = _ac(hours)
    return ac > 0 and _dc(hours) < (rule.threshold - _NOISE) * ac


def _is_high(rule: Rule, hours: Sequence[Hour]) -> bool:
    ac = _ac(hours)
    return ac > 0 and _dc(hours) >= (rule.threshold + rule.hysteresis - _NOISE) * ac


def _minutes(hours: Sequence[Hour]) -> int:
    return sum(hour.minutes for hour in hours)


# Exact sums: the same for the same hours, in whatever order they came.
def _ac(hours: Sequence[Hour]) -> float:
    return fsum(hour.kwh_ac for hour in hours)


def _dc(hours: Sequence[Hour]) -> float:
    return fsum(hour.kwh_dc for hour in hours)
