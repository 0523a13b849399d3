"""How windows are cut, against the clock read minute by minute."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_service import buckets
from analytics_service.buckets import Granularity
from analytics_service.windows import Window
from wattstream.errors import InvalidRequestError

MINUTE = timedelta(minutes=1)
T0 = datetime(2026, 2, 10, tzinfo=UTC)

# What clocks are known to do, and an hour of UTC in which, or just before which, they do it.
CHANGES = [
    ("UTC", "2026-02-10T00"),
    ("Europe/Zurich", "2026-03-29T01"),
    ("Europe/Zurich", "2026-10-25T01"),
    ("America/Sao_Paulo", "2018-02-18T02"),  # back at midnight: 23:00 twice
    ("America/Sao_Paulo", "2018-11-04T03"),  # no midnight
    ("America/Havana", "2025-11-02T05"),  # midnight twice
    ("Australia/Lord_Howe", "2026-04-04T15"),  # half an hour
    ("Australia/Lord_Howe", "2026-10-03T15"),
    ("Asia/Kolkata", "2026-02-10T18"),
    ("Asia/Kathmandu", "1985-12-31T18"),  # a quarter of an hour
    ("America/Caracas", "2016-05-01T07"),  # half an hour, at half past
    ("Asia/Colombo", "2006-04-14T18"),
    ("Pacific/Kiritimati", "1979-10-01T10"),  # 40 minutes
    ("Pacific/Apia", "2011-12-30T10"),  # a day left out
    ("Pacific/Kwajalein", "1993-08-21T12"),
    ("America/St_Johns", "2010-03-14T03"),  # at a minute past midnight
    ("America/St_Johns", "2010-11-07T02"),
    ("Antarctica/Troll", "2026-03-29T01"),  # two hours
    ("Africa/Monrovia", "1972-01-07T00"),  # seconds
]


def by_the_clock(window: Window, granularity: Granularity, zone: ZoneInfo) -> list[datetime]:
    """Where buckets begin, found by looking at the clock every minute."""
    found = []
    if granularity is Granularity.DAY:
        minute = window.start - timedelta(days=2)
        newest = minute.astimezone(zone).date()
        while (minute := minute + MINUTE) < window.end:
            if (day := minute.astimezone(zone).date()) > newest:
                newest = day
                found += [minute] if minute > window.start else []
        return found
    step, minute = granularity.value * MINUTE, window.start
    while (minute := minute + MINUTE) < window.end:
        before, local = (minute - MINUTE).astimezone(zone), minute.astimezone(zone)
        is_multiple = (timedelta(hours=local.hour) + local.minute * MINUTE) % step == timedelta()
        if is_multiple or (local.utcoffset() - before.utcoffset()) % step:
            found.append(minute)
    return found


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize(("name", "hour"), CHANGES)
@pytest.mark.parametrize(("before", "after"), [(61, 95), (1501, 1622), (30, 90)])
def test_buckets_are_those_that_the_clock_shows(name, hour, granularity, before, after):
    zone, change = buckets.zone(name), datetime.fromisoformat(hour).replace(tzinfo=UTC)
    length = 95 if granularity is Granularity.MINUTE else after
    window = Window(change - before * MINUTE, change + length * MINUTE)

    assert buckets.cuts(window, granularity, zone, Granularity.MINUTE) == by_the_clock(window, granularity, zone)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([*{name for name, _ in CHANGES}, "America/New_York", "Asia/Tehran", "Pacific/Chatham"]),
    st.integers(0, 30 * 525_960).map(lambda minute: datetime(1995, 1, 1, tzinfo=UTC) + minute * MINUTE),
    st.integers(1, 1900),
    st.sampled_from(Granularity),
)
def test_buckets_are_those_that_the_clock_shows_at_any_time(name, start, length, granularity):
    window = Window(start, start + length * MINUTE)

    found = buckets.cuts(window, granularity, buckets.zone(name), Granularity.MINUTE)

    assert found == by_the_clock(window, granularity, buckets.zone(name))


def lengths(window: Window, zone: str) -> list[float]:
    cuts = buckets.cuts(window, Granularity.DAY, buckets.zone(zone), Granularity.MINUTE)
    ends = [window.start, *cuts, window.end]
    return [(until - since) / timedelta(hours=1) for since, until in pairwise(ends)]


def test_days_have_23_or_25_hours_where_clocks_are_changed():
    spring, autumn = datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 10, 23, 22, tzinfo=UTC)

    assert lengths(Window(spring, spring + timedelta(hours=71)), "Europe/Zurich") == [24, 23, 24]
    assert lengths(Window(autumn, autumn + timedelta(hours=73)), "Europe/Zurich") == [24, 25, 24]
    assert lengths(Window(spring, spring + timedelta(hours=71)), "") == [1, 24, 24, 22]


def refusal(window: Window, granularity: Granularity, zone: str = "", finest=Granularity.MINUTE) -> tuple[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        buckets.cuts(window, granularity, buckets.zone(zone), finest)
    (violation,) = caught.value.violations
    return violation


@pytest.mark.parametrize(
    ("granularity", "length", "fits"),
    [
        (Granularity.MINUTE, timedelta(minutes=2000), "GRANULARITY_5_MINUTES"),
        (Granularity.MINUTES_5, timedelta(minutes=10_000), "GRANULARITY_15_MINUTES"),
        (Granularity.MINUTES_15, timedelta(minutes=30_000), "GRANULARITY_HOUR"),
        (Granularity.HOUR, timedelta(hours=2000), "GRANULARITY_DAY"),
        (Granularity.MINUTE, timedelta(hours=2000), "GRANULARITY_DAY"),
        (Granularity.MINUTE, timedelta(minutes=30_001), "GRANULARITY_HOUR"),
    ],
)
def test_2000_buckets_are_cut_and_with_one_more_the_error_says_what_fits(granularity, length, fits):
    if length == 2000 * granularity.value * MINUTE:
        assert len(buckets.cuts(Window(T0, T0 + length), granularity, buckets.zone(""), Granularity.MINUTE)) == 1999
    for window in (Window(T0, T0 + length + MINUTE), Window(T0 - MINUTE, T0 + length)):
        field, message = refusal(window, granularity)
        assert field == "granularity"
        assert "more than 2,000 buckets" in message
        assert message.endswith(f"{fits} fits")
        (suggested,) = (one for one in Granularity if one.in_words == fits)
        assert len(buckets.cuts(window, suggested, buckets.zone(""), Granularity.MINUTE)) < 2000


def test_a_window_at_whose_ends_are_parts_of_buckets_has_one_more():
    window = Window(T0 + MINUTE, T0 + timedelta(minutes=10_001))

    assert refusal(window, Granularity.MINUTES_5)[1].endswith("GRANULARITY_15_MINUTES fits")
    assert refusal(Window(T0, T0 + timedelta(hours=2000)), Granularity.HOUR, "Asia/Kolkata")[0] == "granularity"


def test_a_window_of_too_many_days_is_refused():
    assert refusal(Window(T0, T0 + timedelta(days=2000, minutes=1)), Granularity.DAY)[0] == "window"
    assert len(buckets.cuts(Window(T0, T0 + timedelta(days=2000)), Granularity.DAY, buckets.zone(""), Granularity.HOUR))


@pytest.mark.parametrize(
    ("start", "length", "finest", "chosen"),
    [
        (T0, 300, Granularity.MINUTE, Granularity.MINUTE),
        (T0, 301, Granularity.MINUTE, Granularity.MINUTES_5),
        (T0, 1500, Granularity.MINUTE, Granularity.MINUTES_5),
        (T0 + MINUTE, 1500, Granularity.MINUTE, Granularity.MINUTES_15),
        (T0, 300 * 60, Granularity.MINUTE, Granularity.HOUR),
        (T0, 60, Granularity.HOUR, Granularity.HOUR),
        (T0, 301 * 60, Granularity.HOUR, Granularity.DAY),
        (T0, 400 * 1440, Granularity.MINUTE, Granularity.DAY),
    ],
)
def test_the_finest_granularity_with_at_most_300_buckets_is_chosen_or_a_day(start, length, finest, chosen):
    assert buckets.choose(Window(start, start + length * MINUTE), buckets.zone(""), finest) is chosen


@pytest.mark.parametrize("granularity", [Granularity.MINUTE, Granularity.MINUTES_5, Granularity.MINUTES_15])
def test_the_fleet_has_no_buckets_finer_than_an_hour(granularity):
    field, message = refusal(Window(T0, T0 + timedelta(hours=3)), granularity, finest=Granularity.HOUR)
    assert (field, message) == ("granularity", "must be GRANULARITY_HOUR or coarser for the fleet")


@pytest.mark.parametrize("granularity", [Granularity.HOUR, Granularity.DAY])
@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"])
def test_the_fleet_has_no_buckets_that_begin_within_an_hour(granularity, zone):
    # On Lord Howe it is a whole number of hours at both ends, but not in between.
    window = Window(datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 5, 20, tzinfo=UTC))
    assert refusal(window, granularity, zone, Granularity.HOUR)[0] == "time_zone"


def test_the_fleet_has_no_single_bucket_in_such_a_zone_either():
    assert refusal(Window(T0, T0 + timedelta(hours=1)), Granularity.DAY, "Asia/Kolkata", Granularity.HOUR)


def test_the_fleets_buckets_begin_at_whole_hours_of_other_zones():
    window = Window(datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 4, 20, tzinfo=UTC))
    found = buckets.cuts(window, Granularity.DAY, buckets.zone("Europe/Zurich"), Granularity.HOUR)
    assert {cut.hour for cut in found} == {22, 23}


@pytest.mark.parametrize(
    "name",
    [
        *("localtime", "right/UTC", "posix/Europe/Zurich", "posixrules", "zone.tab", "Factory", "/etc/localtime"),
        *("Europe/Zürich", "Europe", "Mars/Base", "../UTC", "a\0b", "x" * 5000, " "),
    ],
)
def test_what_is_no_time_zone_is_refused_with_an_example(name):
    with pytest.raises(InvalidRequestError) as caught:
        buckets.zone(name)
    ((field, message),) = caught.value.violations
    assert field == "time_zone"
    assert "Europe/Zurich" in message


def test_no_time_zone_is_utc():
    assert buckets.zone("").key == "UTC"
