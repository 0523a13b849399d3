"""Time axes: where the marks stand by the clock of a time zone, and what is written at them. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

_DAY = timedelta(days=1)
_STEPS = [timedelta(minutes=m) for m in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880)]
_MONTHS = (1, 2, 3, 6, 12)


class Tick(NamedTuple):
    """A mark on a time axis: the instant, what is written at it, and in the line below that."""

    at: datetime
    text: str
    below: str


def instant(stamp: Timestamp) -> datetime:
    """Return a Timestamp as an instant."""
    return stamp.ToDatetime(tzinfo=UTC)


def ticks(start: datetime, end: datetime, zone: tzinfo, most: int) -> list[Tick]:
    """Return at most about `most` marks at round local times in [start, end], with the date where it changes."""
    span = end - start
    step = next((one for one in _STEPS if span / one <= most), None)
    if step is not None:
        marks = _by_step(start, end, zone, step)
        return _labelled(list(marks), zone, "%H:%M" if step < _DAY else "%d %b", "%d %b" if step < _DAY else "%Y")
    if span / timedelta(days=7) <= most:
        return _labelled(list(_by_step(start, end, zone, timedelta(days=7))), zone, "%d %b", "%Y")
    months = next((one for one in _MONTHS if span / timedelta(days=30 * one) <= most), _MONTHS[-1])
    return _labelled(list(_by_month(start, end, zone, months)), zone, "%b", "%Y")


def clock_changes(start: datetime, end: datetime, zone: tzinfo) -> list[tuple[datetime, timedelta]]:
    """Return when the clocks of the zone are changed in (start, end), to the minute, and by how much."""
    found = []
    at = start
    while at < end:
        following = min(at + _DAY, end)
        by = _offset(following, zone) - _offset(at, zone)
        if by:
            found.append((_change(at, following, zone), by))
        at = following
    return found


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    old = _offset(before, zone)
    while after - before > timedelta(minutes=1):
        middle = (before + (after - before) / 2).replace(second=0, microsecond=0)
        if middle <= before:
            break
        before, after = (middle, after) if _offset(middle, zone) == old else (before, middle)
    return after


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _by_step(start: datetime, end: datetime, zone: tzinfo, step: timedelta) -> Iterator[datetime]:
    """Yield instants at whole steps of the local clock, so that a day of 23 hours has its marks at the same hours."""
    midnight = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    local = midnight + (start.astimezone(zone).replace(tzinfo=None) - midnight) // step * step
    while (at := local.replace(tzinfo=zone).astimezone(UTC)) <= end:
        skipped = at.astimezone(zone).replace(tzinfo=None) != local  # no clock shows this time on this day
        if at >= start and not skipped:
            yield at
        local += step


def _by_month(start: datetime, end: datetime, zone: tzinfo, months: int) -> Iterator[datetime]:
    first = start.astimezone(zone)
    count = (first.year * 12 + first.month - 1) // months * months
    while True:
        at = datetime(count // 12, count % 12 + 1, 1, tzinfo=zone).astimezone(UTC)
        if at > end:
            return
        if at >= start:
            yield at
        count += months


def _labelled(marks: list[datetime], zone: tzinfo, text: str, below: str) -> list[Tick]:
    shown: list[Tick] = []
    last = ""
    for at in marks:
        local = at.astimezone(zone)
        context = local.strftime(below).lstrip("0")
        shown.append(Tick(at, _plain(local.strftime(text), text), context if context != last else ""))
        last = context
    return shown


def _plain(text: str, spec: str) -> str:
    return text.lstrip("0") if spec.startswith("%d") else text
