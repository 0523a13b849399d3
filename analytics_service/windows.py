"""Windows of time: which one a question means, and what it is called in words."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from wattstream.errors import bad_field

DEFAULT_LENGTH = timedelta(hours=24)

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z
_LAST_NANO = 999_999_999


@dataclass(frozen=True)
class Window:
    """A half-open stretch of time, [start, end), between whole UTC minutes."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start


def instant_of(field: str, seconds: int, nanos: int) -> datetime:
    """Return the microsecond that holds an instant, given as seconds since 1970 and nanoseconds, in UTC.

    Raises:
        InvalidRequestError: it is not an instant of the years 1970 to 9999; the error names `field`.
    """
    if not 0 <= seconds <= _LAST_SECOND:
        raise bad_field(field, "must be a time between the years 1970 and 9999")
    if not 0 <= nanos <= _LAST_NANO:
        raise bad_field(field, f"must have nanos between 0 and {_LAST_NANO}")
    return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=nanos // 1000)


def minute_of(field: str, seconds: int, nanos: int) -> datetime:
    """Return the whole UTC minute that holds an instant.

    Raises:
        InvalidRequestError: as for `instant_of`.
    """
    return floor(instant_of(field, seconds, nanos))


def floor(instant: datetime) -> datetime:
    """Return the whole minute that holds `instant`."""
    return instant.replace(second=0, microsecond=0)


def resolve(start: datetime | None, end: datetime | None, now: datetime, longest: timedelta) -> Window:
    """Return the window that is meant by whole minutes `start` and `end`: by default the 24 hours until `now`.

    Raises:
        InvalidRequestError: the window is empty, or longer than `longest`.
    """
    until = floor(now) if end is None else end
    since = until - DEFAULT_LENGTH if start is None else start
    if since >= until:
        which = "now" if end is None else "window.end"
        raise bad_field("window.start", f"must be at least one whole UTC minute before {which}, {until.isoformat()}")
    return _limited(Window(since, until), longest)


def resolve_hours(start: datetime | None, end: datetime, longest: timedelta) -> Window:
    """Return the window between the whole UTC hours that hold `start` and `end`: by default 24 hours.

    Raises:
        InvalidRequestError: there is no whole hour in it, or it is longer than `longest`.
    """
    until = floor(end).replace(minute=0)
    since = until - DEFAULT_LENGTH if start is None else start.replace(minute=0)
    if since >= until:
        raise bad_field("window.start", f"must be at least one whole UTC hour before the end, {until.isoformat()}")
    return _limited(Window(since, until), longest)


def _limited(window: Window, longest: timedelta) -> Window:
    if window.length > longest:
        raise bad_field("window", f"must be at most {in_words(longest)} long; got {in_words(window.length)}")
    return window


def in_words(length: timedelta) -> str:
    """Return a length of whole minutes in the largest unit that divides it: "31 days", "24 hours", "90 minutes"."""
    if length % _DAY == timedelta() and length > _DAY:
        return _plural(length // _DAY, "day")
    if length % _HOUR == timedelta():
        return _plural(length // _HOUR, "hour")
    return _plural(length // _MINUTE, "minute")


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"
