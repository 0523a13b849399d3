"""What the ingest service is made of, and in which order it is opened and closed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import grpc.aio

from ingest_service.batches import prepare
from ingest_service.config import IngestConfig
from ingest_service.fleet import Fleet
from ingest_service.fleet_servicer import FleetServicer
from ingest_service.groundwork import Groundwork
from ingest_service.hand_over import HandOver, Timing
from ingest_service.ingestion import Ingestion, limits_of, now_us
from ingest_service.intake import Intake
from ingest_service.limits import PeerLimits
from ingest_service.registry import Registry
from ingest_service.servicer import SERVICE, IngestServicer, add_to_server
from ingest_service.streams import Streams
from ingest_service.writer import Pace, Writer
from wattstream import postgres
from wattstream.api.ingest.v1.fleet_pb2_grpc import add_FleetServiceServicer_to_server
from wattstream.api.state.v1.state_pb2_grpc import StateServiceStub
from wattstream.server import Parts
from wattstream.tasks import running

SERVICES = (SERVICE, "wattstream.api.ingest.v1.FleetService")
# Connections that write history: as many as groups may be under way.
_WRITING = 2
# How much of the time for the drain calls may wait for their commits, before they are told to come again.
_PATIENCE = 0.9
# So that the state service is found again soon after it was away, and a connection that leads nowhere is noticed.
_CHANNEL_OPTIONS = (
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


@asynccontextmanager
async def lifespan(config: IngestConfig) -> AsyncIterator[Parts]:
    """Open the stores, run the writer and the hand-over, and close all of it in turn.

    Calls have ended by then, with the commit that they waited for or without an answer: nobody waits for the writer.
    """
    timeout_s = config.statement_timeout_s
    async with (
        # Apart from all others, so that no question, however slow or often asked, holds up the readings.
        postgres.open_pool(
            config.postgres_dsn, name="ingest writer", size=_WRITING, statement_timeout_s=timeout_s
        ) as writing,
        postgres.open_pool(
            config.postgres_dsn, name="ingest", size=config.connections - _WRITING, statement_timeout_s=timeout_s
        ) as pool,
        grpc.aio.insecure_channel(config.state_address, _CHANNEL_OPTIONS) as channel,
    ):
        registry = Registry()
        groundwork = Groundwork(writing, registry, registers=config.unknown_devices == "register")
        timing = Timing(config.hand_over_interval_s, config.hand_over_deadline_s, config.state_probe_s)
        hand_over = HandOver(pool, registry, StateServiceStub(channel), timing)
        limits = limits_of(config)
        intake = Intake(
            lambda messages: prepare(messages, registry.keys, limits, config.max_batch_readings, now_us()),
            config.max_buffered_bytes,
        )
        pace = Pace(config.max_group_readings, config.gather_s, 4 * timeout_s)
        writer = Writer(writing, registry, groundwork, intake, hand_over.offer, pace)
        peers = PeerLimits(config.max_streams_per_peer, config.max_readings_s_per_peer, time.monotonic)
        ingestion = Ingestion(intake, peers, writer, config.unary_wait_s, config.max_batch_readings)
        streams = Streams(intake, peers, config.stream_window_bytes)

        def register(server: grpc.aio.Server) -> None:
            add_to_server(IngestServicer(ingestion, streams), server)
            add_FleetServiceServicer_to_server(FleetServicer(Fleet(pool, registry)), server)

        def give_up() -> None:
            streams.give_up()
            ingestion.give_up()

        def drain() -> None:
            streams.drain()
            asyncio.get_running_loop().call_later(_PATIENCE * config.drain_s, give_up)

        async with running(hand_over.run(), writer.run(), groundwork.run()):
            yield Parts(SERVICES, register, {"postgres": lambda: postgres.check(pool)}, drain)
        with suppress(grpc.aio.AioRpcError, TimeoutError):
            async with asyncio.timeout(config.hand_over_deadline_s):
                await hand_over.flush()
