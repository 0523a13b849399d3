"""How a question is carried: two statements in one snapshot, and index-only scans of no more than the window's days."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg import AsyncCursor
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from analytics_service import store
from analytics_service.performance import Correlation
from analytics_service.windows import Window
from wattstream.postgres import Pool

DAYS = [date(2026, 2, 9), date(2026, 2, 10), date(2026, 2, 11)]
FLEET = 200
T0 = datetime(2026, 2, 9, tzinfo=UTC)
HISTORY = ("vehicle_readings", "meter_readings")

# A reading a minute of every meter and vehicle for three days. Of four vehicles two name their own meter always, one
# names the next one's for an hour a day, and one names none, with an assignment that covers the second day.
FILL = """
INSERT INTO devices (kind, device_id)
SELECT 1, 'M' || k FROM generate_series(1, {fleet}) AS k;
INSERT INTO devices (kind, device_id)
SELECT 2, 'V' || k FROM generate_series(1, {fleet}) AS k;
INSERT INTO meter_readings
SELECT k, t, 0.5, 230
FROM generate_series(timestamptz '{start}', timestamptz '{end}' - interval '1 minute', '1 minute') AS t,
    generate_series(1, {fleet}) AS k;
INSERT INTO vehicle_readings
SELECT {fleet} + k,
    CASE k % 4 WHEN 0 THEN NULL WHEN 1 THEN CASE extract(hour FROM t) WHEN 3 THEN k + 1 ELSE k END ELSE k END,
    t, 50, 0.4, 30
FROM generate_series(timestamptz '{start}', timestamptz '{end}' - interval '1 minute', '1 minute') AS t,
    generate_series(1, {fleet}) AS k;
INSERT INTO meter_vehicle_hours
SELECT DISTINCT meter_key, date_trunc('hour', recorded_at), vehicle_key
FROM vehicle_readings
WHERE meter_key IS NOT NULL;
INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)
SELECT {fleet} + k, k, timestamptz '{start}' + interval '1 day', timestamptz '{start}' + interval '2 days'
FROM generate_series(4, {fleet}, 4) AS k;
"""


class Recorder(AsyncCursor[Any]):
    """Keeps what is executed."""

    executed: ClassVar[list[tuple[Any, Any]]] = []

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        self.executed.append((query, params))
        return await super().execute(query, params, **options)


@pytest.fixture(scope="module")
def history(stores: Any, template: str) -> Iterator[str]:
    """Yield the DSN of a database that holds the fleet; no test changes it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    dsn = make_conninfo(stores.postgres_dsn, dbname=name)
    with psycopg.connect(stores.postgres_dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            fill(dsn)
            yield dsn
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def fill(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SELECT ensure_partitions(%s::date[])", (DAYS,))
        connection.execute(FILL.format(fleet=FLEET, start=DAYS[0], end=DAYS[-1] + timedelta(days=1)).encode())
        connection.execute("VACUUM ANALYZE")


@pytest.fixture
async def pool(history: str) -> AsyncIterator[Pool]:
    async with AsyncConnectionPool(
        history, min_size=1, max_size=1, kwargs={"cursor_factory": Recorder}, open=False
    ) as pool:
        Recorder.executed.clear()
        yield pool


async def plans(pool: Pool, executed: list[tuple[Any, Any]]) -> list[list[dict[str, Any]]]:
    """Return the plan nodes of each statement, as it is carried out."""
    async with pool.connection() as connection:
        found = []
        for query, params in executed:
            cursor = psycopg.AsyncClientCursor(connection)
            await cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query, params)
            (plan,) = await cursor.fetchone() or (None,)
            found.append(list(nodes((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])))
        return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def on_history(statement: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [node for node in statement if node.get("Relation Name", "").startswith(HISTORY)]


def days_of(window: Window) -> set[str]:
    last = (window.end - timedelta(microseconds=1)).date()
    return {f"{day:%Y%m%d}" for day in DAYS if window.start.date() <= day <= last}


A_DAY = Window(T0 + timedelta(hours=34), T0 + timedelta(hours=58))
DAY_2 = Window(T0 + timedelta(hours=24), T0 + timedelta(hours=48))
WINDOWS = [
    Window(T0, T0 + timedelta(hours=72)),
    A_DAY,
    DAY_2,
    Window(T0 + timedelta(hours=27, minutes=30), T0 + timedelta(hours=27, minutes=45)),
]


@pytest.mark.parametrize("correlation", Correlation)
async def test_history_is_read_by_index_only_scans_of_the_windows_partitions(pool: Pool, correlation: Correlation):
    for window in WINDOWS:
        for ids in (["V1"], ["V2"], ["V4"], [f"V{k}" for k in range(1, FLEET + 1)]):
            Recorder.executed.clear()
            await store.performances(pool, ids, window, correlation)
            spans, aggregate = await plans(pool, [*Recorder.executed])

            assert on_history(spans) == []
            read = on_history(aggregate)
            assert {node["Node Type"] for node in read} == {"Index Only Scan"}, (ids, window)
            assert sum(node["Heap Fetches"] for node in read) == 0
            assert {node["Relation Name"].rpartition("_")[2] for node in read} == days_of(window)
            assert {node["Relation Name"].rpartition("_")[0] for node in read} == set(HISTORY)


@pytest.mark.parametrize("correlation", Correlation)
async def test_the_planner_cannot_trade_the_spans_for_a_hash_of_whole_partitions(pool: Pool, correlation: Correlation):
    await store.performances(pool, ["V2", "V4"], A_DAY, correlation)
    async with pool.connection() as connection:
        await connection.execute("SET enable_nestloop = off")
    Recorder.executed.pop()
    (_, aggregate) = await plans(pool, [*Recorder.executed])

    assert {node["Node Type"] for node in on_history(aggregate)} == {"Index Only Scan"}
    scanned = sum(node["Actual Rows"] * node["Actual Loops"] for node in on_history(aggregate))
    assert scanned <= 24 * 60 * 10, "no more than a handful of devices"


@pytest.mark.parametrize("correlation", Correlation)
async def test_who_shares_is_found_by_index_in_the_vehicles_own_hours(pool: Pool, correlation: Correlation):
    await store.performances(pool, ["V1"], A_DAY, correlation)
    (spans, _) = await plans(pool, [*Recorder.executed])

    hours = [node for node in spans if node.get("Relation Name") == "meter_vehicle_hours"]
    assert {node["Node Type"] for node in hours} <= {"Index Only Scan"}
    # A vehicle's 24 hours, those of who else was at its two meters, and nobody else's.
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in hours) < 100


@pytest.mark.parametrize("correlation", Correlation)
@pytest.mark.parametrize("many", [1, FLEET])
async def test_a_question_is_two_statements_however_many_vehicles(pool: Pool, correlation: Correlation, many: int):
    answers = await store.performances(pool, [f"V{k}" for k in range(1, many + 1)], DAY_2, correlation)

    assert len(answers) == many
    assert len(Recorder.executed) == 2


async def test_a_question_about_nobody_known_is_one_statement(pool: Pool):
    assert await store.performances(pool, ["V0"], A_DAY, Correlation.EXCLUSIVE_MINUTES) == {}
    assert len(Recorder.executed) == 1


async def test_sharing_is_seen_through_names_and_assignments_in_this_history(pool: Pool):
    answers = await store.performances(pool, ["V1", "V2"], DAY_2, Correlation.EXCLUSIVE_MINUTES)
    assert {id_: (a.minutes_kept, a.minutes_shared) for id_, a in answers.items()} == {
        "V1": (23 * 60, 60),
        "V2": (23 * 60, 60),
    }
