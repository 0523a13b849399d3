"""The ingest service's process is killed, or asked to end, while clients stream."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

Make = Callable[..., Any]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_killed_it_has_stored_whatever_it_acknowledged_and_a_resend_completes_the_rest(
    database: str, make_process: Make, make_client: Make, stored: Make
) -> None:
    process = make_process(database)
    await process.start()
    await process.until_serving()
    clients = [make_client(f"M{i}", 6000, pause_s=0.001) for i in range(4)]
    sending = [asyncio.create_task(client.send_all(process.address)) for client in clients]
    for progress in (1000, 5000):
        await until(lambda progress=progress: sum(len(c.acked) for c in clients) > progress)
        await process.end(signal.SIGKILL)
        found = stored(database)
        assert all(client.acked <= found[client.name] for client in clients)
        await process.start()
    await asyncio.wait_for(asyncio.gather(*sending), 60)
    assert stored(database) == {client.name: client.acked for client in clients}


async def test_asked_to_end_it_ends_each_stream_after_its_last_acknowledgement(
    database: str, make_process: Make, make_client: Make, stored: Make
) -> None:
    process = make_process(database)
    await process.start()
    await process.until_serving()
    clients = [make_client(f"M{i}", 20_000, pause_s=0.001) for i in range(4)]
    sending = [asyncio.create_task(client.send_once(process.address)) for client in clients]
    await until(lambda: all(len(client.acked) > 100 for client in clients))
    assert await asyncio.wait_for(process.end(signal.SIGTERM), 15) == 0
    await asyncio.gather(*sending)
    assert [client.statuses for client in clients] == [[grpc.StatusCode.UNAVAILABLE]] * 4
    assert stored(database) == {client.name: client.acked for client in clients}, "nothing is stored but unacknowledged"


async def test_asked_to_end_it_says_that_it_does_not_serve_while_a_stream_awaits_its_commit(
    database: str, make_process: Make, make_client: Make
) -> None:
    process = make_process(database)
    await process.start()
    await process.until_serving()
    client = make_client("M1", 10_000, pause_s=0.001)
    sending = asyncio.create_task(client.send_once(process.address))
    await until(lambda: len(client.acked) > 100)
    async with await psycopg.AsyncConnection.connect(database) as blocker:
        await blocker.execute("LOCK TABLE meter_readings IN ACCESS EXCLUSIVE MODE")
        health = process.health()
        assert await anext(health) == HealthCheckResponse.SERVING
        ending = asyncio.create_task(process.end(signal.SIGTERM))
        assert await anext(health) == HealthCheckResponse.NOT_SERVING
        assert not sending.done()
        acked = len(client.acked)
    assert await asyncio.wait_for(ending, 20) == 0
    await sending
    assert client.statuses == [grpc.StatusCode.UNAVAILABLE]
    assert len(client.acked) > acked


@pytest.mark.parametrize("how", ["away", "hanging"])
async def test_asked_to_end_it_does_so_in_time_without_a_database(
    fragile: Any, make_way: Make, make_process: Make, make_client: Make, stored: Make, *, how: str
) -> None:
    way = make_way(fragile.dsn)
    await way.open()
    process = make_process(way.dsn, drain_s=1)
    await process.start()
    await process.until_serving()
    client = make_client("M1", 10_000, pause_s=0.001)
    sending = asyncio.create_task(client.send_once(process.address))
    await until(lambda: len(client.acked) > 100)

    async def end_in_time() -> None:
        await until(lambda: client.sent > len(client.acked) + 50)
        started = time.monotonic()
        assert await process.end(signal.SIGTERM) == 0
        assert time.monotonic() - started < 20

    if how == "hanging":
        with fragile.stopped():
            await end_in_time()
    else:
        await way.close()
        await end_in_time()
    await sending
    assert client.statuses == [grpc.StatusCode.UNAVAILABLE]
    assert client.acked <= stored(fragile.dsn)["M1"]
