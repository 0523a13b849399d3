"""One running instance of everything for the tests of this folder."""

import json
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from wattstream.api.state.v1.state_pb2 import BatchGetVehicleStatesRequest, VehicleState
from wattstream.api.state.v1.state_pb2_grpc import StateServiceStub

_READY_WITHIN_S = 90
_STOPPED_WITHIN_S = 60
_FOLLOWS_WITHIN_S = 20
_DEADLINE_S = 10


@pytest.fixture(scope="session")
def instance(_clean_environment: None) -> Iterator[dict[str, str]]:
    """Yield the addresses of a `wattstream up`, by what is there: ingest, state, analytics, postgres, redis.

    It is empty at first and shared by all tests: each uses device ids of its own.
    """
    with tempfile.TemporaryDirectory(prefix="wattstream-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # an unprivileged PostgreSQL enters it
        with (folder / "up.err").open("w+b") as errors:
            command = [sys.executable, "-m", "wattstream", "up", "--data-dir", str(folder / "data")]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
            try:
                yield json.loads(_first_line(process, folder / "up.err"))
            finally:
                _stop(process)


def _first_line(process: "subprocess.Popen[bytes]", errors: Path) -> bytes:
    assert process.stdout is not None
    select.select([process.stdout], [], [], _READY_WITHIN_S)
    line = process.stdout.readline() if select.select([process.stdout], [], [], 0)[0] else b""
    assert line, f"wattstream up does not start:\n{errors.read_text()}"
    return line


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=_STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


@pytest.fixture
def state_at(instance: dict[str, str]) -> Iterator[Callable[[str, int], VehicleState]]:
    """Yield what returns a vehicle's live state once it is that of the reading recorded at a Unix time in seconds."""
    with grpc.insecure_channel(instance["state"], options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = StateServiceStub(channel)

        def wait(vehicle_id: str, recorded_at_s: int) -> VehicleState:
            request = BatchGetVehicleStatesRequest(vehicle_ids=[vehicle_id])
            deadline = time.monotonic() + _FOLLOWS_WITHIN_S
            while time.monotonic() < deadline:
                for state in stub.BatchGetVehicleStates(request, timeout=_DEADLINE_S).states:
                    if state.recorded_at.seconds == recorded_at_s:
                        return state
                time.sleep(0.05)
            pytest.fail(f"the live state of {vehicle_id} does not follow what was acknowledged")

        yield wait
