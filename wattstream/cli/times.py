"""Times and durations as people write them: 2026-02-10T14:47Z, 24h."""

import re
from datetime import UTC, datetime, timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse_time(text: str) -> datetime:
    """Return the instant that an ISO-8601 text with Z or an offset names, to the microsecond.

    Raises:
        ValueError: the text is no such time; the message says what would be right.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as 2026-02-10T14:47:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: end it with Z for UTC, or an offset such as +01:00")
    return moment


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as 90s, 15m, 24h, 7d or 1h30m names.

    Raises:
        ValueError: the text is no such duration, or is longer than can be reckoned with.
    """
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 24h, 7d or 1h30m")
    try:
        return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None


def time_option(text: str) -> datetime:
    """Read the value of an option that is a time: `type=time_option`."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def duration_option(text: str) -> timedelta:
    """Read the value of an option that is a duration: `type=duration_option`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def utc(moment: datetime) -> str:
    """Return `moment` for people, in UTC, without what is zero: 2026-02-10 14:47:05."""
    moment = moment.astimezone(UTC)
    spec = "microseconds" if moment.microsecond else "seconds" if moment.second else "minutes"
    return moment.replace(tzinfo=None).isoformat(" ", spec)
