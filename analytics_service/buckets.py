"""How a window is cut into buckets, by the clock of a time zone. Pure arithmetic."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from analytics_service.windows import Window
from wattstream.errors import bad_field

MOST = 2000
_PLENTY = 300


class Granularity(Enum):
    """How long a bucket is, in minutes; a day is one of the calendar, whatever its length."""

    MINUTE = 1
    MINUTES_5 = 5
    MINUTES_15 = 15
    HOUR = 60
    DAY = 1440

    @property
    def in_words(self) -> str:
        """What the contract calls it."""
        number = f"{self.value}_" if self.name.startswith("MINUTES_") else ""
        return f"GRANULARITY_{number}{self.name.partition('_')[0]}"


def zone(name: str) -> ZoneInfo:
    """Return the time zone `name`, UTC for an empty one.

    Raises:
        InvalidRequestError: there is no such time zone.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise bad_field("time_zone", 'must be the name of an IANA time zone, such as "Europe/Zurich"') from None


def choose(window: Window, finest: Granularity) -> Granularity:
    """Return the finest granularity, from `finest` on, with which the window has at most 300 buckets, or else a day."""
    fitting = (one for one in _from(finest) if _count(window, one) <= _PLENTY)
    return next(fitting, Granularity.DAY)


def cuts(window: Window, granularity: Granularity, in_zone: ZoneInfo, finest: Granularity) -> list[datetime]:
    """Return where in the window one bucket ends and the next begins, in UTC.

    Raises:
        InvalidRequestError: it is finer than `finest`, or there would be more than 2,000 buckets; the error says with
            which granularity there are not.
    """
    if granularity.value < finest.value:
        raise bad_field("granularity", f"must be {finest.in_words} or coarser for the fleet")
    if _count(window, granularity) > MOST:
        fits = next(one for one in _from(granularity) if _count(window, one) <= MOST)
        raise bad_field(
            "granularity",
            f"{granularity.in_words} cuts the window into {_count(window, granularity):,} buckets; at most {MOST:,} are"
            f" answered; {fits.in_words} fits",
        )
    found = _days(window, in_zone) if granularity is Granularity.DAY else _steps(window, granularity, in_zone)
    return list(found)


def _from(finest: Granularity) -> list[Granularity]:
    return [one for one in Granularity if one.value >= finest.value]


def _count(window: Window, granularity: Granularity) -> int:
    return -(-window.length // timedelta(minutes=granularity.value))


def _days(window: Window, in_zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the beginnings of the days after the window's start: midnight, or the first time after it that there is."""
    day = window.start.astimezone(in_zone).date()
    while True:
        day += timedelta(days=1)
        cut = datetime(day.year, day.month, day.day, tzinfo=in_zone).astimezone(UTC)
        if cut >= window.end:
            return
        if cut > window.start:
            yield cut


def _steps(window: Window, granularity: Granularity, in_zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the instants of the window at which the clock shows a multiple of the granularity.

    Clocks are a whole number of minutes from UTC, and are changed by a quarter of an hour or a multiple of it, at such
    instants: so the steps between two of them are all of one length, counted anew wherever the offset changes.
    """
    step = timedelta(minutes=granularity.value)
    cut = window.start
    while True:
        local = cut.astimezone(in_zone)
        past = timedelta(hours=local.hour, minutes=local.minute) % step
        following = cut - past + step
        # Where the clock was changed in between, the change itself or the first multiple after it comes sooner.
        shift = (following.astimezone(in_zone).utcoffset() or timedelta()) - (local.utcoffset() or timedelta())
        if shift % step:
            following = _change(cut, following, in_zone)
        if following >= window.end:
            return
        yield following
        cut = following


def _change(before: datetime, after: datetime, in_zone: ZoneInfo) -> datetime:
    """Return the first whole minute after `before`, up to `after`, with another offset than `before`."""
    offset = before.astimezone(in_zone).utcoffset()
    while before < after and before.astimezone(in_zone).utcoffset() == offset:
        before += timedelta(minutes=1)
    return before
