"""Several processes serve one address: connections are dealt out, one that dies is replaced, none is left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psycopg
import pytest

from wattstream.api.ingest.v1.ingest_pb2 import IngestReadingsRequest
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading

WITHIN_S = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def workers_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@contextmanager
def running(database: str, port: int) -> Iterator[subprocess.Popen[str]]:
    environ = {
        **os.environ,
        "WATTSTREAM_POSTGRES_DSN": database,
        "WATTSTREAM_INGEST_LISTEN": f"127.0.0.1:{port}",
        "WATTSTREAM_INGEST_STATE_ADDRESS": "127.0.0.1:1",
    }
    command = [sys.executable, "-m", "ingest_service", "--workers", "2"]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def send(port: int, number: int) -> int:
    """Send one reading over a connection of its own; return how many were stored."""
    reading = Reading(meter=MeterReading(meter_id=f"M{number}", kwh_consumed_ac=1.0, voltage=230.0))
    reading.meter.recorded_at.GetCurrentTime()
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        request = IngestReadingsRequest(readings=[reading])
        return IngestServiceStub(channel).IngestReadings(request, wait_for_ready=True, timeout=WITHIN_S).stored


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_workers_share_the_address_and_are_replaced_and_end_with_their_parent(database: str) -> None:
    port = free_port()
    with running(database, port) as parent:
        until(lambda: len(workers_of(parent.pid)) == 2)
        assert sum(send(port, number) for number in range(20)) == 20
        with psycopg.connect(database) as connection:
            # Each worker writes over one or two connections of its own.
            writers = "FROM pg_stat_activity WHERE application_name = 'wattstream ingest writer'"
            assert connection.execute(f"SELECT count(*) BETWEEN 2 AND 4 {writers}").fetchone() == (True,)

        victim = workers_of(parent.pid)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in workers_of(parent.pid) and len(workers_of(parent.pid)) == 2)
        assert sum(send(port, number) for number in range(20, 40)) == 20

        left = workers_of(parent.pid)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(WITHIN_S) == 0
        assert not any(alive(pid) for pid in left)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(database: str) -> None:
    with running(database, free_port()) as parent:
        until(lambda: len(workers_of(parent.pid)) == 2)
        left = workers_of(parent.pid)
        parent.kill()
        until(lambda: not any(alive(pid) for pid in left))


def test_an_address_in_use_is_refused_also_to_workers(database: str) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running(database, taken.getsockname()[1]) as parent:
            assert parent.wait(WITHIN_S) == 1
            assert parent.stderr is not None
            assert "is it in use?" in parent.stderr.read()
