"""How fast a simulation is played."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.cli import pacing
from wattstream.client.sync import timestamp

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def readings(count: int) -> list[Reading]:
    return [Reading(meter=MeterReading(recorded_at=timestamp(NOW + n * MINUTE))) for n in range(count)]


def stepping(step: timedelta) -> Callable[[], datetime]:
    """A clock that is a step further each time that it is read."""
    read = [0]

    def now() -> datetime:
        read[0] += 1
        return NOW + (read[0] - 1) * step

    return now


@settings(deadline=None)
@given(count=st.integers(0, 2500), step_s=st.integers(1, 100_000))
def test_every_reading_is_sent_once_in_order_and_never_before_its_time(count: int, step_s: int) -> None:
    clock, last = stepping(timedelta(seconds=step_s)), [NOW]

    def now() -> datetime:
        last[0] = clock()
        return last[0]

    sent = []
    for batch in pacing.due(readings(count), now, lambda: False, lambda _: None):
        assert len(batch) <= 1000
        assert all(pacing.recorded_at(reading) <= last[0] for reading in batch)
        sent += batch
    assert sent == readings(count)


def test_when_it_is_over_what_was_due_has_been_sent_and_nothing_more() -> None:
    batches = pacing.due(readings(10), lambda: NOW + 3 * MINUTE, lambda: True, lambda _: None)
    assert [len(batch) for batch in batches] == [4]


def test_up_to_the_speed_of_time_a_simulation_is_live() -> None:
    assert pacing.begin(NOW, 1.0, 60, None) == NOW
    assert pacing.begin(NOW, 0.5, None, None) == NOW


def test_a_faster_one_begins_so_long_ago_that_it_ends_now() -> None:
    assert pacing.begin(NOW, 60.0, 1440, None) == NOW - timedelta(days=1)
    assert pacing.begin(NOW, 0.0, 60, None) == NOW - timedelta(hours=1)
    assert pacing.begin(NOW, 60.0, None, timedelta(minutes=1)) == NOW - timedelta(hours=1)
    assert pacing.begin(NOW, 60.0, None, None) == NOW - timedelta(hours=24)


@settings(deadline=None)
@given(speed=st.sampled_from([0.0, 0.5, 1.0, 60.0, 1e9]), ago_s=st.integers(0, 10**8))
def test_the_clock_never_runs_ahead_of_time(speed: float, ago_s: int) -> None:
    start = datetime.now(UTC) - timedelta(seconds=ago_s)
    clock = pacing.clock(start, speed)
    assert start <= clock() <= datetime.now(UTC)
