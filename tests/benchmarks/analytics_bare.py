"""A service that answers every call with SELECT 1: what the way to the database and back costs whoever asks for more.

Server, interceptor, pool, event loop and collector are those of the analytics service.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import uvloop

from analytics_service.config import AnalyticsConfig
from wattstream import config, logs, postgres, server
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.postgres import Pool

_SERVICE = "wattstream.benchmarks.Bare"
METHOD = f"/{_SERVICE}/Select1"
"""Takes a GetVehiclePerformanceRequest, answers with an empty GetVehiclePerformanceResponse."""


@asynccontextmanager
async def lifespan(configured: AnalyticsConfig) -> AsyncIterator[server.Parts]:
    """Yield the parts of the service."""
    async with postgres.open_pool(
        configured.postgres_dsn,
        name="bare",
        size=configured.connections + 1,
        statement_timeout_s=configured.statement_timeout_s,
        autocommit=True,
    ) as pool:
        handler = grpc.unary_unary_rpc_method_handler(
            _select_1(pool, asyncio.Semaphore(configured.connections)),
            request_deserializer=pb.GetVehiclePerformanceRequest.FromString,
            response_serializer=pb.GetVehiclePerformanceResponse.SerializeToString,
        )
        generic = grpc.method_handlers_generic_handler(_SERVICE, {"Select1": handler})
        yield server.Parts(services=(), register=lambda to: to.add_generic_rpc_handlers((generic,)))


def _select_1(pool: Pool, turns: asyncio.Semaphore) -> Any:
    async def answer(request: pb.GetVehiclePerformanceRequest, context: Any) -> pb.GetVehiclePerformanceResponse:
        async with turns, pool.connection() as connection:
            cursor = await connection.execute("SELECT 1")
            await cursor.fetchone()
        return pb.GetVehiclePerformanceResponse()

    return answer


async def _serve() -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    environ = {**os.environ, "WATTSTREAM_ANALYTICS_LISTEN": "127.0.0.1:0"}
    configured = config.load(AnalyticsConfig, "analytics", environ)
    logs.configure("bare", configured.log_level)
    async with server.serving(configured, lifespan) as address:
        print(address, flush=True)
        await stopping.wait()


if __name__ == "__main__":
    server._tune_collector()
    uvloop.run(_serve())
