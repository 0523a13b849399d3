"""Where an answer comes from: which stretches of its window from rollups, which from readings. Pure arithmetic."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from analytics_service.windows import Window

HOUR = timedelta(hours=1)
_DAY_HOURS = 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Piece:
    """Rollups of so many hours each (1 or 24) that begin in [since, until)."""

    hours: int
    since: datetime
    until: datetime


@dataclass(frozen=True)
class RawHour:
    """What of the UTC hour that begins at `hour` is taken from readings: those of [since, until)."""

    hour: datetime
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Plan:
    """Pieces and hours that together are the window, each instant once."""

    pieces: tuple[Piece, ...]
    raw: tuple[RawHour, ...]

    @property
    def days(self) -> set[date]:
        """The UTC days whose readings it takes."""
        return {hour.hour.date() for hour in self.raw}

    def takes_rollups_of(self, hours: Iterable[datetime]) -> bool:
        """Tell whether it takes a rollup that holds one of the UTC hours."""
        return any(piece.since <= hour < piece.until for hour in hours for piece in self.pieces)


def plan(
    window: Window,
    log_from: datetime,
    stale: Collection[datetime] = (),
    cuts: Sequence[datetime] = (),
    split: Collection[datetime] = (),
) -> Plan:
    """Return where the answer for `window` comes from.

    Args:
        window: what is asked for.
        log_from: hours before this one are rolled up.
        stale: those of them that are not, or not any more.
        cuts: where one bucket ends and the next begins; no rollup may be in two of them.
        split: hours whose own rollup may be taken, but not that of their day.
    """
    broken = {_hours(hour) for hour in stale} | {_hours(cut) for cut in cuts if _hours(cut) < _hours(cut, up=True)}
    by_day = all(_hours(cut) % _DAY_HOURS == 0 for cut in cuts if _hours(cut) not in broken)
    split_days = {_hours(hour) // _DAY_HOURS for hour in split}
    first = _hours(window.start, up=True)
    last = min(_hours(window.end), _hours(log_from))
    if first >= last:
        return Plan((), tuple(_raw(window.start, window.end)))
    pieces: list[Piece] = []
    raw = list(_raw(window.start, _time(first)))
    since = first
    for hour in [*sorted(hour for hour in broken if first <= hour < last), last]:
        pieces += _pieces(since, hour, split_days) if by_day else _whole(1, since, hour)
        if hour < last:
            raw += _raw(_time(hour), _time(hour + 1))
        since = hour + 1
    raw += _raw(_time(last), window.end)
    return Plan(tuple(pieces), tuple(raw))


def _pieces(first: int, last: int, split_days: Collection[int]) -> Iterator[Piece]:
    """Yield the pieces of the hours [first, last): whole days where there are some that need not be split."""
    since = first
    for day in [day for day in sorted(split_days) if first <= day * _DAY_HOURS < last]:
        yield from _by_days(since, day * _DAY_HOURS)
        since = min((day + 1) * _DAY_HOURS, last)
        yield from _whole(1, day * _DAY_HOURS, since)
    yield from _by_days(since, last)


def _by_days(first: int, last: int) -> Iterator[Piece]:
    begin, end = -(-first // _DAY_HOURS) * _DAY_HOURS, last // _DAY_HOURS * _DAY_HOURS
    if begin >= end:
        begin = end = first
    yield from _whole(1, first, begin)
    yield from _whole(_DAY_HOURS, begin, end)
    yield from _whole(1, end, last)


def _whole(hours: int, first: int, last: int) -> Iterator[Piece]:
    if first < last:
        yield Piece(hours, _time(first), _time(last))


def _raw(since: datetime, until: datetime) -> Iterator[RawHour]:
    """Yield [since, until) hour by hour."""
    while since < until:
        hour = _time(_hours(since))
        end = until if until - hour < HOUR else hour + HOUR
        yield RawHour(hour, since, end)
        since = end


def _hours(instant: datetime, *, up: bool = False) -> int:
    """Return the whole hours from 1970 until `instant`."""
    return -((_EPOCH - instant) // HOUR) if up else (instant - _EPOCH) // HOUR


def _time(hours: int) -> datetime:
    return _EPOCH + hours * HOUR
