"""Looking for drops beside those who store rollups and beside itself, cut off anywhere, and cheaply."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import psycopg
import pytest
from psycopg import AsyncCursor
from psycopg_pool import AsyncConnectionPool

from analytics_service.alerts import evaluate as evaluation
from analytics_service.alerts.evaluate import Evaluation
from tests.integration.alert_hours import HOUR, T0, Fleet, evaluate, open_pool, row, spans
from wattstream.postgres import Pool
from wattstream.resources import read

PATIENCE_S = 20


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database, size=4) as opened:
        yield opened


@pytest.fixture
def fleet(database: str) -> Fleet:
    return Fleet(database)


async def until_waiting(fleet: Fleet, many: int = 1) -> None:
    """Wait until somebody waits for a lock, or so many do."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(PATIENCE_S):
        while (fleet.connection.execute(waiting).fetchone() or (0,))[0] < many:
            await asyncio.sleep(0.01)


async def test_a_step_that_is_cut_off_leaves_no_trace_and_is_done_again(
    fleet: Fleet, pool: Pool, database: str
) -> None:
    fleet.store([row("v1", "m1", 5, 0.7), row("v2", "m1", 5, 0.7)])
    await evaluate(pool)
    fleet.store([row("v1", "m1", 6, 0.7), row("v3", "m1", 6, 0.7)])
    before, due = fleet.stored(), fleet.due()
    with psycopg.connect(database) as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(hashtext('wattstream.efficiency_alerts'))")
        step = asyncio.create_task(evaluate(pool))
        await until_waiting(fleet)
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        fleet.connection.execute(kill + " AND datname = current_database()")
        with pytest.raises(psycopg.OperationalError):
            await step
        assert (fleet.stored(), fleet.due()) == (before, due)
    await evaluate(pool)
    assert fleet.due() == set()
    assert len(spans(fleet.alerts())) == len(fleet.stored()) == 7


async def test_what_is_noted_while_it_is_looked_at_is_looked_at_again(fleet: Fleet, pool: Pool, database: str) -> None:
    fleet.store([row("v1", "m1", 5, 0.7)])
    with psycopg.connect(database) as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(hashtext('wattstream.efficiency_alerts'))")
        looking = asyncio.create_task(evaluate(pool))
        await until_waiting(fleet)
        other = Fleet(database)
        other.keys = fleet.keys
        storing = asyncio.create_task(asyncio.to_thread(other.store, [row("v1", "m1", 5, 0.6)]))
        await until_waiting(fleet, many=2)
    await asyncio.gather(looking, storing)
    assert {alert.dc for alert in fleet.alerts()} == {7}
    assert fleet.due() == {fleet.key(2, "v1"), fleet.key(1, "m1")}
    await evaluate(pool)
    assert {alert.dc for alert in fleet.alerts()} == {6}


async def test_while_another_process_looks_nothing_is_done(fleet: Fleet, pool: Pool, database: str) -> None:
    fleet.store([row("v1", "m1", 5, 0.7)])
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('wattstream.efficiency_due'))")
        await evaluate(pool)
        assert (len(fleet.due()), fleet.stored()) == (2, [])
    await evaluate(pool)
    assert (len(fleet.due()), len(fleet.stored())) == (0, 3)


async def test_one_looks_at_a_time_and_all_alerts_are_found_once(fleet: Fleet, pool: Pool) -> None:
    fleet.store(row(f"v{v}", f"m{v % 7}", hour, 0.7) for v in range(50) for hour in range(5))
    many = [Evaluation(pool, 0.01) for _ in range(4)]
    async with asyncio.timeout(PATIENCE_S):
        while fleet.due():
            await asyncio.gather(*(each.round() for each in many))
    assert len(fleet.stored()) == 50 + 50 + 7


class Recorder(AsyncCursor[Any]):
    """Keeps what is executed."""

    executed: ClassVar[list[tuple[Any, Any]]] = []

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        self.executed.append((query, params))
        return await super().execute(query, params, **options)


@pytest.fixture
async def recording(database: str) -> AsyncIterator[Pool]:
    kwargs = {"cursor_factory": Recorder, "autocommit": True}
    async with AsyncConnectionPool(database, min_size=1, max_size=1, kwargs=kwargs, open=False) as pool:
        Recorder.executed.clear()
        yield pool


async def test_a_healthy_fleet_takes_a_few_statements_whatever_its_size(fleet: Fleet, recording: Pool) -> None:
    fleet.store(row(f"v{v}", f"m{v}", hour, 0.9) for v in range(100) for hour in range(3))
    await evaluate(recording)
    locks_takes_and_subjects = 2 + 2 + 1
    assert len(Recorder.executed) == locks_takes_and_subjects
    assert fleet.due() == set()


async def test_a_low_hour_in_a_healthy_window_takes_one_statement_more(fleet: Fleet, recording: Pool) -> None:
    fleet.store(row(f"v{v}", f"m{v}", hour, (0.95, 0.8)[hour == 2]) for v in range(100) for hour in range(3))
    await evaluate(recording)
    locks_takes_subjects_and_windows = 2 + 2 + 1 + 1
    assert len(Recorder.executed) == locks_takes_subjects_and_windows
    assert fleet.alerts() == []


async def test_rollups_are_read_by_index_only_scans_of_few_hours(fleet: Fleet, recording: Pool) -> None:
    levels = (0.9, 0.9, 0.9, 0.6)
    fleet.store((row(f"v{v}", f"m{v}", h, levels[v % 4]) for v in range(200) for h in range(23, 48)), notes=False)
    fleet.connection.execute("VACUUM ANALYZE")
    fleet.note((key, T0 + 47 * HOUR) for key in fleet.keys.values() if key)
    await evaluate(recording)
    (looked, sustained) = [each for each in Recorder.executed if "vehicle_rollups" in each[0]]
    alerted = fleet.stored()
    hours = {
        "vehicle_keys": [alert["vehicle_key"] for alert in alerted],
        "meter_keys": [alert["meter_key"] for alert in alerted],
        "since": [T0 + 24 * HOUR] * len(alerted),
    }
    assert len(alerted) == 3 * 50
    for statement, rows in (
        (looked, 2 * 200),
        (sustained, 150 * 24),
        ((read("analytics_service.sql", "alerts_hours.sql"), hours), 150 * 24),
    ):
        found = [*scans(fleet.connection, *statement)]
        assert sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in found) == rows
        assert {(scan["Node Type"], scan["Heap Fetches"]) for scan in found} == {("Index Only Scan", 0)}


def scans(connection: psycopg.Connection[Any], query: Any, params: Any) -> Iterator[dict[str, Any]]:
    cursor = psycopg.ClientCursor(connection)
    (plan,) = cursor.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + query.encode(), params).fetchone() or ("[]",)
    left = [(json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]]
    while left:
        node = left.pop()
        left += node.get("Plans", [])
        if node.get("Relation Name") == "vehicle_rollups":
            yield node


async def test_a_device_that_always_has_late_readings_is_looked_at_in_the_end(
    fleet: Fleet, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.store([row("v1", "m1", 5, 0.7)])
    fleet.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (T0,))
    patient = Evaluation(pool, 0.01)
    await patient.round()
    monkeypatch.setattr(evaluation, "_OVERDUE_AFTER_S", -1.0)
    await patient.round()
    assert fleet.alerts() == []
    await patient.round()
    assert len(fleet.alerts()) == 3
    fleet.store([row("v1", "m1", 6, 0.6)])
    await patient.round()
    assert {alert.until for alert in fleet.alerts()} == {6}


async def test_a_device_that_was_looked_at_meanwhile_is_not_overdue(
    fleet: Fleet, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = "INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)"
    patient = Evaluation(pool, 0.01)
    for overdue_after_s in (-1.0, 1e6, -1.0):
        monkeypatch.setattr(evaluation, "_OVERDUE_AFTER_S", overdue_after_s)
        fleet.store([row("v1", "m1", 5, 0.7)])
        if overdue_after_s < 0:
            fleet.connection.execute(stale, (T0,))
        await patient.round()
        assert len(fleet.due()) == (2 if overdue_after_s < 0 else 0)
        fleet.connection.execute("DELETE FROM stale_hours")


async def test_a_database_that_is_away_is_waited_for(fleet: Fleet, pool: Pool) -> None:
    fleet.connection.execute("ALTER TABLE efficiency_due RENAME TO elsewhere")
    looking = asyncio.create_task(Evaluation(pool, 0.01).run())
    await asyncio.sleep(0.1)
    fleet.connection.execute("ALTER TABLE elsewhere RENAME TO efficiency_due")
    fleet.store([row("v1", "m1", 5, 0.7)])
    async with asyncio.timeout(PATIENCE_S):
        while fleet.due():
            await asyncio.sleep(0.01)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert len(fleet.alerts()) == 3
