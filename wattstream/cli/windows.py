"""The window and the time zone of a question, as options."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from wattstream.cli.times import duration_option, time_option


def with_window(default: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options --last, --start and --end, and the arguments start and end, None where not given.

    `default` is what the service does where none is given, for the help.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--last",
            type=duration_option,
            metavar="DURATION",
            help=f"Window up to now, such as 7d.  [default: {default}]",
        )
        @click.option("--start", type=time_option, metavar="TIME", help="First instant of the window.")
        @click.option("--end", type=time_option, metavar="TIME", help="First instant after the window.  [default: now]")
        @functools.wraps(function)
        def run(
            *args: Any, last: timedelta | None, start: datetime | None, end: datetime | None, **kwargs: Any
        ) -> None:
            if last is not None:
                if start is not None:
                    raise click.UsageError("give --last or --start, not both")
                end = end or datetime.now(UTC)
                start = earlier(end, last)
            function(*args, start=start, end=end, **kwargs)

        return run

    return decorate


def earlier(end: datetime, by: timedelta) -> datetime:
    """Return the instant that lies `by` before `end`."""
    try:
        return end - by
    except OverflowError:
        raise click.UsageError("--last reaches back before the year 1") from None


def time_zone_option(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Check that a time zone is known here, where its clock is needed too: `callback=time_zone_option`."""
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise click.BadParameter(f"{value!r} is not a time zone such as Europe/Zurich", ctx, param) from None
    return value
