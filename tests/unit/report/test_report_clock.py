"""Marks on axes of time."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from wattstream.report.clock import clock_changes, ticks

ZURICH = ZoneInfo("Europe/Zurich")
SPRING = datetime(2026, 3, 28, 23, tzinfo=UTC)  # midnight in Zurich, before the day of 23 hours
AUTUMN = datetime(2026, 10, 24, 22, tzinfo=UTC)  # before the day of 25 hours


def texts(start: datetime, hours: float, most: int, zone: ZoneInfo = ZURICH) -> list[str]:
    return [tick.text for tick in ticks(start, start + timedelta(hours=hours), zone, most)]


def test_a_day_has_its_marks_at_round_hours_and_the_date_where_it_changes() -> None:
    start = datetime(2026, 3, 10, tzinfo=UTC)
    marks = ticks(start, start + timedelta(days=1), ZoneInfo("UTC"), 5)
    assert [(mark.text, mark.below) for mark in marks] == [
        ("00:00", "10 Mar"),
        ("06:00", ""),
        ("12:00", ""),
        ("18:00", ""),
        ("00:00", "11 Mar"),
    ]


def test_marks_follow_the_local_clock_when_it_is_changed() -> None:
    assert texts(SPRING, 23, 8) == ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]
    assert texts(AUTUMN, 25, 9) == ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]


def test_an_hour_that_no_clock_shows_has_no_mark() -> None:
    assert texts(SPRING, 5, 6) == ["00:00", "01:00", "03:00", "04:00", "05:00", "06:00"]


@pytest.mark.parametrize("hours", [0.05, 1, 7, 24, 7 * 24, 31 * 24, 120 * 24, 400 * 24])
def test_there_are_a_few_marks_whatever_the_window(hours: float) -> None:
    start = datetime(2025, 2, 3, 10, 17, tzinfo=UTC)
    assert 2 <= len(texts(start, hours, 12)) <= 13


def test_marks_of_a_long_window_are_months_with_the_year_where_it_changes() -> None:
    marks = ticks(datetime(2025, 2, 3, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC), ZoneInfo("UTC"), 12)
    assert [f"{mark.text} {mark.below}".strip() for mark in marks][:3] == ["Mar 2025", "May", "Jul"]
    assert "Jan 2026" in [f"{mark.text} {mark.below}" for mark in marks]


def test_changes_of_the_clock_are_found_to_the_minute() -> None:
    assert clock_changes(SPRING, SPRING + timedelta(hours=23), ZURICH) == [
        (datetime(2026, 3, 29, 1, tzinfo=UTC), timedelta(hours=1))
    ]
    assert clock_changes(AUTUMN, AUTUMN + timedelta(hours=25), ZURICH) == [
        (datetime(2026, 10, 25, 1, tzinfo=UTC), timedelta(hours=-1))
    ]
    assert clock_changes(SPRING, SPRING + timedelta(hours=23), ZoneInfo("UTC")) == []
