"""The three services, each a process of its own, configured by its environment."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wattstream.embedded import ports, supervisor
from wattstream.embedded.folder import EmbeddedError, Home
from wattstream.embedded.programs import Program

_PROBE_DEADLINE_S = 1.0
_READY_WITHIN_S = 60.0
_ANY_HOST = ("0.0.0.0", "[::]")  # noqa: S104 - what users may have configured


class Service(NamedTuple):
    """A service: its area, the port that it has by default, and the name under which its health is asked for."""

    area: str
    port: int
    full_name: str


# In the order in which they start: ingest hands over to state.
SERVICES = (
    Service("state", 50052, "wattstream.api.state.v1.StateService"),
    Service("analytics", 50053, "wattstream.api.analytics.v1.AnalyticsService"),
    Service("ingest", 50051, "wattstream.api.ingest.v1.IngestService"),
)


@asynccontextmanager
async def running(
    home: Home, environ: Mapping[str, str], asked_ports: Mapping[str, int | None]
) -> AsyncIterator[dict[str, str]]:
    """Run the services in the environment `environ`, which names their stores; yield their addresses by area.

    A service listens on the port asked for, else where WATTSTREAM_<AREA>_LISTEN says, else on a free port.

    Raises:
        EmbeddedError: a port asked for is in use, or a service does not start.
    """
    async with AsyncExitStack() as stack:
        listen = {}
        for service in SERVICES:
            host, asked = _asked(service, environ, asked_ports)
            reserved = ports.reserved(home, service.area, exactly=asked, default=service.port)
            listen[service.area] = (host, stack.enter_context(reserved))
        addresses = {
            area: f"{ports.HOST if host in _ANY_HOST else host}:{port}" for area, (host, port) in listen.items()
        }
        variables = {_listen_variable(area): f"{host}:{port}" for area, (host, port) in listen.items()}
        env = {**environ, **variables, "WATTSTREAM_INGEST_STATE_ADDRESS": addresses["state"]}
        for service in SERVICES:
            program = _program(service, addresses[service.area], env)
            await stack.enter_async_context(supervisor.running(program, home))
        yield addresses


def _program(service: Service, address: str, env: Mapping[str, str]) -> Program:
    return Program(
        name=service.area,
        # -P: nothing that lies in the current folder is imported by mistake.
        argv=(sys.executable, "-P", "-m", f"{service.area}_service"),
        env=env,
        cwd=Path.cwd(),
        is_ready=lambda: _is_serving(address, service.full_name),
        ready_within_s=_READY_WITHIN_S,
    )


def _asked(service: Service, environ: Mapping[str, str], asked: Mapping[str, int | None]) -> tuple[str, int | None]:
    """Return the host to listen on, and the port, if a certain one was asked for."""
    variable = _listen_variable(service.area)
    host, _, port = environ.get(variable, f"{ports.HOST}:0").rpartition(":")
    if not host or not port.isdigit():
        raise EmbeddedError(f"{variable}: {environ[variable]!r} is not host:port")
    return host, asked.get(service.area) or int(port) or None


def _listen_variable(area: str) -> str:
    return f"WATTSTREAM_{area.upper()}_LISTEN"


async def _is_serving(address: str, full_name: str) -> bool:
    request = health_pb2.HealthCheckRequest(service=full_name)
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(request, timeout=_PROBE_DEADLINE_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
