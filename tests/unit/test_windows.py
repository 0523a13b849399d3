from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_service import windows
from wattstream.errors import InvalidRequestError

NOW = datetime(2026, 2, 10, 15, 4, 59, 999_999, tzinfo=UTC)
LONGEST = timedelta(days=31)

minutes = st.integers(0, 4_000_000).map(lambda n: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=n))
lengths = st.integers(1, 31 * 24 * 60).map(lambda n: timedelta(minutes=n))
seconds = st.integers(0, 253_402_300_799)


def at(hour: int, minute: int = 0, day: int = 10) -> datetime:
    return datetime(2026, 2, day, hour, minute, tzinfo=UTC)


def test_default_is_the_24_hours_until_the_minute_that_holds_now():
    assert windows.resolve(None, None, NOW, LONGEST) == windows.Window(at(15, 4, day=9), at(15, 4))


def test_start_alone_lasts_until_now():
    assert windows.resolve(at(13), None, NOW, LONGEST) == windows.Window(at(13), at(15, 4))


def test_end_alone_begins_24_hours_before_it():
    assert windows.resolve(None, at(12), NOW, LONGEST) == windows.Window(at(12, day=9), at(12))


@given(minutes, lengths)
def test_a_window_given_whole_is_used_as_given_whatever_now_is(start: datetime, length: timedelta):
    assert windows.resolve(start, start + length, NOW, LONGEST) == windows.Window(start, start + length)


@given(minutes, st.integers(0, 10_000).map(lambda n: timedelta(minutes=n)))
def test_a_window_that_does_not_end_after_its_start_is_refused(end: datetime, excess: timedelta):
    with pytest.raises(InvalidRequestError) as caught:
        windows.resolve(end + excess, end, NOW, LONGEST)
    (violation,) = caught.value.violations
    assert violation.field == "window.start"
    assert f"before window.end, {end.isoformat()}" in violation.message


def test_a_start_in_the_minute_of_now_is_refused_naming_now():
    with pytest.raises(InvalidRequestError, match="before now, 2026-02-10T15:04:00"):
        windows.resolve(at(15, 4), None, NOW, LONGEST)


def test_the_longest_window_is_allowed_and_a_minute_more_is_refused_with_both_lengths():
    start = at(0, day=1)
    assert windows.resolve(start, start + LONGEST, NOW, LONGEST).length == LONGEST
    with pytest.raises(InvalidRequestError) as caught:
        windows.resolve(start, start + LONGEST + timedelta(minutes=1), NOW, LONGEST)
    assert caught.value.violations == (("window", "must be at most 31 days long; got 44641 minutes"),)


@given(seconds, st.integers(0, 999_999_999))
def test_an_instant_is_floored_to_its_minute(second: int, nano: int):
    minute = windows.minute_of("window.start", second, nano)
    assert minute.tzinfo is UTC
    assert (minute - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) == second - second % 60


@pytest.mark.parametrize(
    ("second", "nano"),
    [(-1, 0), (253_402_300_800, 0), (2**63 - 1, 0), (-(2**63), 0), (0, -1), (0, 1_000_000_000), (0, 2**31 - 1)],
)
def test_an_instant_outside_the_years_1970_to_9999_or_with_bad_nanos_is_refused(second: int, nano: int):
    with pytest.raises(InvalidRequestError) as caught:
        windows.minute_of("window.end", second, nano)
    assert caught.value.violations[0].field == "window.end"


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(minutes=1), "1 minute"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(hours=24), "24 hours"),
        (timedelta(hours=25), "25 hours"),
        (timedelta(days=2), "2 days"),
        (timedelta(days=31), "31 days"),
        (timedelta(days=1, minutes=1), "1441 minutes"),
    ],
)
def test_a_length_is_said_in_the_largest_unit_that_divides_it_and_a_day_is_24_hours(length: timedelta, words: str):
    assert windows.in_words(length) == words
