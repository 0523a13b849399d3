"""The tables that are printed of answers, and what was aimed at."""

from collections.abc import Callable
from typing import Any

from tests.benchmarks.report import Goal, Rows, goals

Stages = dict[int, dict[str, Any]]  # by days of history
_QUANTILES = (("p50", "p50_ms"), ("p99", "p99_ms"))


def show(days: int, stage: dict[str, Any]) -> None:
    """Print what was measured with so many days of history."""
    refresh = stage["refresh"]
    if refresh["readings"]:
        cpu = refresh["cpu_us"]
        print(
            f"\nrolling up {refresh['readings']:,} readings took {refresh['seconds']:.1f} s; CPU us a reading:"
            f" PostgreSQL {cpu['postgres']:.2f}, of that the refresher's backends {cpu['backends']:.2f};"
            f" the service {cpu['service']:.2f}"
        )
    print(_HEADER.format(days=f"{days} day{'s' if days > 1 else ''} of history"))
    for row in stage["rows"].values():
        print(_line(row))
    ingest = stage["ingest"]
    print(f"while ingest stores {ingest['rate']:,} readings/s, acknowledged in {ingest['p50_ms']:.0f} ms (p50):")
    for row in stage["beside_ingest"].values():
        print(_line(row))


def found_goals(stages: Stages, devices: int) -> Rows:
    """Return the goals: what was measured, what was wanted, whether it was reached."""
    found: Rows = {}
    for days, stage in stages.items():
        rows = {**stage["rows"], **stage["beside_ingest"], "refresh": stage["refresh"]}
        found |= goals(rows, (goal._replace(what=f"{days} d: {goal.what}") for goal in _goals(devices)))
    first, last = min(stages), max(stages)
    if first < last:
        found |= goals({"first": stages[first]["rows"], "last": stages[last]["rows"]}, _growth(first, last))
    return found


def _goals(devices: int) -> list[Goal]:
    return [
        Goal("24 h exclusive, p99 above that of SELECT 1, ms", _above("exclusive_24h", "select_1"), at_most=5),
        *_ratios("24 h exclusive / reference, 8 clients", "exclusive_24h", "reference", 2),
        *_ratios("24 h exclusive / reference, 1 client", "exclusive_24h_alone", "reference_alone", 2),
        *_ratios("30 days / 24 h", "exclusive_30d", "exclusive_24h", 2),
        Goal(f"ranking of {devices:,} vehicles, 1 client, p99 ms", _value("ranking_alone", "p99_ms"), at_most=250),
        Goal(f"ranking of {devices:,} vehicles, 8 clients, p99 ms", _value("ranking", "p99_ms"), at_most=250),
        Goal(
            "rolling up, PostgreSQL's CPU us a reading",
            lambda rows: float(rows["refresh"]["cpu_us"]["postgres"]),
            at_most=2,
        ),
        Goal(
            "beside ingest: 24 h exclusive, p99 above that of SELECT 1, ms",
            _above("exclusive_24h_ingest", "select_1_ingest"),
            at_most=5,
        ),
    ]


def _growth(first: int, last: int) -> list[Goal]:
    what = f"24 h exclusive, {last} d / {first} d of history"
    return [
        Goal(f"{what}, {name}", _ratio(("last", "exclusive_24h", of), ("first", "exclusive_24h", of)), at_most=1.2)
        for name, of in _QUANTILES
    ]


def _ratios(what: str, one: str, other: str, at_most: float) -> list[Goal]:
    return [Goal(f"{what}, {name}", _ratio((one, of), (other, of)), at_most=at_most) for name, of in _QUANTILES]


def _ratio(one: tuple[str, ...], other: tuple[str, ...]) -> Callable[[Rows], float]:
    return lambda rows: _at(rows, one) / _at(rows, other)


def _at(rows: Any, path: tuple[str, ...]) -> float:
    for key in path:
        rows = rows[key]
    return float(rows)


def _above(one: str, other: str) -> Callable[[Rows], float]:
    return lambda rows: float(rows[one]["p99_ms"]) - float(rows[other]["p99_ms"])


def _value(row: str, of: str) -> Callable[[Rows], float]:
    return lambda rows: float(rows[row][of])


def _line(row: dict[str, Any]) -> str:
    head = f"{row['title']:28}{row['clients']:8}"
    if "status" in row:
        return f"{head}   {row['status']}"
    share = f"{row['sql_share']:.0%}" if "sql_share" in row else ""
    cpu = "".join(f"{row['cpu_ms'][part]:{width}.2f}" for part, width in _CPU)
    return (
        f"{head}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}{row['calls_s']:9,.0f}{share:>9}{cpu}"
        f"{row['others_cores']:9.2f}{row['calls']:8,}"
    )


_CPU = (("service", 10), ("postgres", 12), ("clients", 9))
_HEADER = f"""
{"{days}":54}{"":9}{"SQL in":>9}{"CPU ms an answer":>31}{"others,":>9}
{"":28}{"clients":>8}{"p50 ms":>9}{"p99 ms":>9}{"a second":>9}{"it":>9}{"service":>10}{"PostgreSQL":>12}{"clients":>9}\
{"cores":>9}{"calls":>8}"""
