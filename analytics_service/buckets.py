"""How a window is cut into buckets, by the clock of a time zone. Pure arithmetic."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from analytics_service.windows import Window
from wattstream.errors import InvalidRequestError, bad_field

MOST = 2000
_PLENTY = 300
_MINUTE = timedelta(minutes=1)
# Files beside the time zones, and zones that are none of the world's.
_NO_ZONES = {"Factory", "localtime", "posix", "posixrules", "right"}


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
        if name.partition("/")[0] in _NO_ZONES:
            raise ValueError(name)
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise bad_field("time_zone", 'must be the name of an IANA time zone, such as "Europe/Zurich"') from None


def choose(window: Window, in_zone: ZoneInfo, finest: Granularity) -> Granularity:
    """Return the finest granularity, from `finest` on, with which the window has at most 300 buckets, or else a day."""
    fitting = (one for one in _from(finest) if _fits(window, one, in_zone, _PLENTY))
    return next(fitting, Granularity.DAY)


def cuts(window: Window, granularity: Granularity, in_zone: ZoneInfo, finest: Granularity) -> list[datetime]:
    """Return where in the window one bucket ends and the next begins, in UTC.

    Raises:
        InvalidRequestError: it is finer than `finest`, or there would be more than 2,000 buckets; the error says with
            which granularity there are not. Or `finest` is an hour, and buckets do not begin at whole UTC hours.
    """
    if granularity.value < finest.value:
        raise bad_field("granularity", f"must be {finest.in_words} or coarser for the fleet")
    found = list(islice(_cuts(window, granularity, in_zone), MOST))
    if len(found) == MOST:
        raise _too_many(window, granularity, in_zone)
    if finest is Granularity.HOUR and any(_is_odd(cut, in_zone) for cut in [window.start, *found]):
        raise bad_field("time_zone", "must be a whole number of hours from UTC for the fleet")
    return found


def _is_odd(instant: datetime, in_zone: ZoneInfo) -> bool:
    """Tell whether what the clock shows is not a whole number of hours from UTC."""
    return bool(_offset(instant, in_zone) % timedelta(hours=1))


def _too_many(window: Window, granularity: Granularity, in_zone: ZoneInfo) -> InvalidRequestError:
    fits = next((one for one in _from(granularity) if _fits(window, one, in_zone, MOST)), None)
    if fits is None:
        return bad_field("window", f"must be at most {MOST:,} days long to be cut into buckets")
    said = f"{granularity.in_words} cuts the window into more than {MOST:,} buckets; {fits.in_words} fits"
    return bad_field("granularity", said)


def _from(finest: Granularity) -> list[Granularity]:
    return [one for one in Granularity if one.value >= finest.value]


def _fits(window: Window, granularity: Granularity, in_zone: ZoneInfo, most: int) -> bool:
    """Tell whether the window has at most so many buckets; looks at no more of them than need be."""
    return next(islice(_cuts(window, granularity, in_zone), most - 1, None), None) is None


def _cuts(window: Window, granularity: Granularity, in_zone: ZoneInfo) -> Iterator[datetime]:
    return _days(window, in_zone) if granularity is Granularity.DAY else _steps(window, granularity, in_zone)


def _days(window: Window, in_zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the beginnings of the days after the window's start: the first whole minute in which there is that day.

    That is midnight, the first of two, or where the clock was put forward over midnight the instant of that; where a
    whole day was left out, it has no beginning of its own.
    """
    day, last = window.start.astimezone(in_zone).date(), window.start
    while True:
        day += timedelta(days=1)
        cut = datetime(day.year, day.month, day.day, tzinfo=in_zone).astimezone(UTC)
        cut += -timedelta(seconds=cut.second) % _MINUTE
        if cut >= window.end:
            return
        if cut > last:
            yield cut
            last = cut


def _steps(window: Window, granularity: Granularity, in_zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the instants of the window at which the clock shows a multiple of the granularity.

    Steps between them are all of one length. Where the clock is changed by something else than a multiple, they are
    counted anew from there, and the change itself is between two buckets.
    """
    step = timedelta(minutes=granularity.value)
    cut = window.start
    while True:
        local = cut.astimezone(in_zone)
        past = timedelta(hours=local.hour, minutes=local.minute) % step
        following = cut - past + step
        if (_offset(following, in_zone) - _offset(cut, in_zone)) % step:
            following = _change(cut, following, in_zone)
        if following >= window.end:
            return
        yield following
        cut = following


def _change(before: datetime, after: datetime, in_zone: ZoneInfo) -> datetime:
    """Return the first whole minute after `before`, up to `after`, with another offset than `before`."""
    offset = _offset(before, in_zone)
    while before < after and _offset(before, in_zone) == offset:
        before += _MINUTE
    return before


def _offset(instant: datetime, in_zone: ZoneInfo) -> timedelta:
    return instant.astimezone(in_zone).utcoffset() or timedelta()
