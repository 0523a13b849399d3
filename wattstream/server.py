"""The one way in which a service is served: limits, interceptor, health, reflection, channelz, and an orderly end.

A service says what it is made of in a `Parts`, from an async context manager that opens and closes its stores. Serving
it is the same for all: `main` for a process, `serving` for a test.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
import uvloop
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health_pb2_grpc

from wattstream import config as configuration
from wattstream import health, logs, reflection, tasks, workers
from wattstream.interceptors import CallInterceptor

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
READ_AHEAD_BYTES = 64 * 1024
_CHANNELZ = "grpc.channelz.v1.Channelz"

log = logs.get()


class ServerConfig(Protocol):
    """What the configuration of every service says of how it is served."""

    @property
    def listen(self) -> str:
        """Address to listen on, host:port; port 0 takes a free one."""

    @property
    def log_level(self) -> str:
        """Least level that is logged."""

    @property
    def default_deadline_s(self) -> float:
        """Deadline of unary calls that come without one."""

    @property
    def workers(self) -> int:
        """How many processes share the address."""

    @property
    def drain_s(self) -> float:
        """How long open calls may take to end when the service shuts down."""


AnyConfig = TypeVar("AnyConfig", bound=ServerConfig)


@dataclass(frozen=True)
class Parts:
    """What a service is made of.

    Attributes:
        services: full names of the gRPC services, such as "wattstream.api.state.v1.StateService".
        register: adds their servicers to a server.
        checks: what the service depends on, by name; a check that raises says that the dependency is away.
        drain: called first when the service shuts down: streams should come to their end.
    """

    services: tuple[str, ...]
    register: Callable[[grpc.aio.Server], None]
    checks: Mapping[str, health.Check] = field(default_factory=dict)
    drain: Callable[[], None] = lambda: None


Lifespan = Callable[[AnyConfig], AbstractAsyncContextManager[Parts]]


def _tune_collector() -> None:
    """Look for cyclic garbage less often: calls make few cycles and many objects; looking took a fourth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


class StartError(Exception):
    """The service cannot start; the message says what to do."""


def main(area: str, cls: type[AnyConfig], lifespan: Lifespan[AnyConfig]) -> None:
    """Run a service as a process, configured by the environment, until SIGTERM or SIGINT.

    Exits with 1 and a message when it cannot start. Signals after the first change nothing: the drain has its own end.
    """
    parser = argparse.ArgumentParser(
        prog=f"{area}_service",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"environment:\n{configuration.explain(cls, area)}",
    )
    parser.add_argument("--print-config", action="store_true", help="show the configuration, secrets masked, and exit")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that share the address")
    parser.add_argument(workers.OPTION, type=int, dest="pipe", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        config = configuration.load(cls, area, os.environ)
    except configuration.ConfigError as error:
        sys.exit(f"{area}: {error}")
    if arguments.print_config:
        sys.stdout.write(configuration.describe(config, area) + "\n")
        return
    logs.configure(area, config.log_level)
    count = config.workers if arguments.workers is None else arguments.workers
    try:
        if count > 1 and arguments.pipe is None:
            sys.exit(uvloop.run(_supervise(area, config.listen, count)))
        _tune_collector()
        uvloop.run(_run_until_signal(config, lifespan, arguments.pipe))
    except StartError as error:
        sys.exit(f"{area}: {error}")
    except Exception:
        log.exception("stopped by a bug")
        sys.exit(1)


async def _supervise(area: str, listen: str, count: int) -> int:
    if listen.endswith(":0"):
        raise StartError(f"{count} workers need a port to share, and {listen} says to take any")
    try:
        return await workers.supervise(f"{area}_service", listen, count)
    except OSError:
        raise StartError(_in_use(listen)) from None


async def _run_until_signal(config: AnyConfig, lifespan: Lifespan[AnyConfig], pipe: int | None) -> None:
    stopping = asyncio.Event()
    starting = asyncio.current_task()

    def stop() -> None:
        if starting is not None and not stopping.is_set():
            starting.cancel()
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    if pipe is not None:
        workers.watch_parent(pipe, stop)
    try:
        async with serving(config, lifespan, share_port=pipe is not None) as address:
            starting = None
            log.info("serving", address=address)
            await stopping.wait()
            log.info("draining")
    except asyncio.CancelledError:
        if starting is None:
            raise
    log.info("stopped")


@asynccontextmanager
async def serving(config: AnyConfig, lifespan: Lifespan[AnyConfig], *, share_port: bool = False) -> AsyncIterator[str]:
    """Serve a service and yield its address, host:port; on leaving, drain and stop it.

    With `share_port`, other processes may listen on the same address.

    Raises:
        StartError: the address cannot be listened on.
    """
    async with lifespan(config) as parts:
        server = grpc.aio.server(
            interceptors=(CallInterceptor(config.default_deadline_s),), options=_options(share_port)
        )
        parts.register(server)
        health_servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        channelz.add_channelz_servicer(server)
        reflection.enable(server, (*parts.services, health.NAME, _CHANNELZ))
        port = _listen(server, config.listen)
        await health.update(health_servicer, parts.services, parts.checks)
        async with tasks.running(health.keep(health_servicer, parts.services, parts.checks)):
            try:
                await server.start()
                yield f"{config.listen.rpartition(':')[0]}:{port}"
            finally:
                health_servicer.close()
                parts.drain()
                await server.stop(config.drain_s)


def _listen(server: grpc.aio.Server, address: str) -> int:
    try:
        return server.add_insecure_port(address)
    except RuntimeError:
        raise StartError(_in_use(address)) from None


def _in_use(address: str) -> str:
    return f"cannot listen on {address}: is it in use?"


def _options(share_port: bool) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", 4 * MAX_MESSAGE_BYTES),
        # gRPC takes in so much of a stream ahead of its reader. Left to probe, it takes 4 MiB of each.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", READ_AHEAD_BYTES),
        ("grpc.so_reuseport", int(share_port)),
        # Finds peers that are gone without a word, and lets clients ask as often.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 5),
        ("grpc.enable_channelz", 1),
    ]
