"""The analytics service's process is killed again and again, hours are passed, and readings come late meanwhile."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest

from tests.chaos.charging import VEHICLES, Charging
from tests.chaos.way import free_address
from tests.integration import fleets
from tests.integration.recomputed import hold_rollups_against_readings
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc

HOURS = 7
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ORACLES = {pb.CORRELATION_EXCLUSIVE_MINUTES: fleets.exclusive, pb.CORRELATION_ASSIGNED_METER: fleets.assigned}


class Analytics:
    """The analytics service as a process that refreshes in small steps, killed and started again at its address."""

    def __init__(self, dsn: str) -> None:
        self.address = free_address()
        self._dsn = dsn
        self._running: asyncio.subprocess.Process | None = None

    async def start(self, grace: timedelta) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_")}
        settings = {"EVERY_S": 0.02, "SETTLE_S": 0, "DEVICES": 3, "GRACE_S": grace.total_seconds()}
        self._running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "analytics_service",
            env={
                **clean,
                "WATTSTREAM_POSTGRES_DSN": self._dsn,
                "WATTSTREAM_ANALYTICS_LISTEN": self.address,
                **{f"WATTSTREAM_ANALYTICS_REFRESH_{name}": str(value) for name, value in settings.items()},
            },
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def kill(self) -> None:
        assert self._running
        with suppress(ProcessLookupError):
            self._running.send_signal(signal.SIGKILL)
        await self._running.wait()

    async def ask(self, vehicles: list[str], start: datetime, end: datetime, correlation: Any) -> dict[str, Any]:
        """Return the performances by vehicle, once it is there to answer."""
        request = pb.BatchGetVehiclePerformanceRequest(vehicle_ids=vehicles, correlation=correlation)
        request.window.start.FromDatetime(start)
        request.window.end.FromDatetime(end)
        options = [("grpc.max_reconnect_backoff_ms", 100), ("grpc.enable_retries", 0)]
        async with grpc.aio.insecure_channel(self.address, options) as channel:
            stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
            while True:
                try:
                    answer = await stub.BatchGetVehiclePerformance(request, timeout=60, wait_for_ready=True)
                    return {one.vehicle_id: one for one in answer.performances}
                except grpc.aio.AioRpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise


@asynccontextmanager
async def going_on(*coroutines: Any) -> AsyncIterator[None]:
    """Run them meanwhile; none of them may fail."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []


async def ask_without_end(analytics: Analytics, charging: Charging, end: datetime, chance: random.Random) -> None:
    """Hold the number of readings between what was acknowledged before the question, and sent before its answer."""
    while True:
        until = end - chance.randrange(0, 200) * MINUTE
        since = until - chance.choice([30, 60, 150, 600]) * MINUTE
        acked = set(charging.acked)
        found = await analytics.ask(list(VEHICLES), since, until, pb.CORRELATION_ASSIGNED_METER)
        window = range(int(since.timestamp()), int(until.timestamp()))
        for vehicle in VEHICLES:
            least, most = (
                sum(device == vehicle and second in window for device, second in keys)
                for keys in (acked, charging.sent)
            )
            readings = found[vehicle].readings if vehicle in found else 0
            assert least <= readings <= most, (vehicle, since, until)
        await asyncio.sleep(0.02)


async def hours_are_passed(dsn: str, target: datetime) -> None:
    """Return once nothing is stale up to there."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection, asyncio.timeout(90):
        query = "SELECT log_from < %s OR EXISTS (SELECT FROM stale_hours) FROM rollup_state"
        while await (await connection.execute(query, (target,))).fetchone() != (False,):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kills", [5, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
async def test_answers_hold_what_is_acknowledged_and_rollups_end_as_if_made_at_once(
    database: str, make_process: Callable[..., Any], kills: int
) -> None:
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    this_hour = end.replace(minute=0)
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE rollup_state SET log_from = %s", (this_hour - HOURS * HOUR,))
    ingest, analytics, chance = make_process(database), Analytics(database), random.Random(kills)
    charging = Charging(ingest.address, end, HOURS - 1, kills)
    await ingest.start()
    await ingest.until_serving()
    await analytics.start(grace=HOURS * HOUR)
    try:
        async with going_on(charging.send(clients=3), ask_without_end(analytics, charging, end, chance)):
            for number in range(kills):
                await analytics.ask(["V1"], end - HOUR, end, pb.CORRELATION_EXCLUSIVE_MINUTES)
                await asyncio.sleep(chance.uniform(0.1, 0.8))
                await analytics.kill()
                # Each time it comes back some hours more are over for it, until all are.
                await analytics.start(grace=max(HOURS * HOUR * (kills - 2 - number) / kills, timedelta()))
                if number in (1, 3):
                    since = end - (5 - number) * HOUR - 7 * MINUTE
                    await charging.assign("V4", "M1", since, since + 70 * MINUTE)
            await asyncio.sleep(1)
        await charging.send_the_rest()
        await hours_are_passed(database, this_hour)
        for correlation, oracle in ORACLES.items():
            for since, until in ((end - 8 * HOUR, end), (end - 200 * MINUTE, end - 20 * MINUTE), (end - HOUR, end)):
                found = await analytics.ask(list(VEHICLES), since, until, correlation)
                for vehicle in VEHICLES:
                    fleets.check(found.get(vehicle), oracle(charging.fleet(since, until), vehicle))
        await hold_rollups_against_readings(database)
    finally:
        await analytics.kill()
