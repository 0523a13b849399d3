"""What becomes of stored alerts when drops are found again."""

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from analytics_service.alerts.drops import Drop, Hour, Rule, Start, find, resume
from analytics_service.alerts.revision import CLOSED, OPEN, WITHDRAWN, Change, Known, changes, live

T0 = datetime(2026, 2, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULE = Rule(threshold=0.85, hysteresis=0.02, least_minutes=15, window_hours=24)
EVER = datetime.min.replace(tzinfo=UTC)
BEGIN = Start(T0, EVER)


def drop(since: int, until: int, closed_by: int | None = None) -> Drop:
    closed = None if closed_by is None else T0 + closed_by * HOUR
    return Drop(T0 + since * HOUR, T0 + until * HOUR, 60, 10.0, 7.0, 0.7, closed)


def known(alert_id: int, found: Drop, state: int | None = None) -> Known:
    return Known(alert_id, state or (OPEN if found.closed_by is None else CLOSED), found)


def test_what_is_as_it_was_is_no_change() -> None:
    assert changes([known(7, drop(1, 3)), known(6, drop(0, 1, 1))], BEGIN, [drop(0, 1, 1), drop(1, 3)]) == []


def test_the_last_places_of_a_sum_are_no_change_and_others_are() -> None:
    stored = [known(7, drop(1, 3))]
    assert changes(stored, BEGIN, [drop(1, 3)._replace(kwh_ac=10.0 * (1 + 1e-12))]) == []
    assert len(changes(stored, BEGIN, [drop(1, 3)._replace(kwh_ac=10.0 * (1 + 1e-6))])) == 1
    assert len(changes(stored, BEGIN, [drop(1, 3)._replace(lowest=0.6)])) == 1


def test_a_new_drop_is_a_new_alert() -> None:
    assert changes([], BEGIN, [drop(1, 3)]) == [Change(None, OPEN, drop(1, 3))]


def test_a_drop_that_goes_on_or_ends_is_the_same_alert() -> None:
    for found, state in ((drop(1, 5), OPEN), (drop(1, 3, 4), CLOSED), (drop(2, 3), OPEN)):
        assert changes([known(7, drop(1, 3))], BEGIN, [found]) == [Change(7, state, found)]


def test_a_drop_that_never_ended_opens_its_alert_again() -> None:
    assert changes([known(7, drop(1, 3, 4))], BEGIN, [drop(1, 6)]) == [Change(7, OPEN, drop(1, 6))]


def test_two_alerts_that_are_one_drop_go_on_as_the_older() -> None:
    two = [known(7, drop(1, 3, 4)), known(8, drop(5, 6))]
    assert changes(two, BEGIN, [drop(1, 6)]) == [Change(7, OPEN, drop(1, 6)), Change(8, WITHDRAWN, drop(5, 6))]


def test_an_alert_that_is_two_drops_is_the_first() -> None:
    one = [known(7, drop(1, 6))]
    assert changes(one, BEGIN, [drop(1, 2, 3), drop(4, 6)]) == [
        Change(7, CLOSED, drop(1, 2, 3)),
        Change(None, OPEN, drop(4, 6)),
    ]


def test_an_alert_without_a_drop_is_withdrawn_once() -> None:
    assert changes([known(7, drop(1, 3))], BEGIN, []) == [Change(7, WITHDRAWN, drop(1, 3))]
    assert changes([known(7, drop(1, 3), WITHDRAWN)], BEGIN, []) == []


def test_a_withdrawn_alert_comes_back_unless_there_is_another() -> None:
    withdrawn = known(7, drop(1, 3), WITHDRAWN)
    assert changes([withdrawn], BEGIN, [drop(2, 4)]) == [Change(7, OPEN, drop(2, 4))]
    assert changes([withdrawn, known(8, drop(2, 4))], BEGIN, [drop(2, 4)]) == []


def test_a_withdrawn_alert_that_began_before_the_start_comes_back_too() -> None:
    start = Start(T0 + 2 * HOUR, EVER)
    assert changes([known(7, drop(1, 3), WITHDRAWN)], start, [drop(2, 4)]) == [Change(7, OPEN, drop(2, 4))]


def test_alerts_before_the_start_stay() -> None:
    start = Start(T0 + 10 * HOUR, EVER)
    assert changes([known(7, drop(1, 3, 4))], start, []) == []
    goes_on = start._replace(drop=drop(1, 3))
    assert changes([known(7, drop(1, 3))], goes_on, [drop(1, 12)]) == [Change(7, OPEN, drop(1, 12))]


def test_an_alert_that_closed_later_than_is_stored_is_a_change() -> None:
    stored = [known(7, drop(1, 3, 5))]
    assert changes(stored, BEGIN, [drop(1, 3, 4)]) == []
    assert changes(stored, BEGIN, [drop(1, 3, 6)]) == [Change(7, CLOSED, drop(1, 3, 6))]


class Store:
    """Stores the alerts of one subject, as hours of it become known."""

    def __init__(self) -> None:
        self.hours: dict[datetime, Hour] = {}
        self.known: dict[int, Known] = {}

    def learn(self, hours: list[Hour]) -> None:
        self.hours.update({hour.start: hour for hour in hours})
        stored = list(self.known.values())
        start = resume(live(stored), min(hour.start for hour in hours))
        lookback = [self.hours[h] for h in sorted(self.hours) if h > start.first - RULE.window]
        for change in changes(stored, start, find(RULE, start, lookback)):
            alert_id = change.alert_id or len(self.known) + 1
            self.known[alert_id] = Known(alert_id, change.state, change.drop)

    def alerts(self) -> list[tuple[object, ...]]:
        return [
            (*d[:3], round(d.kwh_ac, 9), round(d.kwh_dc, 9), round(d.lowest, 9))
            for d in live(list(self.known.values()))
        ]

    def states(self) -> list[int]:
        alive = [alert for alert in self.known.values() if alert.state != WITHDRAWN]
        return [alert.state for alert in sorted(alive, key=lambda alert: alert.drop.since)]


@given(
    st.lists(st.sampled_from([None, 0.6, 0.84, 0.86, 0.95, 0.95]), max_size=60),
    st.integers(1, 7),
    st.randoms(use_true_random=False),
)
def test_in_whatever_order_hours_come_the_alerts_are_the_same_in_the_end(
    efficiencies: list[float | None], at_once: int, order: random.Random
) -> None:
    series = [Hour(T0 + 3 * i * HOUR, 40, 9.0, 9.0 * e) for i, e in enumerate(efficiencies) if e is not None]
    whole, by_hour, shuffled = Store(), Store(), Store()
    whole.learn(series or [Hour(T0, 1, 1.0, 1.0)])
    for hour in series:
        by_hour.learn([hour])
    order.shuffle(series)
    for i in range(0, len(series), at_once):
        shuffled.learn([hour._replace(kwh_dc=9.0 * order.choice([0.6, 0.95])) for hour in series[i : i + at_once]])
        shuffled.learn(series[i : i + at_once])
    assert by_hour.alerts() == whole.alerts() == shuffled.alerts()
    assert by_hour.states() == whole.states() == shuffled.states()
