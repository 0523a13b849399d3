"""What the chaos tests break: a PostgreSQL of their own, the way to it, and the ingest service as a process; and the
clients that keep a ledger of what was acknowledged meanwhile."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from psycopg.conninfo import make_conninfo

from tests.chaos.way import Way, free_address
from wattstream import embedded, migrate
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

NOWHERE = "127.0.0.1:1"
START_S = int(time.time()) - 86_400
INGEST = "wattstream.api.ingest.v1.IngestService"


class Postgres:
    """A database on a server that may be killed and stopped; it is started again whenever it dies."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.dsn = dsn
        self._folder = folder

    def _processes(self) -> list[int]:
        server = int((self._folder / "postgres/data/postmaster.pid").read_text().split()[0])
        listed = subprocess.run(["ps", "-Ao", "pid=,ppid="], capture_output=True, check=True, text=True).stdout
        return [server, *(int(line.split()[0]) for line in listed.splitlines() if int(line.split()[1]) == server)]

    def kill(self) -> None:
        os.kill(self._processes()[0], signal.SIGKILL)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop all its processes, as a machine that hangs does, and let them go on afterwards."""
        processes = self._processes()
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)


@pytest.fixture(scope="session")
def _fragile_server() -> Iterator[Postgres]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory(prefix="wattstream-chaos-") as name:
        Path(name).chmod(0o755)
        context = embedded.stores(Path(name), {"WATTSTREAM_REDIS_URL": f"redis://{NOWHERE}"})
        started = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(60)
        try:
            yield Postgres(started.postgres_dsn, Path(name))
        finally:
            asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)


@pytest.fixture
def fragile(_fragile_server: Postgres) -> Postgres:
    """Return a migrated, empty database of the test's own on a server that it may break."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(_fragile_server.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    dsn = make_conninfo(_fragile_server.dsn, dbname=name)
    list(migrate.migrate(dsn))
    return Postgres(dsn, _fragile_server._folder)


@pytest.fixture
async def make_way() -> AsyncIterator[Callable[[str], Way]]:
    """Yield what makes a way to a database, closed at first."""
    made: list[Way] = []

    def make(dsn: str) -> Way:
        made.append(Way(dsn))
        return made[-1]

    yield make
    for way in made:
        await way.close()


class Client:
    """Sends the readings of one meter through StreamReadings, and again what has no acknowledgement, until all has one.

    Attributes:
        acked: the seconds of all readings that have been acknowledged.
        sent: how many readings have been sent, counting those that were sent again.
        statuses: how its streams have ended.
    """

    def __init__(self, name: str, readings: int, batch: int = 10, pause_s: float = 0.0) -> None:
        self.name, self._batch, self._pause_s = name, batch, pause_s
        self.unacked = {i: list(range(START_S + i, START_S + i + batch)) for i in range(0, readings, batch)}
        self.acked: set[int] = set()
        self.sent = 0
        self._thread = ThreadPoolExecutor(1)
        self.statuses: list[grpc.StatusCode] = []

    async def send_all(self, address: str) -> None:
        while self.unacked:
            await self.send_once(address)
            await asyncio.sleep(0.05)

    async def send_once(self, address: str) -> None:
        """Send what has no acknowledgement through one stream, to its end."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._send_once, address)

    def _send_once(self, address: str) -> None:
        # Not grpc.aio, whose clients are told INTERNAL where a stream ends while they write.
        with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 100)]) as channel:
            call = ingest_pb2_grpc.IngestServiceStub(channel).StreamReadings(self._requests())
            expected = list(self.unacked)
            with suppress(grpc.RpcError):
                for response in call:
                    for ack in response.acks:
                        assert ack.batch_id == expected.pop(0)
                        assert (ack.stored + ack.duplicates, ack.rejected) == (self._batch, 0)
                        self.acked.update(self.unacked.pop(ack.batch_id))
            self.statuses.append(call.code())

    def _requests(self) -> Iterator[pb.StreamReadingsRequest]:
        for batch_id, seconds in list(self.unacked.items()):
            yield pb.StreamReadingsRequest(batch_id=batch_id, readings=[reading(self.name, s) for s in seconds])
            self.sent += len(seconds)
            time.sleep(self._pause_s)


def reading(name: str, seconds: int) -> Reading:
    made = Reading()
    made.meter.meter_id, made.meter.kwh_consumed_ac, made.meter.voltage = name, seconds % 1000, 230.0
    made.meter.recorded_at.seconds = seconds
    return made


@pytest.fixture
def make_client() -> type[Client]:
    return Client


@pytest.fixture
def stored() -> Callable[[str], dict[str, set[int]]]:
    """Return what reads history back: of each meter the seconds of its readings, once it answers."""

    def read(dsn: str) -> dict[str, set[int]]:
        deadline = time.monotonic() + 30
        while True:
            try:
                with psycopg.connect(dsn, connect_timeout=2) as connection:
                    rows = connection.execute(
                        "SELECT device_id, extract(epoch FROM recorded_at)::int8, kwh_consumed_ac"
                        " FROM meter_readings JOIN devices ON device_key = meter_key"
                    ).fetchall()
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        found: dict[str, set[int]] = {}
        for name, seconds, kwh in rows:
            assert kwh == seconds % 1000
            assert seconds not in found.setdefault(name, set()), "stored twice"
            found[name].add(seconds)
        return found

    return read


class Process:
    """The ingest service as a process of its own, at an address that it keeps when it is started again."""

    def __init__(self, dsn: str, **settings: object) -> None:
        self.address = free_address()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_")}
        self._environment |= {
            "WATTSTREAM_POSTGRES_DSN": dsn,
            "WATTSTREAM_INGEST_LISTEN": self.address,
            "WATTSTREAM_INGEST_STATE_ADDRESS": NOWHERE,
            **{f"WATTSTREAM_INGEST_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ingest_service", env=self._environment, stderr=asyncio.subprocess.DEVNULL
        )

    async def until_serving(self) -> None:
        async with asyncio.timeout(60):
            while await anext(self.health()) != health_pb2.HealthCheckResponse.SERVING:
                await asyncio.sleep(0.02)

    async def health(self) -> AsyncIterator[int]:
        """Yield whether it serves, now and whenever that changes, once it can be reached."""
        async with grpc.aio.insecure_channel(self.address, [("grpc.max_reconnect_backoff_ms", 100)]) as channel:
            request = health_pb2.HealthCheckRequest(service=INGEST)
            async for response in health_pb2_grpc.HealthStub(channel).Watch(request, wait_for_ready=True):
                yield response.status

    async def end(self, number: signal.Signals) -> int:
        """Send it a signal, and return its exit code."""
        assert self._running
        if self._running.returncode is None:
            self._running.send_signal(number)
        return await self._running.wait()


@pytest.fixture
async def make_process() -> AsyncIterator[Callable[..., Process]]:
    """Yield what makes an ingest service, not yet started."""
    made: list[Process] = []

    def make(dsn: str, **settings: object) -> Process:
        made.append(Process(dsn, **settings))
        return made[-1]

    yield make
    for process in made:
        if process._running:
            await process.end(signal.SIGKILL)
