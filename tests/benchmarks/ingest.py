"""The yardstick of ingest: what of the database's own speed is left at the end of the whole path.

Run by `make bench`. Everything is measured in one run, on one server, on the same tables: compare the ratios, not the
figures. Between two rows the database does what the one before has left over.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import report, rows
from tests.benchmarks.rows import ROOT, Generator, Row
from tests.benchmarks.stage import Stage, stage

MISSION_READINGS_S = 333.0
# Rows that are measured with another one, or by what it has measured.
NEEDS = {"resend_all": "ingest_stream_1000", "ack_latency_half": "ingest_stream_1"}
Measured = dict[str, Row]


@dataclass(frozen=True)
class Size:
    """How much is measured: readings, devices, streams, seconds, and minutes of the fleet.

    A commit of copy_limit holds about as many readings as are under way in ingest_stream_1000, 8 streams of 8 messages:
    who sends waits for acknowledgements, so no more can be sorted and committed together.
    """

    devices: int = 10_000
    copy_minutes: int = 48
    commit_minutes: int = 3
    stream_100: int = 600_000
    stream_10: int = 200_000
    stream_1: int = 120_000
    unary_100: int = 200_000
    naive: int = 12_000
    streams: int = 1_000
    idle_streams: int = 10_000
    minute_s: float = 60.0
    latency_s: float = 12.0

    @property
    def full(self) -> int:
        """As many readings as copy_limit is measured with."""
        return 2 * self.devices * self.copy_minutes


QUICK = Size(
    devices=200,
    copy_minutes=48,
    stream_100=20_000,
    stream_10=5_000,
    stream_1=1_000,
    unary_100=10_000,
    naive=200,
    streams=50,
    idle_streams=100,
    minute_s=2.0,
    latency_s=1.0,
)


def main() -> None:
    """Measure, print, and write the figures to a file."""
    arguments = _arguments()
    size = QUICK if arguments.quick else Size(devices=arguments.devices)
    generator = Generator(rows.built())
    load_average = os.getloadavg()
    print(f"load average before: {load_average[0]:.2f}", flush=True)
    measured: Measured = {}
    with stage(size.devices, {"WATTSTREAM_INGEST_WORKERS": str(arguments.workers)}) as on:
        # Whatever is done once, such as reading the devices' keys, is done before the first row.
        rows.streamed(on, generator, 4 * size.devices, 100, 4)
        for name, measure in _plan(on, generator, size, measured):
            if _is_chosen(name, arguments.only):
                print(f"... {name}", flush=True)
                on.settle()
                on.wait_for_quiet(arguments.patience)
                _keep(measured, name, measure())
        stored = {"expected": on.loaded, "stored": on.stored()}
    about = {**vars(arguments), "output": str(arguments.output), "load_average": load_average, "readings": stored}
    report.show(measured)
    report.save(arguments.output, measured, about)
    if stored["stored"] != stored["expected"]:
        raise SystemExit(f"not every reading is in history once: {stored}")


def _plan(on: Stage, generator: Generator, size: Size, measured: Measured) -> list[tuple[str, Callable[[], Row]]]:
    """Return the rows in the order in which they are measured; one measured twice counts with its better result."""

    def paced(rate: Callable[[], float]) -> Callable[[], Row]:
        return lambda: rows.paced(on, generator, rate(), size.latency_s, size.streams)

    def streamed(count: int, batch: int, streams: int) -> Callable[[], Row]:
        return lambda: rows.streamed(on, generator, count, batch, streams)

    def copied(connections: int, commit_minutes: int) -> Callable[[], Row]:
        return lambda: rows.copied(on, size.copy_minutes, connections, commit_minutes)

    copies = [
        ("copy_limit_1", copied(1, size.commit_minutes)),
        ("copy_limit_2", copied(2, size.commit_minutes)),
        ("copy_limit_4", copied(4, size.commit_minutes)),
        # What sorting everything beforehand would give, if nobody waited for an acknowledgement.
        ("copy_ahead_2", copied(2, size.copy_minutes)),
    ]
    return [
        # First, as memory that another row has used and left would hide what the streams take.
        ("idle_streams", lambda: rows.idle(on, generator, size.idle_streams, size.minute_s)),
        *copies,
        ("commit_latency", lambda: rows.committed(on, MISSION_READINGS_S, size.latency_s)),
        ("ack_latency", paced(lambda: MISSION_READINGS_S)),
        ("ingest_stream_1000", streamed(size.full, 1000, 8)),
        ("resend_all", lambda: rows.again(on, generator, int(measured["ingest_stream_1000"]["readings"]))),
        ("half_duplicates", lambda: rows.half_duplicates(on, generator, size.copy_minutes // 2, 1000, 8)),
        ("ingest_stream_100", streamed(size.stream_100, 100, 32)),
        ("ingest_stream_10", streamed(size.stream_10, 10, 200)),
        ("ingest_stream_1", streamed(size.stream_1, 1, size.streams)),
        ("ack_latency_half", paced(lambda: measured["ingest_stream_1"]["readings_s"] / 2)),
        ("ingest_unary_100", lambda: rows.unary(on, generator, size.unary_100, 100, 64)),
        ("naive", lambda: rows.naively(on, size.naive)),
        *copies,
    ]


def _keep(measured: Measured, name: str, row: Row) -> None:
    known = measured.get(name)
    both = sorted((known, row) if known else (row,), key=lambda row: float(row["readings_s"]))
    measured[name] = {**both[-1], "runs_readings_s": [one["readings_s"] for one in both]}
    print(f"    {row['readings_s']:,.0f} readings/s", flush=True)


def _is_chosen(name: str, only: str) -> bool:
    begins = tuple(only.split(","))
    needed = {NEEDS[row] for row in NEEDS if row.startswith(begins)}
    return not only or name.startswith(begins) or name in needed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=Size.devices, help="meters, and as many vehicles")
    parser.add_argument("--only", default="", help="comma-separated rows to measure, by the beginning of their names")
    parser.add_argument("--workers", type=int, default=1, help="processes of the ingest service")
    parser.add_argument(
        "--quick", action="store_true", help="a small run, to see that it works; its figures say nothing"
    )
    parser.add_argument(
        "--patience", type=float, default=0, help="seconds to wait before each row for others to leave the cores alone"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
