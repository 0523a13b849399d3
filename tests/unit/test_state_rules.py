"""The pure rules of the live state: which reading is it, its form in Redis, what a watcher is told."""

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_service import changes
from state_service.merge import is_online, newest
from state_service.states import Kind, MeterState, Selection, State, VehicleState, from_fields, id_of, key_of, to_fields
from state_service.watch import Watcher

ids = st.text("AZaz09._:/-", min_size=1, max_size=64)
kinds = st.sampled_from(Kind)
micros = st.integers(0, 2**53 - 1)
figures = st.floats(allow_nan=False)
meters = st.builds(MeterState, ids.map(lambda i: key_of(Kind.METER, i)), micros, micros, figures, figures)
vehicles = st.builds(
    VehicleState,
    ids.map(lambda i: key_of(Kind.VEHICLE, i)),
    micros,
    micros,
    ids | st.just(""),
    figures,
    figures,
    figures,
)


def state(device: str, at: int, soc: float = 50.0) -> VehicleState:
    return VehicleState(key_of(Kind.VEHICLE, device), at, at, "", soc, 0.5, 30.0)


few_states = st.lists(
    st.builds(lambda d, at: state(d, at, soc=at), st.sampled_from("abc"), st.integers(0, 9)), max_size=30
)


@given(few_states, st.data())
def test_any_order_and_repetition_of_readings_makes_the_same_states(
    readings: list[VehicleState], data: st.DataObject
) -> None:
    repeated = data.draw(
        st.permutations(readings + data.draw(st.lists(st.sampled_from(readings)) if readings else st.just([])))
    )

    assert {s.key: s for s in newest(repeated)} == {s.key: s for s in newest(readings)}
    assert all(
        s.recorded_at_us <= kept.recorded_at_us for s in readings for kept in newest(readings) if kept.key == s.key
    )


@given(few_states, st.integers(0, 30))
def test_merging_batch_by_batch_makes_the_same_states_as_all_at_once(readings: list[VehicleState], cut: int) -> None:
    assert newest([*newest(readings[:cut]), *newest(readings[cut:])]) == newest(readings)


def test_of_two_readings_of_one_instant_the_first_stays() -> None:
    assert newest([state("V1", 5, soc=1.0), state("V1", 5, soc=2.0)]) == [state("V1", 5, soc=1.0)]


@pytest.mark.parametrize(("heard_s_ago", "online"), [(-60, True), (0, True), (180, True), (180.000001, False)])
def test_a_device_is_online_up_to_the_limit(heard_s_ago: float, online: bool) -> None:
    now_us = 1_770_000_000_000_000
    assert is_online(now_us - round(heard_s_ago * 1_000_000), now_us, 180) is online


@given(meters | vehicles)
def test_a_state_comes_back_from_redis_and_from_the_channel_exactly(original: State) -> None:
    assert from_fields(original.key, to_fields(original)) == original
    assert changes.decode(changes.encode("s1", [original]).encode()) == ("s1", [original])


def test_negative_zero_keeps_its_sign() -> None:
    back = from_fields("vehicle:V1", to_fields(state("V1", 1, soc=-0.0)))
    assert isinstance(back, VehicleState)
    assert math.copysign(1, back.soc) == -1


@given(kinds, ids)
def test_a_key_names_one_device_whatever_its_id(kind: Kind, device_id: str) -> None:
    key = key_of(kind, device_id)
    assert id_of(key) == device_id
    assert key in Selection((kind,))
    assert key not in Selection(tuple(k for k in Kind if k != kind))


def drained(watcher: Watcher) -> tuple[list[State], int]:
    """Return all that the watcher still has to be told, and how many values it misses."""
    updates = []
    while watcher.pending:
        updates.append(watcher.take())
    return [s for update in updates for s in update.states], sum(update.skipped for update in updates)


def told(watcher: Watcher, offers: Iterable[list[VehicleState]]) -> list[State]:
    """Return what a watcher is told that is offered states and asked now and then (after an empty list)."""
    got: list[State] = []
    for offer in offers:
        watcher.offer(offer)
        got += [] if offer else drained(watcher)[0]
    return got + drained(watcher)[0]


@given(st.lists(few_states))
def test_a_watcher_is_told_the_newest_of_each_device_and_never_goes_back(offers: list[list[VehicleState]]) -> None:
    got = told(Watcher(Selection()), offers)

    everything = [s for offer in offers for s in offer]
    assert {s.key: s for s in newest(got)} == {s.key: s for s in newest(everything)}
    for key in {s.key for s in got}:
        times = [s.recorded_at_us for s in got if s.key == key]
        assert times == sorted(set(times))


def test_a_watcher_that_does_not_ask_misses_values_between_and_is_told_how_many() -> None:
    watcher = Watcher(Selection())
    for at in range(1, 11):
        watcher.offer([state("V1", at), state("V2", 1)])

    assert drained(watcher) == ([state("V1", 10), state("V2", 1)], 9)
    watcher.offer([state("V1", 11)])
    assert drained(watcher) == ([state("V1", 11)], 0)


def test_a_watcher_is_told_of_its_selection_only() -> None:
    watcher = Watcher(Selection(keys=frozenset({"vehicle:V2"})))
    watcher.offer([state("V1", 1), state("V2", 1)])
    assert drained(watcher) == ([state("V2", 1)], 0)


def test_a_change_that_the_snapshot_holds_already_is_not_told_again() -> None:
    watcher = Watcher(Selection())
    watcher.start_snapshot()
    watcher.offer([state("V1", 5), state("V2", 8)])
    assert watcher.send([state("V1", 6), state("V2", 7)]) == [state("V1", 6), state("V2", 7)]
    assert drained(watcher) == ([state("V2", 8)], 0)


def test_a_new_snapshot_may_go_back_in_time() -> None:
    watcher = Watcher(Selection())
    watcher.send([state("V1", 9)])
    watcher.start_snapshot()
    assert watcher.send([state("V1", 3)]) == [state("V1", 3)]


def test_changes_are_told_in_messages_of_bounded_size() -> None:
    watcher = Watcher(Selection())
    watcher.offer([state(f"V{i}", 1) for i in range(1_200)])
    assert [len(watcher.take().states) for _ in range(3)] == [500, 500, 200]
