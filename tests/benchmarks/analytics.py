"""The yardstick of answers: how long they take on a day, a week and a month of history, and what rolling it up costs.

Run by `make bench-analytics`. One database grows into the past. Rows of a table are measured in turn, in rounds, and
compared with what the same database takes for the plain sums, and the same way for SELECT 1: compare the ratios, not
the figures. Beside them: what a row costs in CPU, and the share of SQL, which is what PostgreSQL says that statements
took, of what a single client waits.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks import analytics_refresh, analytics_report, report, rows
from tests.benchmarks.analytics_check import check
from tests.benchmarks.analytics_clients import Asker, Reference, asking, referring
from tests.benchmarks.analytics_history import History
from tests.benchmarks.analytics_ingest import RATE, beside_ingest
from tests.benchmarks.analytics_questions import LONGEST_DAYS, Place, questions
from tests.benchmarks.analytics_refresh import Refresh
from tests.benchmarks.analytics_rows import measure
from tests.benchmarks.analytics_sql import add_shares
from tests.benchmarks.analytics_stage import House
from tests.benchmarks.rows import ROOT, Generator
from wattstream import embedded, migrate

_QUICK = {"devices": 8, "days": [1, 2], "vehicles": 8, "rounds": 2, "ingest_s": 1.5, "alerts_s": 1.0}
_SMALL_TABLES = "vehicle_rollups, meter_rollups, stale_hours, rollup_state, meter_vehicle_hours, devices"


def main() -> None:
    """Measure, print, and write the figures to a file."""
    arguments = _arguments()
    if arguments.quick:
        vars(arguments).update(_QUICK)
    program = rows.built()
    with _folder(arguments.keep) as folder:
        asyncio.run(_housed(arguments, program, folder))


async def _housed(arguments: argparse.Namespace, generator: Path, folder: Path) -> None:
    async with embedded.stores(folder / "data") as stores:
        await asyncio.to_thread(_run, arguments, generator, House(stores, folder))


def _run(arguments: argparse.Namespace, generator: Path, house: House) -> None:
    list(migrate.migrate(house.dsn))
    bench = Bench(arguments, generator, house, History(house.dsn, arguments.devices, house.folder))
    if arguments.anew:
        analytics_refresh.forget(house.dsn)
    about = {**vars(arguments), "keep": str(arguments.keep), "output": str(arguments.output)}
    about["load_average"] = os.getloadavg()
    stages: analytics_report.Stages = {}
    found: report.Rows = {}
    with asking(generator, house.folder) as asker, referring(house.dsn) as reference:
        for days in bench.history.stages(arguments.days):
            stages[days] = bench.stage(days, asker, reference)
            analytics_report.show(days, stages[days])
            found = analytics_report.found_goals(stages, arguments.devices)
            report.save(arguments.output, {str(key): stage for key, stage in stages.items()}, about, found)
    report.show_goals(found)


@dataclass(frozen=True)
class Bench:
    """Everything is measured with one of these."""

    arguments: argparse.Namespace
    generator: Path
    house: House
    history: History

    def stage(self, days: int, asker: Asker, reference: Reference) -> dict[str, Any]:
        """Let history grow to so many days, roll it up, and measure answers."""
        _say(f"{days} d of history: loading")
        refresh, begun = Refresh(self.house, self.history), time.perf_counter()
        loaded = self.history.reach_back(days) + self.history.catch_up()
        loading = {"readings": loaded, "seconds": time.perf_counter() - begun}
        _say(f"{loaded:,} readings loaded in {loading['seconds']:.0f} s; rolling up")
        refresh.begin()
        with self.house.services() as scene:
            rolled_up = refresh.finished(scene)
            place = Place(scene, asker, reference, self.history.vehicle_keys, self.history.meter_keys)
            self._settle()
            return {"loading": loading, "refresh": rolled_up, **self._measured(place, days)}

    def _settle(self) -> None:
        """Load what has become missing, and leave nothing to autovacuum and the checkpointer."""
        _say("settling")
        with psycopg.connect(self.house.dsn, autocommit=True) as connection:
            self.history.catch_up()
            analytics_refresh.wait(connection)
            analytics_refresh.wait_for_alerts(connection, self.arguments.alerts_s)
            connection.execute(f"VACUUM (ANALYZE) {_SMALL_TABLES}")
            connection.execute("CHECKPOINT")

    def _measured(self, place: Place, days: int) -> dict[str, Any]:
        fleet = self.arguments.devices
        vehicles = random.Random(1).sample(range(fleet), min(self.arguments.vehicles, fleet))
        check(place, self.house.dsn, vehicles, days)
        _say("answers")
        asked = questions(LONGEST_DAYS if self.arguments.quick else days)
        measured = measure(place, asked, vehicles, self.arguments.rounds)
        add_shares(self.house, place, asked, vehicles, measured)
        _say("answers beside ingest")
        beside, told = beside_ingest(
            place,
            self.history,
            vehicles,
            Generator(self.generator),
            seconds=self.arguments.ingest_s,
            path=self.house.folder / "messages",
        )
        return {"rows": measured, "beside_ingest": beside, "ingest": {"rate": RATE, **told}}


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="wattstream-bench-") as name:
        Path(name).chmod(0o755)  # PostgreSQL may run as another user
        yield Path(name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2_000, help="vehicles, and as many meters")
    parser.add_argument("--days", type=_days, default=[1, 7, 30], help="days of history, such as 1,7,30")
    parser.add_argument("--vehicles", type=int, default=500, help="how many vehicles are asked about")
    parser.add_argument("--rounds", type=int, default=10, help="how often each is asked about, in each row")
    parser.add_argument("--ingest-s", type=float, default=60.0, help="how long ingest runs beside, in seconds")
    parser.add_argument(
        "--alerts-s", type=float, default=20.0, help="how long to wait for alerts to be looked for, in seconds"
    )
    parser.add_argument(
        "--keep",
        "--reuse",
        type=Path,
        metavar="FOLDER",
        help="keep history in FOLDER, and go on from what an earlier run has kept there; it never shrinks",
    )
    parser.add_argument("--anew", action="store_true", help="roll up anew what an earlier run has left rolled up")
    parser.add_argument(
        "--quick", action="store_true", help="a small run, to see that it works; its figures say nothing"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "bench-analytics.json", help="where the figures go"
    )
    return parser.parse_args()


def _days(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
