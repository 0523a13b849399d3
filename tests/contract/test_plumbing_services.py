"""The three services as processes without their stores: they start, say so, and end when asked."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICES = ("ingest", "state", "analytics")
DEADLINE_S = 30


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_")} | more


@asynccontextmanager
async def running(area: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    listen = {f"WATTSTREAM_{area.upper()}_LISTEN": "127.0.0.1:0"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"{area}_service", env=environment(**listen, **more), stderr=subprocess.PIPE
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def until(child: asyncio.subprocess.Process, event: str) -> dict[str, str]:
    assert child.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := await child.stderr.readline():
            found: dict[str, str] = json.loads(line)
            if found["event"] == event:
                return found
    raise AssertionError(f"{event!r} was not logged")


async def end(child: asyncio.subprocess.Process) -> int | None:
    child.send_signal(signal.SIGTERM)
    async with asyncio.timeout(DEADLINE_S):
        await child.communicate()
    return child.returncode


@pytest.mark.parametrize("area", ["ingest", "analytics"])
async def test_a_service_waits_for_its_database_and_ends_when_asked(area: str, unused_tcp_port: int) -> None:
    dsn = f"postgresql://me:hunter2@127.0.0.1:{unused_tcp_port}/x"
    async with running(area, WATTSTREAM_POSTGRES_DSN=dsn) as child:
        await until(child, "waiting for PostgreSQL")
        assert await end(child) == 0


async def test_the_state_service_lives_without_its_store_but_does_not_serve(unused_tcp_port: int) -> None:
    async with running("state", WATTSTREAM_REDIS_URL=f"redis://127.0.0.1:{unused_tcp_port}/0") as child:
        address = (await until(child, "serving"))["address"]
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            process = await stub.Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
            name = "wattstream.api.state.v1.StateService"
            service = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE_S)
        assert process.status == health_pb2.HealthCheckResponse.SERVING
        assert service.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await end(child) == 0


@pytest.mark.parametrize("area", SERVICES)
def test_every_service_shows_its_configuration_without_secrets(area: str) -> None:
    given = {
        "WATTSTREAM_POSTGRES_DSN": "postgresql://me:hunter2@db/x",
        "WATTSTREAM_REDIS_URL": "redis://:hunter2@cache:6379/0",
    }
    command = [sys.executable, "-m", f"{area}_service", "--print-config"]
    done = subprocess.run(command, env=environment(**given), capture_output=True, text=True, check=True)
    shown = json.loads(done.stdout)
    assert shown[f"WATTSTREAM_{area.upper()}_LISTEN"].startswith("127.0.0.1:")
    assert "***@" in shown["WATTSTREAM_REDIS_URL" if area == "state" else "WATTSTREAM_POSTGRES_DSN"]
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize("area", SERVICES)
def test_every_service_refuses_a_misspelt_variable(area: str) -> None:
    name = f"WATTSTREAM_{area.upper()}_LISTN"
    command = [sys.executable, "-m", f"{area}_service"]
    done = subprocess.run(command, env=environment(**{name: "x"}), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{area}: {name}: unknown variable")
