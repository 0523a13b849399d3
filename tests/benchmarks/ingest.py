"""The yardstick of ingest: what of the database's own speed is left at the end of the whole path.

Run by `make bench`. Prints a table and writes build/bench.json. Everything is measured in one run, on one server, on the
same tables; compare the ratios, not the figures.
"""

import argparse
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks import messages
from tests.benchmarks.stage import Stage, copy, stage

ROOT = Path(__file__).parents[2]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000, help="meters, and as many vehicles")
    parser.add_argument("--only", default="", help="comma-separated rows to measure, by the beginning of their names")
    arguments = parser.parse_args()
    generator = _generator()
    rows: dict[str, Row] = {}
    with stage(arguments.devices) as on:
        for name, measure in _plan(on, generator):
            if not arguments.only or name.startswith(tuple(arguments.only.split(","))):
                print(f"... {name}", flush=True)
                rows[name] = measure()
                print(rows[name], flush=True)
    _report(rows)


def _plan(on: Stage, generator: str) -> list[tuple[str, Callable[[], Row]]]:
    def streamed(batch: int, streams: int, minutes: int) -> Callable[[], Row]:
        return lambda: _streamed(on, generator, batch, streams, minutes)

    return [
        ("copy_limit_1", lambda: _copied(on, 1)),
        ("copy_limit_2", lambda: _copied(on, 2)),
        ("copy_limit_4", lambda: _copied(on, 4)),
        ("ingest_stream_1000", streamed(1000, 8, 40)),
        ("ingest_stream_100", streamed(100, 32, 20)),
        ("ingest_stream_10", streamed(10, 200, 10)),
        ("ingest_stream_1", streamed(1, 1000, 5)),
    ]


def _copied(on: Stage, connections: int) -> Row:
    load = on.load(40)
    parts = load.copy_data(on.meter_keys, on.vehicle_keys, connections)
    opened = [psycopg.connect(on.addresses["postgres"], autocommit=True) for _ in parts]
    threads = [threading.Thread(target=copy, args=pair) for pair in zip(opened, parts, strict=True)]
    before, begin = on.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _row(on, before, len(load), time.perf_counter() - begin)


def _streamed(on: Stage, generator: str, batch: int, streams: int, minutes: int) -> Row:
    load = on.load(minutes)
    path = on.folder / "messages"
    messages.write(path, load, batch, streams)
    return _run(on, generator, path, len(load))


def _run(on: Stage, generator: str, path: Path, readings: int, *options: str) -> Row:
    before = on.cpu_s()
    done = subprocess.run(
        [generator, "-address", on.addresses["ingest"], "-file", str(path), *options],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    told = json.loads(done.stdout)
    assert told["stored"] + told["duplicates"] == readings, told
    return _row(on, before, readings, told["seconds"]) | told


def _row(on: Stage, before: dict[str, float], readings: int, seconds: float) -> Row:
    used = {name: (after - before[name]) / readings * 1e6 for name, after in on.cpu_s().items()}
    return {"readings": readings, "readings_s": readings / seconds, "cpu_us": used}


def _generator() -> str:
    found = shutil.which("go")
    target = ROOT / "build" / "loadgen"
    if found is None:
        raise SystemExit("the load generator needs Go on the PATH")
    subprocess.run([found, "build", "-o", str(target), "."], cwd=ROOT / "tests/benchmarks/loadgen", check=True)
    return str(target)


def _report(rows: dict[str, Row]) -> None:
    limit = max((row["readings_s"] for name, row in rows.items() if name.startswith("copy_limit")), default=0.0)
    print(f"{'':24} {'readings/s':>12} {'of limit':>9} {'p50 ms':>8} {'p99 ms':>8}   CPU us a reading")
    for name, row in rows.items():
        share = f"{row['readings_s'] / limit:.2f}" if limit else ""
        cpu = ", ".join(f"{program} {value:.2f}" for program, value in row["cpu_us"].items())
        print(
            f"{name:24} {row['readings_s']:12,.0f} {share:>9} {row.get('p50_ms', 0):8.1f} {row.get('p99_ms', 0):8.1f}"
            f"   {cpu}"
        )
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
