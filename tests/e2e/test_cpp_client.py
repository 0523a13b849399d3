"""A client in C++, as a charger's firmware would have it, built with the distribution's gRPC."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wattstream.api.state.v1.state_pb2 import VehicleState

SOURCE = Path(__file__).with_name("cpp")
PROTOS = Path(__file__).parents[2] / "protos"
TOOLS = ("make", "g++", "pkg-config", "protoc", "grpc_cpp_plugin")
VEHICLE = "cpp-van-1"
FIRST_UNIX_S = 1_770_735_000  # 2026-02-10 14:50 UTC
BATCHES, READINGS_PER_BATCH, WINDOW = 20, 100, 4
READINGS = BATCHES * READINGS_PER_BATCH


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the client; return the program."""
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent:
        pytest.skip(f"no C++ client without {', '.join(absent)}")
    if subprocess.run(["pkg-config", "--exists", "grpc++", "protobuf"], check=False).returncode:
        pytest.skip("no C++ client without gRPC's C++ library (libgrpc++-dev)")
    build = tmp_path_factory.mktemp("cpp")
    command = ["make", "-j2", "-C", str(SOURCE), f"BUILD={build}", f"PROTOS={PROTOS}"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return build / "stream_readings"


def stream(client: Path, address: str) -> dict[str, Any]:
    """Stream the readings; return the client's summary."""
    counts = map(str, (FIRST_UNIX_S, BATCHES, READINGS_PER_BATCH, WINDOW))
    command = [str(client), address, VEHICLE, *counts]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert process.returncode == 0, process.stderr
    summary: dict[str, Any] = json.loads(process.stdout)
    return summary


@pytest.mark.timeout(300)  # the build may have the machine to share
def test_what_a_cpp_client_streams_is_stored_once(
    client: Path, instance: dict[str, str], state_at: Callable[[str, int], VehicleState]
) -> None:
    first = stream(client, instance["ingest"])
    again = stream(client, instance["ingest"])
    sent = {"sent": READINGS, "rejected": 0, "acks_in_order": True}
    assert first == {**sent, "stored": READINGS, "duplicates": 0}
    assert again == {**sent, "stored": 0, "duplicates": READINGS}
    state = state_at(VEHICLE, FIRST_UNIX_S + READINGS - 1)
    assert (state.soc, state.kwh_delivered_dc, state.battery_temp) == (80.0, 0.0125, 30.5)
