"""`wattstream up`: real processes, killed and stopped in every way; one instance is shared by the tests that can."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import psycopg
import pytest
import redis
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from wattstream import migrate
from wattstream.api.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from wattstream.api.state.v1 import state_pb2, state_pb2_grpc
from wattstream.api.telemetry.v1 import telemetry_pb2

DEADLINE_S = 60
WATTSTREAM = [sys.executable, "-c", "from wattstream.cli import main; main()"]
HEALTH = {
    "ingest": "wattstream.api.ingest.v1.IngestService",
    "state": "wattstream.api.state.v1.StateService",
    "analytics": "wattstream.api.analytics.v1.AnalyticsService",
}
AN_HOUR_AGO = int(time.time()) - 3600
T = TypeVar("T")


class Up:
    """A running `wattstream up`."""

    def __init__(self, data: Path, *options: str, **variables: str) -> None:
        self.data = data
        command = [*WATTSTREAM, "up", "--data-dir", str(data), *options]
        self.process = subprocess.Popen(
            command,
            env=environment(data, **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - under nohup too
        )

    def ready(self) -> dict[str, str]:
        """Return the addresses when all is ready."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"it did not start: {self.process.communicate()[1]}"
        addresses: dict[str, str] = json.loads(line)
        return addresses

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal and return the exit code and what was left to read of standard output."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, output

    def pid(self, name: str) -> int:
        words = (self.data / "run" / f"{name}.lock").read_text().split()
        assert words, f"{name} is just being started"
        return int(words[0])


def environment(data: Path, **variables: str) -> dict[str, str]:
    """Return an environment in which only the instances of this folder are found."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_")}
    return {**ours, "XDG_STATE_HOME": str(data.parent), **variables}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="wattstream-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name, "data")


@pytest.fixture(scope="module")
def up() -> Iterator[tuple[Up, dict[str, str]]]:
    with folder() as data:
        started = Up(data)
        try:
            yield started, started.ready()
        finally:
            started.end(signal.SIGTERM)
            assert left_in(data) == []


def left_in(data: Path) -> list[str]:
    """Return the processes that have a file of the data folder open, or work in it, or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            places = [os.readlink(place) for place in (process / "cwd", *(process / "fd").iterdir())]
            words = (process / "cmdline").read_text() + (process / "environ").read_text(errors="replace")
        except OSError:
            continue  # it has just ended
        if int(process.name) != os.getpid() and any(str(data) in place for place in (*places, words)):
            found.append(f"{process.name} {words[:80]}")
    return found


def eventually(attempt: Callable[[], T]) -> T:
    """Return what `attempt` returns when it succeeds, which may take a while after a crash."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return attempt()
        except (grpc.RpcError, psycopg.OperationalError, redis.RedisError, AssertionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def ingest(addresses: dict[str, str], meter: str, second: int) -> int:
    """Send one reading of `meter`; return how many were new."""
    recorded_at = Timestamp(seconds=AN_HOUR_AGO + second)
    reading = telemetry_pb2.MeterReading(meter_id=meter, recorded_at=recorded_at, kwh_consumed_ac=0.5, voltage=230)
    request = ingest_pb2.IngestReadingsRequest(readings=[telemetry_pb2.Reading(meter=reading)])
    with grpc.insecure_channel(addresses["ingest"]) as channel:
        answer = ingest_pb2_grpc.IngestServiceStub(channel).IngestReadings(request, timeout=5)
    assert not answer.rejections
    return int(answer.stored)


def live_second(addresses: dict[str, str], meter: str) -> int:
    """Return when the newest reading of `meter` was recorded, in seconds after `AN_HOUR_AGO`."""
    with grpc.insecure_channel(addresses["state"]) as channel:
        stub = state_pb2_grpc.StateServiceStub(channel)
        answer: Any = stub.GetMeterState(state_pb2.GetMeterStateRequest(meter_id=meter), timeout=5)
    return int(answer.state.recorded_at.seconds - AN_HOUR_AGO)


def history(addresses: dict[str, str]) -> int:
    with psycopg.connect(addresses["postgres"], connect_timeout=5) as connection:
        row = connection.execute("SELECT count(*) FROM meter_readings").fetchone()
    assert row is not None
    return int(row[0])


def is_serving(addresses: dict[str, str], name: str) -> bool:
    with grpc.insecure_channel(addresses[name]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=HEALTH[name]), timeout=5)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_one_line_says_where_everything_is_and_all_of_it_is_ready(up: tuple[Up, dict[str, str]]) -> None:
    _, addresses = up
    assert list(addresses) == ["ingest", "state", "analytics", "postgres", "redis"]
    assert all(is_serving(addresses, name) for name in HEALTH)
    with psycopg.connect(addresses["postgres"]) as connection:
        row = connection.execute(migrate.VERSION_QUERY).fetchone()
        assert row == (migrate.migrations()[-1].version,)
    with redis.Redis.from_url(addresses["redis"]) as client:
        assert client.ping()


def test_a_reading_goes_in_and_becomes_live_state(up: tuple[Up, dict[str, str]]) -> None:
    _, addresses = up
    assert ingest(addresses, "M-live", 7) == 1
    eventually(lambda: check(live_second(addresses, "M-live") == 7))


def check(condition: bool) -> None:
    assert condition


def test_a_second_up_on_the_same_folder_says_who_uses_it_and_where(up: tuple[Up, dict[str, str]]) -> None:
    first, addresses = up
    second = Up(first.data)
    _, error = second.process.communicate(timeout=DEADLINE_S)
    assert second.process.returncode == 1
    assert f"in use by process {first.process.pid};" in error
    assert addresses["ingest"] in error
    assert len(error.splitlines()) == 1


def test_other_commands_find_it_by_themselves(up: tuple[Up, dict[str, str]]) -> None:
    command, env = [*WATTSTREAM, "migrate", "--json"], environment(up[0].data)
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["applied"] == []


def test_no_process_has_a_password_in_its_arguments(up: tuple[Up, dict[str, str]]) -> None:
    first, _ = up
    passwords = [(first.data / store / "password").read_text() for store in ("postgres", "valkey")]
    for name in ("postgres", "valkey", *HEALTH):
        arguments = Path(f"/proc/{first.pid(name)}/cmdline").read_text()
        assert not any(password in arguments for password in passwords)


@pytest.mark.parametrize("name", list(HEALTH))
def test_a_service_that_is_killed_comes_back_at_its_address(up: tuple[Up, dict[str, str]], name: str) -> None:
    first, addresses = up
    killed = first.pid(name)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: check(first.pid(name) != killed and is_serving(addresses, name)))
    assert eventually(lambda: ingest(addresses, f"M-{name}", 1)) == 1
    eventually(lambda: check(live_second(addresses, f"M-{name}") == 1))


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_store_that_is_killed_comes_back_and_services_go_on(up: tuple[Up, dict[str, str]], name: str) -> None:
    first, addresses = up
    meter = f"M-{name}"
    ingest(addresses, meter, 1)
    eventually(lambda: check(live_second(addresses, meter) == 1))
    before = history(addresses)
    services = [first.pid(service) for service in HEALTH]
    os.kill(first.pid(name), signal.SIGKILL)
    assert eventually(lambda: ingest(addresses, meter, 2)) <= 1  # 0: the answer to an earlier attempt was lost
    eventually(lambda: check(live_second(addresses, meter) == 2))
    assert eventually(lambda: history(addresses)) == before + 1
    assert [first.pid(service) for service in HEALTH] == services


def test_data_and_addresses_survive_a_killed_supervisor_and_a_second_instance_has_its_own(
    up: tuple[Up, dict[str, str]],
) -> None:
    _, others = up
    with folder() as data:
        first = Up(data)
        addresses = first.ready()
        assert not set(addresses.values()) & set(others.values())
        ingest(addresses, "M1", 1)
        first.end(signal.SIGKILL)
        again = Up(data)
        assert again.ready() == addresses
        assert history(addresses) == 1
        assert ingest(addresses, "M1", 1) == 0
        assert again.end(signal.SIGINT) == (0, "")
        assert left_in(data) == []


def test_a_hang_up_while_it_starts_leaves_no_process(scratch: Path) -> None:
    started = Up(scratch / "data")
    eventually(lambda: check((scratch / "data" / "run" / "state.lock").exists()))
    assert started.end(signal.SIGHUP) == (0, "")
    assert left_in(scratch / "data") == []


def test_what_is_wrong_with_a_service_is_shown_and_no_process_is_left(scratch: Path) -> None:
    started = Up(scratch / "data", WATTSTREAM_INGEST_BATCH_SZIE="1")
    output, error = started.process.communicate(timeout=DEADLINE_S)
    assert started.process.returncode == 1
    assert output == ""
    assert "ingest does not start; the end of" in error
    assert "WATTSTREAM_INGEST_BATCH_SZIE: unknown variable" in error
    assert left_in(scratch / "data") == []


def test_a_port_that_is_asked_for_and_taken_is_refused(up: tuple[Up, dict[str, str]], scratch: Path) -> None:
    _, addresses = up
    port = addresses["state"].rpartition(":")[2]
    _, error = Up(scratch / "data", "--state-port", port).process.communicate(timeout=DEADLINE_S)
    assert f"Error: port {port} is in use" in error


def test_servers_that_the_environment_names_are_used_in_place_of_ours(
    scratch: Path, database: str, redis_url: str
) -> None:
    started = Up(scratch / "data", WATTSTREAM_POSTGRES_DSN=database, WATTSTREAM_REDIS_URL=redis_url)
    addresses = started.ready()
    try:
        assert (addresses["postgres"], addresses["redis"]) == (database, redis_url)
        assert not (scratch / "data" / "postgres").exists()
        assert not (scratch / "data" / "valkey").exists()
        assert ingest(addresses, "M1", 1) == 1
        assert history(addresses) == 1
        eventually(lambda: check(live_second(addresses, "M1") == 1))
    finally:
        assert started.end(signal.SIGTERM) == (0, "")


def test_a_database_that_is_named_and_away_is_a_clear_error(scratch: Path) -> None:
    dsn = "postgresql://user:secret@127.0.0.1:1/nothing"
    started = Up(scratch / "data", WATTSTREAM_POSTGRES_DSN=dsn, WATTSTREAM_REDIS_URL="redis://127.0.0.1:1/0")
    _, error = started.process.communicate(timeout=DEADLINE_S)
    assert started.process.returncode == 1
    assert error.startswith("Error: the database cannot be migrated: connection failed")
    assert "secret" not in error
