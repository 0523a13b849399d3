"""The rows of the table: each function measures one, on a stage that has settled."""

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psycopg

from tests.benchmarks import messages, naive, processes
from tests.benchmarks.messages import Load
from tests.benchmarks.stage import COPY_METERS, COPY_VEHICLES, Stage, Used, copy

ROOT = Path(__file__).parents[2]
Row = dict[str, Any]
CPU = ("ours", "postgres", "valkey")
# What is handed over to the live state after the last acknowledgement belongs to the readings that were acknowledged.
_HAND_OVER_S = 0.5


class Addressed(Protocol):
    """What can be sent to."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where the services are, by name."""


class Generator:
    """The load generator, a program of its own."""

    def __init__(self, program: Path) -> None:
        self._program = program

    @contextmanager
    def opened(self, on: Addressed, path: Path, *options: str) -> "Iterator[subprocess.Popen[str]]":
        """Run it until all streams are open: each has sent its first message and got its acknowledgement."""
        command = [str(self._program), "-address", on.addresses["ingest"], "-file", str(path), *options]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "open\n":
                raise SystemExit("the load generator cannot open its streams")
            yield process
            process.stdin.close()

    def sent(self, on: Stage, path: Path, readings: int, *options: str) -> Row:
        """Send a file of messages; `readings` of them are measured."""
        with self.opened(on, path, *options) as process:
            return _sent(on, process, readings)


def _sent(on: Stage, process: "subprocess.Popen[str]", readings: int) -> Row:
    assert process.stdin is not None
    assert process.stdout is not None
    before = on.used()
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit("the load generator has failed")
    told: Row = json.loads(line)
    if told["stored"] + told["duplicates"] != readings:
        raise SystemExit(f"of {readings:,} readings not all were acknowledged: {told}")
    time.sleep(_HAND_OVER_S)
    told["generator_cpu_us"] = told.pop("generator_cpu_s") / readings * 1e6
    return _row(on, before, readings, told["seconds"]) | told


def _row(on: Stage, before: Used, readings: int, seconds: float) -> Row:
    after = on.used()
    used = {name: (getattr(after, name) - getattr(before, name)) / readings * 1e6 for name in CPU}
    others_cores = (after.others - before.others) / (after.clock - before.clock)
    return {
        "readings": readings,
        "seconds": seconds,
        "readings_s": readings / seconds,
        "cpu_us": used,
        "others_cores": max(0.0, others_cores),
    }


def built() -> Path:
    """Build the load generator and return it."""
    go = shutil.which("go")
    if go is None:
        raise SystemExit(
            "The load generator is written in Go, so that it leaves the cores to what is measured: install Go"
        )
    target = ROOT / "build" / "loadgen"
    subprocess.run([go, "build", "-o", str(target), "."], cwd=ROOT / "tests/benchmarks/loadgen", check=True)
    return target


def copied(on: Stage, minutes: int, connections: int, commit_minutes: int) -> Row:
    """Measure COPY of ready-made bytes, sorted; a connection has some of the devices and commits minutes at a time."""
    loads = [on.load(commit_minutes) for _ in range(0, minutes, commit_minutes)]
    parts = zip(*(on.copy_data(load, connections) for load in loads), strict=True)
    opened = [psycopg.connect(on.dsn, autocommit=True) for _ in range(connections)]
    threads = [threading.Thread(target=copy, args=(one, *part)) for one, part in zip(opened, parts, strict=True)]
    before, begin = on.used(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    for connection in opened:
        connection.close()
    return _row(on, before, sum(map(len, loads)), seconds)


def streamed(on: Stage, generator: Generator, count: int, batch: int, streams: int) -> Row:
    """Measure StreamReadings with new readings, so many a message, as fast as the streams take them."""
    return _written(on, generator, on.readings(count), count=count, batch=batch, streams=streams)


def unary(on: Stage, generator: Generator, count: int, batch: int, callers: int) -> Row:
    """Measure IngestReadings with new readings."""
    path = on.folder / "messages"
    opening = messages.write(path, on.readings(count), batch, callers, unary=True)
    return generator.sent(on, path, count - opening, "-unary")


def half_duplicates(on: Stage, generator: Generator, minutes: int, batch: int, streams: int) -> Row:
    """Measure StreamReadings with readings of which every second one is in history already."""
    stored = on.load(minutes)
    on.store(stored)
    new = on.load(minutes)
    readings = messages.interleaved(new, stored)
    return _written(on, generator, readings, count=len(new) + len(stored), batch=batch, streams=streams)


def again(on: Stage, generator: Generator, readings: int) -> Row:
    """Measure the messages of the row before, sent once more, which are `readings` without those that open streams."""
    return generator.sent(on, on.folder / "messages", readings)


def _written(
    on: Stage, generator: Generator, readings: Iterable[bytes], *, count: int, batch: int, streams: int
) -> Row:
    path = on.folder / "messages"
    opening = messages.write(path, readings, batch, streams)
    return generator.sent(on, path, count - opening)


def paced(on: Stage, generator: Generator, rate: float, seconds: float, streams: int) -> Row:
    """Measure acknowledgements at `rate` readings a second, one a message, over so many streams."""
    path, count = on.folder / "messages", max(streams, int(rate * seconds))
    messages.write(path, on.readings(streams + count), 1, streams)
    return generator.sent(on, path, count, "-rate", str(rate))


def committed(on: Stage, rate: float, seconds: float) -> Row:
    """Measure what PostgreSQL itself takes for one reading: COPY and commit, `rate` times a second."""
    count = int(rate * seconds)
    load = Load(-(-count // 2), on.load(1).start_us, 1)  # of the minute's readings as many as are needed
    on.loaded += len(load) - 2 * on.devices
    pairs = on.copy_data(load, load.devices)
    single = [(COPY_METERS, meters) for meters, _ in pairs] + [(COPY_VEHICLES, vehicles) for _, vehicles in pairs]
    taken = []
    before, begin = on.used(), time.perf_counter()
    with psycopg.connect(on.dsn, autocommit=True) as connection:
        for number, (statement, data) in enumerate(single):
            time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            since = time.perf_counter()
            with connection.cursor().copy(statement) as into:
                into.write(data)
            taken.append(1000 * (time.perf_counter() - since))
    p50, p99 = np.quantile(taken, (0.5, 0.99)).tolist()
    row = _row(on, before, len(single), time.perf_counter() - begin)
    return row | {"p50_ms": p50, "p99_ms": p99, "max_ms": max(taken)}


def naively(on: Stage, count: int) -> Row:
    """Measure a transaction a reading."""
    load = Load(count, on.start_us, 1)
    before, own_before = on.used(), _cpu_s_of_children()
    row = _row(on, before, len(load) // 2, naive.run(on.dsn, load))
    row["cpu_us"]["ours"] = (_cpu_s_of_children() - own_before) / row["readings"] * 1e6
    return row


def _cpu_s_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def idle(on: Stage, generator: Generator, streams: int, minute_s: float) -> Row:
    """Measure what open streams cost that send a reading each in `minute_s`: memory and CPU of the ingest process."""
    path, ingest = on.folder / "messages", on.pids["ingest"]
    messages.write(path, on.readings(2 * streams), 1, streams)
    bytes_before = processes.rss_bytes(ingest)
    pace = ("-rate", str(streams / minute_s), "-open-rate", "1000", "-connections", "100")
    with generator.opened(on, path, *pace) as process:
        cpu_before = processes.cpu_s(ingest)
        row = _sent(on, process, streams)
        cpu_s = processes.cpu_s(ingest) - cpu_before
        bytes_after = processes.rss_bytes(ingest)
    return row | {
        "streams": streams,
        "rss_kib_stream": (bytes_after - bytes_before) / streams / 1024,
        "cpu_share": cpu_s / (row["seconds"] + _HAND_OVER_S),
    }
