"""Partitions that are made while hours are passed on to be rolled up."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg

from analytics_service.rollups.refresher import Pace, Refresher
from wattstream import postgres

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)
PACE = Pace(every=timedelta(seconds=1), grace=timedelta(0), settle=timedelta(hours=1), devices=10)
PATIENCE_S = 20


async def test_a_partition_that_is_made_meanwhile_has_its_hours_noted(database: str):
    async with (
        postgres.open_pool(database, name="test", size=1, statement_timeout_s=30, autocommit=True) as pool,
        await psycopg.AsyncConnection.connect(database) as maker,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as watcher,
    ):
        await maker.execute("SELECT ensure_partitions('{2026-02-10}')")
        passing = asyncio.create_task(Refresher(pool, PACE).step(NOW))
        async with asyncio.timeout(PATIENCE_S):
            while not await waits(watcher):
                await asyncio.sleep(0.02)
            await maker.commit()
            await passing

        cursor = await watcher.execute("SELECT count(*), min(device_key) FROM stale_hours WHERE hour < %s", (NOW,))
        assert await cursor.fetchone() == (12, 0)


async def waits(watcher: psycopg.AsyncConnection) -> bool:
    cursor = await watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return await cursor.fetchone() == (1,)
