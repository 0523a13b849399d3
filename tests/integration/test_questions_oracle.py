"""Series, ranking, summary and use of meters, against their definitions, whatever of it is rolled up, stale or raw."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_service import buckets, fleet, store
from analytics_service.buckets import Granularity
from analytics_service.fleet import Order, Ranked, Ranking
from analytics_service.meter_use import meter_use
from analytics_service.performance import Correlation, Performance
from analytics_service.windows import Window
from tests.integration import question_oracle as oracle
from tests.integration.fleets import METERS, T0, VEHICLES, Fleet, MeterReading, VehicleReading
from tests.integration.question_oracle import large_fleets
from tests.integration.world import World, opened

FIRST = T0.replace(minute=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
examples = partial(settings, deadline=None, suppress_health_check=list(HealthCheck))

# What has happened when the question comes: the first readings are written, some of them rolled up, and so on.
histories = st.tuples(
    st.lists(
        st.one_of(
            st.tuples(st.just("refresh"), st.sampled_from([0, 1, 2, 3, 26, 72]).map(lambda n: FIRST + n * HOUR)),
            st.tuples(st.just("step"), st.sampled_from([FIRST + DAY, FIRST + 3 * DAY])),
            st.tuples(st.sampled_from(["write", "assign"]), st.none()),
        ),
        min_size=2,
        max_size=7,
    ),
    st.lists(st.integers(0, 5), min_size=1, max_size=7),
)
hours = st.builds(
    lambda start, length: Window(FIRST + timedelta(hours=start), FIRST + timedelta(hours=start + length)),
    st.sampled_from([-22, -22, -3, 0, 1, 2, 4]),
    st.sampled_from([1, 2, 4, 24, 49, 190]),
)
windows = st.builds(
    lambda start, length: Window(T0 + timedelta(minutes=start), T0 + timedelta(minutes=start + length)),
    st.sampled_from([-61, 0, 1, 2, 40]),
    st.sampled_from([1, 2, 17, 61, 300, 1441, 1990]),
)


def cut_as(granularities: Iterable[Granularity], zones: Sequence[str]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(list(granularities)), st.sampled_from(zones).map(buckets.zone))


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with opened(database) as world:
        yield world


async def live(world: World, whole: Fleet, history: tuple[Sequence[tuple[str, datetime]], Sequence[int]]) -> Fleet:
    """Let it happen, and return what is stored in the end: all of `whole`."""
    await world.empty()
    steps, shares = history
    steps = [*steps, ("assign", T0)]
    waiting = dealt(whole, shares, 1 + sum(kind == "write" for kind, _ in steps))
    await world.write(waiting.pop())
    for kind, value in steps:
        if kind == "refresh":
            await world.refresh(value)
        elif kind == "step":
            await world.refresher.step(value)
        elif kind == "write":
            await world.write(waiting.pop())
        elif not world.stored.assignments:
            await world.assign(whole)
    return world.stored


def dealt(whole: Fleet, shares: Sequence[int], count: int) -> list[Fleet]:
    parts = [Fleet([], [], [], T0, T0) for _ in range(count)]
    for number, reading in enumerate(whole.readings):
        parts[shares[number % len(shares)] % count].readings.append(reading)
    for number, metered in enumerate(whole.meter_readings):
        parts[shares[-number % len(shares)] % count].meter_readings.append(metered)
    return parts


def between(window: Window, cuts: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    return list(pairwise([window.start, *cuts, window.end]))


@examples(max_examples=8)
@given(
    large_fleets(),
    histories,
    windows,
    cut_as(Granularity, ["UTC", "Asia/Kolkata", "Europe/Zurich", "Pacific/Chatham"]),
)
async def test_a_vehicles_series(world: World, whole, history, window, cut):
    stored = await live(world, whole, history)
    cuts = buckets.cuts(window, *cut, Granularity.MINUTE)
    for correlation in Correlation:
        for vehicle in VEHICLES:
            found = await store.buckets(world.answers, vehicle, window, cuts, correlation)
            for one, (start, end) in zip(found, between(window, cuts), strict=True):
                if correlation is Correlation.ASSIGNED_METER:
                    expected = oracle.assigned(stored, vehicle, start, end)
                else:
                    expected = oracle.performance(stored, [vehicle], start, end)
                assert replace(one, meter_ids=()) == replace(expected, meter_ids=())
            await adds_up(world, vehicle, window, correlation, found)


async def adds_up(
    world: World, vehicle: str, window: Window, correlation: Correlation, series: Sequence[Performance]
) -> None:
    """The buckets of a series add up to what the window has as a whole."""
    answer = await store.performances(world.answers, [vehicle], window, correlation)
    if vehicle not in answer:
        assert all(bucket.is_empty for bucket in series)
        return
    for name in vars(answer[vehicle]).keys() - {"meter_ids"}:
        assert sum(getattr(bucket, name) for bucket in series) == getattr(answer[vehicle], name), name


@examples(max_examples=8)
@given(
    large_fleets(),
    histories,
    hours,
    cut_as([Granularity.HOUR, Granularity.DAY], ["UTC", "Europe/Zurich", "Pacific/Kiritimati"]),
)
async def test_the_fleets_series_and_summary(world: World, whole, history, window, cut):
    stored = await live(world, whole, history)
    cuts = buckets.cuts(window, *cut, Granularity.HOUR)

    found = await fleet.series(world.answers, window, cuts)

    for one, (start, end) in zip(found, between(window, cuts), strict=True):
        assert one == replace(oracle.performance(stored, VEHICLES, start, end), meter_ids=())
    row = await fleet.summary(world.answers, window)
    expected = oracle.summary(stored, window.start, window.end)
    assert {name: row[name] for name in expected} == expected


async def test_gaps_of_hours_are_found_in_days_that_are_rolled_up(world: World):
    await world.empty()
    midnight = FIRST.replace(hour=0)
    metered = [MeterReading("M1", midnight + hour * HOUR, 0.5) for hour in (1, 4, 27, 28)]
    await world.write(Fleet([], metered, [], T0, T0))
    await world.rows("UPDATE rollup_state SET log_from = %s RETURNING 1", midnight)
    await world.refresh()

    row = await fleet.summary(world.answers, Window(midnight, midnight + 2 * DAY))

    assert (row["meter_gaps"], row["meter_gap_hours"], row["longest_meter_gap_hours"]) == (2, 24, 22)


rankings = st.fixed_dictionaries(
    {
        "window": hours,
        "order": st.sampled_from(Order),
        "reverse": st.booleans(),
        "min_kwh_consumed_ac": st.sampled_from([0, 0, 0, 5, 20]),
        "efficiency_below": st.sampled_from([None, None, 0, 0.85, 1, inf]),
        "meter_ids": st.sampled_from([None, None, ["M1"], ["M2", "M9"], ["M1", "M2"], ["M9"]]),
    }
).map(lambda parts: Ranking(**parts))


async def pages(world: World, asked: Ranking, size: int) -> list[Ranked]:
    """All of a ranking, asked for page by page."""
    found: list[Ranked] = []
    while page := await fleet.ranking(world.answers, asked, found[-1].place if found else (-inf, 0), size):
        assert len(page) <= size
        found += page
    return found


def value(order: Order, one: Performance) -> float | None:
    if order is Order.EFFICIENCY:
        return one.efficiency
    return {
        Order.KWH_LOST: -one.kwh_lost,
        Order.KWH_CONSUMED_AC: -one.kwh_consumed_ac,
        Order.KWH_DELIVERED_DC: -one.kwh_delivered_dc,
    }[order]


def ranked(stored: Fleet, asked: Ranking) -> list[tuple[str, Performance]]:
    """Who is in a ranking, in its order; vehicles of the same value by when they were registered."""
    found = []
    for vehicle in VEHICLES:
        one = oracle.performance(stored, [vehicle], asked.window.start, asked.window.end, asked.meter_ids)
        is_high = one.efficiency is None or one.efficiency >= (asked.efficiency_below or 0)
        if one.minutes_kept == 0 or one.kwh_consumed_ac < asked.min_kwh_consumed_ac:
            continue
        if asked.efficiency_below is None or not is_high:
            found.append((vehicle, one))

    def place(entry: tuple[str, Performance]) -> float:
        found = value(asked.order, entry[1])
        return inf if found is None else round(found * (-1 if asked.reverse else 1), 8)

    return sorted(found, key=place)


@examples(max_examples=8)
@given(large_fleets(), histories, st.lists(rankings, min_size=3, max_size=3), st.integers(1, 2))
async def test_ranking_page_by_page(world: World, whole, history, questions, size):
    stored = await live(world, whole, history)
    for asked in questions:
        expected = ranked(stored, asked)

        found = await pages(world, asked, size)

        assert [(one.vehicle_id, one.performance) for one in found] == expected


async def test_pages_fit_together_while_sums_change_in_their_last_digits(world: World):
    await world.empty()
    # By the hour 1.2000000000000002, by the day 0.2 and 1.0.
    ac = {("V1", "M1"): (0.1, 0.1, 0.1, 0.9), ("V2", "M2"): (0.1, 0.1, 0.1, 0.1)}
    at = [FIRST + timedelta(hours=number) for number in range(4)]
    readings = [VehicleReading(vehicle, instant, meter, 0.1, 50, 20) for vehicle, meter in ac for instant in at]
    metered = [MeterReading(meter, *one) for (_, meter), each in ac.items() for one in zip(at, each, strict=True)]
    await world.write(Fleet(readings, metered, [], T0, T0))
    days = Window(FIRST.replace(hour=0), FIRST.replace(hour=0) + 2 * DAY)
    asked = Ranking(days, Order.KWH_CONSUMED_AC, False, 0, None, None)

    first = await fleet.ranking(world.answers, asked, (-inf, 0), 1)
    await world.refresh()  # from here on, what was added up by the hour is added up by the day
    second = await fleet.ranking(world.answers, asked, first[-1].place, 1)

    assert first[0].performance.kwh_consumed_ac > 1.2
    assert [one.vehicle_id for one in (*first, *second)] == ["V1", "V2"]


async def test_a_meter_that_late_readings_show_to_be_shared_is_no_longer_among_a_vehicles_meters(world: World):
    await world.empty()
    readings = [VehicleReading("V1", FIRST + n * HOUR, meter, 0.4, 50, 20) for n, meter in enumerate(METERS)]
    metered = [MeterReading(meter, FIRST + n * HOUR, 0.5) for n, meter in enumerate(METERS)]
    asked = Ranking(Window(FIRST, FIRST + 2 * HOUR), Order.EFFICIENCY, False, 0, None, None)
    await world.write(Fleet(readings, metered, [], T0, T0))
    await world.refresh()
    [before] = await pages(world, asked, 9)

    await world.write(Fleet([VehicleReading("V2", FIRST, "M1", 0.1, 50, 20)], [], [], T0, T0))

    [after] = await pages(world, asked, 9)
    assert (before.performance.meter_ids, after.performance.meter_ids) == (("M1", "M2"), ("M2",))


@examples(max_examples=8)
@given(large_fleets(), histories, windows)
async def test_use_of_meters(world: World, whole, history, window):
    stored = await live(world, whole, history)
    for meter in METERS:
        totals, stays = oracle.meter_use(stored, meter, window.start, window.end)

        rows = await meter_use(world.answers, meter, window)

        assert {name: rows[0][name] for name in totals} == totals
        assert totals["kwh_consumed_ac"] == sum(
            rows[0][name] for name in ("kwh_exclusive", "kwh_shared", "kwh_unexplained")
        )
        found = [row for row in reversed(rows) if row["vehicle_id"] is not None]
        assert [{name: row[name] for name in oracle.STAY} for row in found] == stays
