"""Ingest that runs while answers are measured: the fleet reports as ever, others send what is missing to the rate."""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from tests.benchmarks import messages
from tests.benchmarks.analytics_history import History
from tests.benchmarks.analytics_questions import BESIDE_INGEST, Place
from tests.benchmarks.analytics_rows import Row, Rows, measure_while, until
from tests.benchmarks.messages import MINUTE_US, Load
from tests.benchmarks.rows import Generator

RATE = 5_000
_BATCH, _STREAMS = 10, 100


def beside_ingest(
    place: Place, history: History, vehicles: Sequence[int], generator: Generator, *, seconds: float, path: Path
) -> tuple[Rows, Row]:
    """Measure rows while readings are stored at RATE; return them, and what the load generator says of the readings."""
    count = int(RATE * seconds)
    messages.write(path, _readings(history, count), _BATCH, _STREAMS)
    with generator.opened(place.scene, path, "-rate", str(RATE / _BATCH)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # The opening messages are the first of each stream, and not among those that are paced.
        deadline = time.perf_counter() + seconds - _STREAMS * _BATCH / RATE
        process.stdin.write("\n")
        process.stdin.flush()
        rows = measure_while(place, BESIDE_INGEST, vehicles, until(deadline))
        told: Row = json.loads(process.stdout.readline() or "{}")
    if not told or told["rejected"] or told["stored"] + told["duplicates"] != count - _STREAMS * _BATCH:
        raise SystemExit(
            f"not all readings were stored beside the questions: {told or 'the load generator has failed'}"
        )
    return {f"{name}_ingest": row for name, row in rows.items()}, told


def _readings(history: History, count: int) -> Iterator[bytes]:
    """Return so many readings for RATE: two of each of the fleet's devices a minute, spread over those of the others.

    The others are a few, send all the time, and have numbers above the fleet's.
    """
    fleet = history.extent.devices
    others = max(1, fleet // 4)
    share = min(1.0, 2 * fleet / 60 / RATE)
    own = int(count * share) // 2 * 2
    minutes = -(-own // (2 * fleet))
    rest = count - own
    every_us = int(2 * others / (RATE * (1 - share)) * 1e6)
    theirs = Load(others, time.time_ns() // 1000, -(-rest // (2 * others)), first=fleet, every_us=every_us)
    ours = Load(fleet, history.extent.end_us, minutes)
    history.sent_until(history.extent.end_us + minutes * MINUTE_US)
    return islice(_spread(ours.readings(), theirs.readings(), rest // max(1, own)), count)


def _spread(some: Iterator[bytes], many: Iterator[bytes], apart: int) -> Iterator[bytes]:
    """Yield one of `some` after so many of the `many`, then whatever is left of both."""
    while group := list(islice(many, max(1, apart))):
        yield from group
        yield from islice(some, 1)
    yield from chain(some, many)
