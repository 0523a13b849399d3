"""The share of SQL in an answer: of the time that a client waited, how much PostgreSQL says that statements took."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.benchmarks.analytics_clients import REFERENCE
from tests.benchmarks.analytics_questions import ANALYTICS, Place, Question, now
from tests.benchmarks.analytics_rows import Rows
from tests.benchmarks.analytics_stage import BARE, House

_VEHICLES = 100
_SETTLE_S = 0.3
_DURATION = re.compile(r"^(?P<who>[^|\n]*)\|LOG:  duration: (?P<ms>[\d.]+) ms", re.MULTILINE)
_WHO = {ANALYTICS: "wattstream analytics", BARE: "wattstream bare", REFERENCE: REFERENCE}


def add_shares(house: House, place: Place, questions: Sequence[Question], vehicles: Sequence[int], rows: Rows) -> None:
    """Add `sql_share` to the rows: durations of all statements, planning included, divided by all latencies.

    Measured apart from the rows, as PostgreSQL writes a line for each statement meanwhile, and with one client: of
    several, who share two cores, one would mostly see how long they wait for each other.
    """
    with _durations_logged(house):
        for question in questions:
            if "status" not in rows[question.name]:
                rows[question.name]["sql_share"] = _share(house.postgres_log, place, question.alone(), vehicles)


def _share(log: Path, place: Place, question: Question, vehicles: Sequence[int]) -> float:
    since = log.stat().st_size
    answered = place.ask(question, vehicles[:_VEHICLES], now())
    time.sleep(_SETTLE_S)
    with log.open("rb") as file:
        file.seek(since)
        said = file.read().decode(errors="replace")
    sql_ms = sum(float(found["ms"]) for found in _DURATION.finditer(said) if found["who"] == _WHO[question.of])
    return sql_ms / sum(answered.latencies_ms)


@contextmanager
def _durations_logged(house: House) -> Iterator[None]:
    settings = {"log_duration": "on", "log_line_prefix": "'%a|'"}
    with psycopg.connect(house.dsn, autocommit=True) as connection:
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        connection.execute("SELECT pg_reload_conf()")
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            for name in settings:
                connection.execute(f"ALTER SYSTEM RESET {name}")
            connection.execute("SELECT pg_reload_conf()")
