"""How fast a simulation is played: when it begins, and which of its readings are due."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.cli.output import to_datetime

HISTORY = timedelta(hours=24)
_BATCH = 1000
_PAUSE_S = 0.1


def begin(now: datetime, speed: float, minutes: int | None, duration: timedelta | None) -> datetime:
    """Return when a simulation begins that should not run ahead of now.

    Up to the speed of time that is now; at a higher speed (0 is the highest) it is as long ago as is to be played, 24
    hours where that is not said.
    """
    if 0 < speed <= 1:
        return now
    if minutes is not None:
        return now - timedelta(minutes=minutes)
    if duration is not None and speed:
        return now - duration * speed
    return now - HISTORY


def clock(start: datetime, speed: float) -> Callable[[], datetime]:
    """Return a clock of simulated time: it goes `speed` times as fast as time from `start` on, never ahead of it."""
    began = time.monotonic()

    def simulated_now() -> datetime:
        now = datetime.now(UTC)
        if not speed:
            return now
        passed = timedelta(seconds=(time.monotonic() - began) * speed)
        return min(now, start + passed)

    return simulated_now


def due(
    readings: Iterable[Reading],
    now: Callable[[], datetime],
    over: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[list[Reading]]:
    """Yield the readings in batches as their time comes, until it is over; empty batches while none is due."""
    batch: list[Reading] = []
    limit = now()
    for reading in readings:
        while recorded_at(reading) > limit:
            yield batch
            batch = []
            if over():
                return
            limit = now()
            if recorded_at(reading) > limit:
                pause(_PAUSE_S)
        batch.append(reading)
        if len(batch) == _BATCH:
            yield batch
            batch = []
            if over():
                return
    yield batch


def recorded_at(reading: Reading) -> datetime:
    """Return when a reading was made."""
    return to_datetime(reading.meter.recorded_at if reading.HasField("meter") else reading.vehicle.recorded_at)
