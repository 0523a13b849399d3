"""The rule of alerts: when a drop opens and closes, and what it says."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isclose, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_service.alerts.drops import Drop, Hour, Rule, Start, find, resume

T0 = datetime(2026, 2, 10, tzinfo=UTC)
RULE = Rule(threshold=0.85, hysteresis=0.02, least_minutes=15, window_hours=24)
HOUR = timedelta(hours=1)
BEGIN = Start(T0, datetime.min.replace(tzinfo=UTC))


def hours(*efficiencies: float | None, minutes: int = 60, start: datetime = T0) -> list[Hour]:
    """Return hours one after the other; None is one without kept minutes."""
    return [Hour(start + i * HOUR, minutes, 10.0, 10.0 * e) for i, e in enumerate(efficiencies) if e is not None]


def spans(drops: list[Drop]) -> list[tuple[int, int, bool]]:
    """Return first hour, end, and whether it is open."""
    return [((d.since - T0) // HOUR, (d.until - T0) // HOUR, d.closed_by is None) for d in drops]


def test_a_healthy_subject_has_no_drop() -> None:
    assert find(RULE, BEGIN, hours(*[0.9] * 100)) == []


def test_a_drop_opens_when_the_window_is_low_and_begins_with_its_first_low_hour() -> None:
    healthy, low = [0.93] * 5, [0.75]
    assert find(RULE, BEGIN, hours(*healthy, *low * 3)) == []
    assert spans(find(RULE, BEGIN, hours(*healthy, *low * 8))) == [(5, 13, True)]


def test_too_few_minutes_open_nothing() -> None:
    assert find(RULE, BEGIN, hours(0.5, 0.5, minutes=7)) == []
    assert spans(find(RULE, BEGIN, hours(0.5, 0.5, 0.5, minutes=7))) == [(0, 3, True)]


def test_what_has_left_the_window_does_not_count() -> None:
    gap = [None] * 23
    assert find(RULE, BEGIN, hours(0.5, *gap, 0.5, minutes=14)) == []
    assert spans(find(RULE, BEGIN, hours(0.5, *gap[1:], 0.5, minutes=14))) == [(0, 24, True)]


def test_an_hour_that_is_not_low_itself_opens_nothing() -> None:
    assert find(RULE, BEGIN, [*hours(0.5, minutes=14), *hours(0.9, start=T0 + HOUR)]) == []


def test_figures_are_those_of_the_drop() -> None:
    (drop,) = find(RULE, BEGIN, hours(0.9, 0.7, 0.6, 0.8, 0.86))
    assert spans([drop]) == [(1, 4, True)]
    assert (drop.minutes, drop.kwh_ac) == (180, 30.0)
    assert drop.kwh_dc == pytest.approx(21.0)
    assert drop.lowest == pytest.approx(0.65)


def test_it_closes_once_good_minutes_outweigh_the_bad_ones_in_the_window() -> None:
    (drop,) = find(RULE, BEGIN, hours(0.8, 0.8, 0.92, 0.92))
    assert spans([drop]) == [(0, 2, False)]
    assert drop.closed_by == T0 + 3 * HOUR
    (later,) = find(RULE, BEGIN, hours(0.8, *[None] * 40, 0.92))
    assert later.closed_by == T0 + 41 * HOUR


def test_the_threshold_alone_does_not_close_it() -> None:
    assert spans(find(RULE, BEGIN, hours(0.8, *[0.865] * 60))) == [(0, 1, True)]


def test_too_few_minutes_close_nothing() -> None:
    after = hours(0.95, start=T0 + 30 * HOUR, minutes=14)
    assert spans(find(RULE, BEGIN, [*hours(0.8), *after])) == [(0, 1, True)]


def test_a_subject_that_stops_charging_stays_open() -> None:
    idle = [Hour(T0 + (3 + i) * HOUR, 60, 0.0, 0.0) for i in range(100)]
    assert spans(find(RULE, BEGIN, [*hours(0.7, 0.7), *idle])) == [(0, 2, True)]


def test_a_subject_that_swings_has_one_drop_rather_than_many() -> None:
    assert spans(find(RULE, BEGIN, hours(*[0.7, 0.9] * 30))) == [(0, 59, True)]


def test_hours_of_a_drop_that_is_over_do_not_open_another() -> None:
    again = find(RULE, BEGIN, hours(0.8, 0.95, 0.84, 0.95, 0.95))
    assert spans(again) == [(0, 1, False)]


def test_another_drop_is_another_drop() -> None:
    assert spans(find(RULE, BEGIN, hours(0.8, 0.95, *[0.7] * 3))) == [(0, 1, False), (2, 5, True)]


def test_exactly_at_the_threshold_is_not_low_however_it_is_summed() -> None:
    below = [nextafter(hour.kwh_dc, 0) for hour in hours(*[0.85] * 100)]
    series = [hour._replace(kwh_dc=dc) for hour, dc in zip(hours(*[0.85] * 100), below, strict=True)]
    assert find(RULE, BEGIN, series) == []
    assert find(RULE, BEGIN, hours(0.849999)) != []


def test_exactly_at_the_hysteresis_it_closes() -> None:
    assert spans(find(RULE, BEGIN, hours(0.84, *[None] * 30, 0.87))) == [(0, 1, False)]


SERIES = st.lists(
    st.tuples(
        st.integers(1, 9), st.integers(1, 60), st.floats(0.1, 20), st.sampled_from([0.6, 0.8, 0.84, 0.86, 0.9, 1])
    ),
    max_size=40,
).map(
    lambda rows: [
        Hour(T0 + sum(row[0] for row in rows[: i + 1]) * HOUR, minutes, ac, ac * efficiency)
        for i, (_, minutes, ac, efficiency) in enumerate(rows)
    ]
)
RULES = st.builds(
    Rule, st.sampled_from([0.7, 0.85]), st.sampled_from([0.0, 0.02, 0.1]), st.integers(1, 150), st.integers(1, 48)
)


@given(SERIES, RULES)
def test_drops_are_low_apart_and_in_order(series: list[Hour], rule: Rule) -> None:
    found = find(rule, BEGIN, series)
    assert all(drop.kwh_ac > 0 and drop.lowest < rule.threshold for drop in found)
    assert all(drop.closed_by is not None and drop.until <= drop.closed_by for drop in found[:-1])
    assert all(one.until <= other.since for one, other in pairwise(found))
    for drop in found:
        inside = [hour for hour in series if drop.since <= hour.start < drop.until]
        assert drop.minutes == sum(hour.minutes for hour in inside)
        assert drop.kwh_dc == pytest.approx(sum(hour.kwh_dc for hour in inside))
        for edge in (inside[0], inside[-1]):
            assert edge.kwh_dc < rule.threshold * edge.kwh_ac


@given(SERIES, RULES)
def test_without_a_low_hour_there_is_no_drop(series: list[Hour], rule: Rule) -> None:
    healthy = [hour._replace(kwh_dc=max(hour.kwh_dc, rule.threshold * hour.kwh_ac)) for hour in series]
    assert find(rule, BEGIN, healthy) == []


@given(SERIES, RULES)
def test_what_closes_has_crossed_both_thresholds(series: list[Hour], rule: Rule) -> None:
    for drop in find(rule, BEGIN, series):
        if drop.closed_by is not None:
            good = [h for h in series if drop.until <= h.start <= drop.closed_by]
            within = [h for h in good if h.start > drop.closed_by - rule.window]
            assert sum(h.minutes for h in within) >= rule.least_minutes
            ac, dc = sum(h.kwh_ac for h in within), sum(h.kwh_dc for h in within)
            assert dc >= (rule.threshold + rule.hysteresis - 1e-6) * ac
            assert all(h.kwh_dc >= (rule.threshold - 1e-6) * h.kwh_ac for h in good)


def test_found_again_from_within_a_drop_the_one_before_does_not_count_towards_it() -> None:
    series = hours(0.75, 0.95, 0.8, 0.7, 0.7)
    whole = find(RULE, BEGIN, series)
    assert spans(whole) == [(0, 1, False), (2, 5, True)]
    start = resume(whole, T0 + 3 * HOUR)
    assert start.drop is None
    assert same(find(RULE, start, series), whole[1:])


@given(SERIES, RULES, st.integers(0, 40), st.booleans())
def test_found_again_from_any_hour_on_drops_are_the_same(
    series: list[Hour], rule: Rule, at: int, late_bounds: bool
) -> None:
    whole = find(rule, BEGIN, series)
    changed = series[at].start if at < len(series) else T0 + 1000 * HOUR
    stored = [
        drop._replace(closed_by=drop.closed_by + at * HOUR) if late_bounds and drop.closed_by else drop
        for drop in whole
    ]
    start = resume(stored, changed)
    kept = [d for d in whole if d.since < start.first and (start.drop is None or d.since != start.drop.since)]
    lookback = [hour for hour in series if hour.start > start.first - rule.window]
    assert same(kept + find(rule, start, lookback), whole)


@given(SERIES, RULES, st.data())
def test_what_was_found_from_other_hours_before_does_not_matter(
    series: list[Hour], rule: Rule, data: st.DataObject
) -> None:
    """Some hours from one on were others, or missing, when drops were last found."""
    at = data.draw(st.integers(0, len(series)))
    old = [hour._replace(kwh_dc=hour.kwh_ac * 0.75) for hour in series[at:] if data.draw(st.booleans())]
    before = find(rule, BEGIN, [*series[:at], *old])
    changed = series[at].start if at < len(series) else T0 + 1000 * HOUR
    start = resume(before, changed)
    kept = [d for d in before if d.since < start.first and (start.drop is None or d.since != start.drop.since)]
    lookback = [hour for hour in series if hour.start > start.first - rule.window]
    assert same(kept + find(rule, start, lookback), find(rule, BEGIN, series))


def same(some: list[Drop], others: list[Drop]) -> bool:
    """Compare drops; sums taken in another order may differ in the last places."""
    return len(some) == len(others) and all(
        (a.since, a.until, a.minutes, a.closed_by) == (b.since, b.until, b.minutes, b.closed_by)
        and all(isclose(x, y, rel_tol=1e-12) for x, y in zip(a[3:6], b[3:6], strict=True))
        for a, b in zip(some, others, strict=True)
    )
