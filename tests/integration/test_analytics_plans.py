"""How answers are carried: which statements, by which scans, of how much."""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from analytics_service import fleet, store
from analytics_service.answers import Answers, open_pool
from analytics_service.performance import Correlation
from analytics_service.windows import Window
from tests.integration.long_history import DAYS, END, FLEET, LOG_FROM, month
from tests.integration.plans import (
    HISTORY,
    ROLLUPS,
    Recorder,
    buffers,
    days_read,
    messages,
    on,
    plan,
    read_index_only,
    rows,
)
from wattstream.postgres import Pool

EXCLUSIVE, ASSIGNED = Correlation.EXCLUSIVE_MINUTES, Correlation.ASSIGNED_METER
A_DAY = Window(END - timedelta(days=1), END)
A_MONTH = Window(END - timedelta(days=30), END)
ALL = Window(datetime.combine(DAYS[0], datetime.min.time(), UTC), LOG_FROM)
TODAY = f"{DAYS[-1]:%Y%m%d}"
# V2 is alone at M2 but for the hour from 13:00, which V1 spends there; V4 is alone at M4 by assignment.
QUIET, SHARES, BY_ASSIGNMENT = "V3", "V2", "V4"
CONTRARY = ("enable_nestloop = off", "enable_hashjoin = on", "enable_hashagg = on", "enable_mergejoin = off")


@pytest.fixture(scope="module")
def history(stores: Any, template: str) -> Iterator[str]:
    """Yield the DSN of a database that no test changes for the next."""
    with month(stores.postgres_dsn, template) as dsn:
        yield dsn


@pytest.fixture
async def pool(history: str) -> AsyncIterator[Pool]:
    async with open_pool(history, 1, 30) as opened:
        yield opened


@pytest.fixture
async def answers(pool: Pool) -> Answers:
    """Return one that knows the state of the rollups."""
    made = Answers(pool, 1)
    await store.performances(made, ["V1"], A_DAY, EXCLUSIVE)
    return made


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


@pytest.mark.parametrize("correlation", Correlation)
@pytest.mark.parametrize("window", [A_DAY, A_MONTH])
async def test_a_window_is_its_ends_in_readings_and_its_middle_in_rollups(
    answers: Answers, pool: Pool, recorder: Recorder, correlation: Correlation, window: Window
):
    # 23 minutes at one end, 37 at the other; in the month, there are no readings at the first.
    minutes, rollups = (60, 23) if window is A_DAY else (37, 9 + 29 + 14)
    for vehicle in (QUIET, BY_ASSIGNMENT):
        with_meter = correlation is EXCLUSIVE or vehicle == BY_ASSIGNMENT
        await store.performances(answers, [vehicle], window, correlation)
        nodes = await plan(pool, recorder.last())

        read_index_only(nodes)
        assert days_read(nodes) == {f"{window.start:%Y%m%d}", TODAY}
        assert rows(on(nodes, "vehicle_readings")) == minutes
        assert rows(on(nodes, "meter_readings")) == minutes * with_meter
        assert rows(on(nodes, "vehicle_rollups")) == rollups
        assert rows(on(nodes, "meter_rollups")) == rollups * (correlation is ASSIGNED and with_meter)
        assert buffers(on(nodes, *HISTORY, *ROLLUPS)) < 60


async def test_the_day_of_a_month_costs_as_much_as_that_of_a_day(answers: Answers, pool: Pool, recorder: Recorder):
    costs = []
    for window in (A_DAY, A_MONTH):
        await store.performances(answers, [QUIET], window, EXCLUSIVE)
        costs.append(buffers(on(await plan(pool, recorder.last()), *HISTORY, *ROLLUPS)))
    assert costs[1] <= 2 * costs[0]


async def test_of_whom_it_may_share_a_meter_with_only_the_same_hours_are_read(
    answers: Answers, pool: Pool, recorder: Recorder
):
    window = Window(LOG_FROM - timedelta(minutes=50), END)
    await store.performances(answers, [SHARES], window, EXCLUSIVE)
    nodes = await plan(pool, recorder.last())

    read_index_only(nodes)
    assert rows(on(nodes, "vehicle_readings")) == 2 * 50 + 37
    assert rows(on(nodes, "meter_readings")) == 50 + 37
    assert {node["Node Type"] for node in on(nodes, "meter_vehicle_hours")} == {"Index Only Scan"}
    assert rows(on(nodes, "meter_vehicle_hours")) <= 6


async def test_buckets_of_minutes_are_readings_and_of_hours_rollups(answers: Answers, pool: Pool, recorder: Recorder):
    since = LOG_FROM - timedelta(hours=2)
    for step, raw, rollups in ((timedelta(minutes=15), 157, 0), (timedelta(hours=1), 37, 2)):
        cuts = [since + n * step for n in range(1, 3 * 60) if since + n * step < END]
        await store.buckets(answers, QUIET, Window(since, END), cuts, EXCLUSIVE)
        nodes = await plan(pool, recorder.last())

        read_index_only(nodes)
        assert rows(on(nodes, "meter_readings")) == raw
        assert rows(on(nodes, "vehicle_rollups")) == rollups


@pytest.mark.parametrize("correlation", Correlation)
async def test_many_vehicles_are_read_as_one_is(
    answers: Answers, pool: Pool, recorder: Recorder, correlation: Correlation
):
    await store.performances(answers, [f"V{k}" for k in range(1, FLEET + 1)], A_DAY, correlation)
    nodes = await plan(pool, recorder.last())
    read_index_only(nodes)
    assert rows(on(nodes, "vehicle_rollups")) == FLEET * 23
    assert rows(on(nodes, "vehicle_readings")) == FLEET * 60


@pytest.mark.parametrize("contrary", [*((setting,) for setting in CONTRARY), CONTRARY])
@pytest.mark.parametrize("correlation", Correlation)
async def test_the_planner_cannot_be_talked_into_reading_whole_partitions(
    answers: Answers, pool: Pool, recorder: Recorder, correlation: Correlation, contrary: tuple[str, ...]
):
    await store.performances(answers, [BY_ASSIGNMENT], A_DAY, correlation)
    nodes = await plan(pool, recorder.last(), *contrary)
    read_index_only(nodes)
    assert rows(on(nodes, *HISTORY)) == 2 * 60


@pytest.mark.parametrize("correlation", Correlation)
async def test_nor_by_the_want_of_statistics(stores: Any, template: str, recorder: Recorder, correlation: Correlation):
    with month(stores.postgres_dsn, template, is_vacuumed=False) as dsn:
        async with open_pool(dsn, 1, 30) as pool:
            await store.performances(Answers(pool, 1), [BY_ASSIGNMENT], A_DAY, correlation)
            nodes = await plan(pool, recorder.last())
    assert {node["Node Type"] for node in on(nodes, *HISTORY, *ROLLUPS)} == {"Index Only Scan"}
    assert rows(on(nodes, *HISTORY)) == 2 * 60
    assert rows(on(nodes, "vehicle_rollups")) == 23


FLEET_QUESTIONS: dict[str, Callable[[Answers, Window], Any]] = {
    "ranking": lambda answers, window: fleet.ranking(
        answers, fleet.Ranking(window, fleet.Order.EFFICIENCY, False, 0.0, None, None), (float("-inf"), 0), 10
    ),
    "summary": fleet.summary,
    "series": lambda answers, window: fleet.series(answers, window, []),
}


@pytest.mark.parametrize("question", FLEET_QUESTIONS)
@pytest.mark.parametrize("settings", [(), ("enable_nestloop = off",)])
async def test_the_fleet_is_read_by_the_rollups_start(
    answers: Answers, pool: Pool, recorder: Recorder, question: str, settings: tuple[str, ...]
):
    window = Window(LOG_FROM - timedelta(days=1), LOG_FROM)
    await FLEET_QUESTIONS[question](answers, window)
    nodes = await plan(pool, recorder.last(), "plan_cache_mode = force_custom_plan", *settings)
    read_index_only(nodes)
    assert on(nodes, *HISTORY) == []
    whole = [node for node in on(nodes, "vehicle_rollups") if node["Index Name"] == "vehicle_rollups_start"]
    assert rows(whole) == FLEET * 24
    assert rows(on(nodes, "vehicle_rollups")) <= (FLEET + 10) * 24, "besides that, those of a page"


async def test_a_likely_answer_is_one_statement(answers: Answers, pool: Pool):
    async with messages(pool) as sent:
        await store.performances(answers, [QUIET], A_MONTH, EXCLUSIVE)
    assert sent == ["$"]


async def test_an_answer_among_stale_hours_is_state_and_sums_in_one_snapshot(history: str, pool: Pool):
    answers = Answers(pool, 1)
    snapshot = ["BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", "$", "$", "COMMIT"]
    with psycopg.connect(history, autocommit=True) as connection:
        await store.performances(answers, [QUIET], A_DAY, EXCLUSIVE)
        connection.execute(
            "INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (LOG_FROM - timedelta(hours=3),)
        )
        try:
            async with messages(pool) as sent:
                await store.performances(answers, [QUIET], A_DAY, EXCLUSIVE)
            assert sent == ["$", *snapshot], "it was likely, but not so"
            async with messages(pool) as sent:
                await store.performances(answers, [QUIET], A_DAY, EXCLUSIVE)
            assert sent == snapshot
        finally:
            connection.execute("DELETE FROM stale_hours")
    async with messages(pool) as sent:
        await store.performances(answers, [QUIET], A_DAY, EXCLUSIVE)
        await store.performances(answers, [QUIET], A_DAY, EXCLUSIVE)
    assert sent == [*snapshot, "$"]


async def test_statements_are_prepared_once_and_planned_for_any_vehicle(answers: Answers, pool: Pool):
    for k in range(1, 13):
        await store.performances(answers, [f"V{k}"], A_DAY, EXCLUSIVE)
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%vehicle_rollups%'"
        )
        [(generic, custom)] = await cursor.fetchall()
    assert (generic > 6, custom) == (True, 0)
