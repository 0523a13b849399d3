"""The analytics service and its database: one moment a question, calls that end early, a database that goes away."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from analytics_service import store
from analytics_service.answers import Answers, _Known, open_pool
from analytics_service.config import AnalyticsConfig
from analytics_service.performance import Correlation
from analytics_service.service import lifespan
from analytics_service.windows import Window
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.errors import DETAILS_KEY
from wattstream.server import serving

T0 = datetime(2026, 2, 10, 14, tzinfo=UTC)
HOUR = Window(T0, T0 + timedelta(hours=1))
PATIENCE_S = 20


@pytest.fixture
def readings(database: str) -> None:
    """V1 and M1, ten minutes, a reading a minute."""
    with psycopg.connect(database) as connection:
        connection.execute("SELECT ensure_partitions(%s::date[])", ([T0.date()],))
        connection.execute("INSERT INTO devices (kind, device_id) VALUES (1, 'M1'), (2, 'V1')")
        keys = "devices m, devices v WHERE m.device_id = 'M1' AND v.device_id = 'V1'"
        for minute in range(10):
            at = T0 + timedelta(minutes=minute)
            connection.execute(f"INSERT INTO meter_readings SELECT m.device_key, %s, 0.5, 230 FROM {keys}", (at,))
            connection.execute(
                f"INSERT INTO vehicle_readings SELECT v.device_key, m.device_key, %s, 50, 0.4, 30 FROM {keys}", (at,)
            )
        connection.execute(f"INSERT INTO meter_vehicle_hours SELECT m.device_key, %s, v.device_key FROM {keys}", (T0,))


@asynccontextmanager
async def service(database: str, **settings: Any) -> AsyncIterator[grpc.aio.Channel]:
    config = AnalyticsConfig(
        listen="127.0.0.1:0", postgres_dsn=database, **{"connections": 2, "refresh": False, **settings}
    )
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


def question() -> pb.GetVehiclePerformanceRequest:
    window = pb.TimeWindow(start=Timestamp(), end=Timestamp())
    window.start.FromDatetime(HOUR.start)
    window.end.FromDatetime(HOUR.end)
    return pb.GetVehiclePerformanceRequest(vehicle_id="V1", window=window)


@contextmanager
def held(database: str, table: str = "devices") -> Iterator[psycopg.Connection[Any]]:
    """Hold what questions need, by default every one of them, so that they wait in the database."""
    with psycopg.connect(database) as holder, psycopg.connect(database, autocommit=True) as watcher:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield watcher


async def until_waiting(watcher: psycopg.Connection[Any], count: int) -> None:
    """Return once as many statements of the service wait for the lock."""
    deadline = time.monotonic() + PATIENCE_S
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'wattstream analytics' AND wait_event_type = 'Lock'"
    )
    while (row := watcher.execute(query).fetchone()) != (count,):
        assert time.monotonic() < deadline, row
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("settings", "timeout_s"),
    [({}, 0.5), ({"default_deadline_s": 0.5}, None), ({"statement_timeout_s": 0.5}, None)],
    ids=["the caller's deadline", "the default deadline", "the statement's time"],
)
async def test_a_question_that_takes_too_long_ends_in_the_database_too(
    database: str, readings: None, settings: dict[str, float], timeout_s: float | None
):
    async with service(database, **settings) as channel:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        with held(database) as watcher:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetVehiclePerformance(question(), timeout=timeout_s)
            assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            await until_waiting(watcher, 0)
        assert (await stub.GetVehiclePerformance(question(), timeout=PATIENCE_S)).performance.readings == 10


async def test_a_question_whose_caller_went_away_ends_in_the_database_too(database: str, readings: None):
    async with service(database) as channel:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        with held(database) as watcher:
            call = stub.GetVehiclePerformance(question())
            asked = asyncio.ensure_future(call)
            await until_waiting(watcher, 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await until_waiting(watcher, 0)


async def test_questions_beyond_the_connections_wait_their_turn_and_the_service_stays_well(
    database: str, readings: None
):
    async with service(database, connections=2) as channel:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        with held(database) as watcher:
            asked = [asyncio.ensure_future(stub.GetVehiclePerformance(question())) for _ in range(6)]
            await until_waiting(watcher, 2)
            # A check that began now, with all connections in use, gets one and ends.
            await until_checked(watcher)
        assert [(await answer).performance.readings for answer in asked] == [10] * 6


async def test_questions_about_the_fleet_leave_connections_to_the_others(database: str, readings: None):
    async with service(database, connections=2) as channel:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        with held(database, "meter_rollups") as watcher:
            asked = [asyncio.ensure_future(stub.GetFleetSummary(pb.GetFleetSummaryRequest())) for _ in range(4)]
            await until_waiting(watcher, 1)
            assert (await stub.GetVehiclePerformance(question(), timeout=PATIENCE_S)).performance.readings == 10
        assert [(await answer).vehicles_silent for answer in asked] == [1] * 4


async def test_an_answer_does_not_mix_what_is_known_with_what_another_question_finds_out(database: str, readings: None):
    async with open_pool(database, 2, 30) as pool:
        answers = Answers(pool, 2)
        asked = ["V1"], HOUR, Correlation.ASSIGNED_METER
        assert (await store.performances(answers, *asked))["V1"].readings == 10
        with held(database) as watcher:
            waiting = asyncio.ensure_future(store.performances(answers, *asked))
            await until_waiting(watcher, 1)
            answers._known = _Known()  # as a question does that meets a partition that is gone
        assert (await waiting)["V1"].readings == 10


async def until_checked(watcher: psycopg.Connection[Any]) -> None:
    """Return once the service has asked the database whether it is there, from now on."""
    (since,) = watcher.execute("SELECT clock_timestamp()").fetchone() or (None,)
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'wattstream analytics' AND wait_event_type IS DISTINCT FROM 'Lock'"
        " AND query_start > %s"
    )
    deadline = time.monotonic() + PATIENCE_S
    while watcher.execute(query, (since,)).fetchone() == (0,):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_while_the_database_is_away_callers_are_told_to_come_again_and_then_answered(
    database: str, readings: None, stores: Any
):
    name = str(conninfo_to_dict(database)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    async with service(database) as channel:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        with psycopg.connect(stores.postgres_dsn, autocommit=True) as admin:
            admin.execute(allow.format(sql.Identifier(name), False))
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetVehiclePerformance(question())
            await until_health(health, health_pb2.HealthCheckResponse.NOT_SERVING)
            admin.execute(allow.format(sql.Identifier(name), True))
            await until_health(health, health_pb2.HealthCheckResponse.SERVING)

        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata())[DETAILS_KEY])
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
        assert (await stub.GetVehiclePerformance(question())).performance.readings == 10


async def until_health(health: health_pb2_grpc.HealthStub, status: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    service_name = "wattstream.api.analytics.v1.AnalyticsService"
    while (await health.Check(health_pb2.HealthCheckRequest(service=service_name))).status != status:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
