"""Times and durations as people write them."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream.cli.times import parse_duration, parse_time, utc


@settings(deadline=None)
@given(st.datetimes(timezones=st.sampled_from([UTC])))
def test_a_time_is_read_as_it_is_written_to_the_microsecond(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment
    assert parse_time(moment.replace(tzinfo=None).isoformat() + "Z") == moment


def test_an_offset_counts() -> None:
    assert parse_time("2026-02-10T15:47+01:00") == datetime(2026, 2, 10, 14, 47, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-02-10T14:47", "2026-02-10"])
def test_a_time_without_a_zone_is_refused_saying_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="end it with Z for UTC"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("1.5h", timedelta(minutes=90)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
    ],
)
def test_a_duration_is_read(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "24", "h", "24h?", "-1h", "1h 30m", "1w", "9" * 30 + "d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long"):
        parse_duration(text)


def test_people_read_no_zeros() -> None:
    assert utc(datetime(2026, 2, 10, 14, 47, tzinfo=UTC)) == "2026-02-10 14:47"
    assert utc(datetime(2026, 2, 10, 14, 47, 5, tzinfo=UTC)) == "2026-02-10 14:47:05"
