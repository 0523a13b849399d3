"""A client in JavaScript, which reads the protos as they are."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wattstream.api.state.v1.state_pb2 import VehicleState

SOURCE = Path(__file__).with_name("node")
PROTOS = Path(__file__).parents[2] / "protos"
VEHICLE = "node-van-1"
FIRST_UNIX_S = 1_770_735_000  # 2026-02-10 14:50 UTC
BATCHES, READINGS_PER_BATCH, WINDOW = 20, 100, 4
READINGS = BATCHES * READINGS_PER_BATCH
OUT_OF_REACH = re.compile(
    r"code (ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ENETUNREACH|EHOSTUNREACH|E50\d)"
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install what the client needs, beside a copy of it; return the copy."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("no JavaScript client without node and npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("client.js", "package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, folder)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    unreachable = installed.returncode and OUT_OF_REACH.search(installed.stderr)
    if unreachable:
        pytest.skip(f"npm cannot reach its registry: {unreachable[1]}")
    assert installed.returncode == 0, installed.stderr
    return folder / "client.js"


def stream(client: Path, address: str) -> dict[str, Any]:
    """Stream the readings; return the client's summary."""
    counts = map(str, (FIRST_UNIX_S, BATCHES, READINGS_PER_BATCH, WINDOW))
    command = ["node", str(client), str(PROTOS), address, VEHICLE, *counts]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert process.returncode == 0, process.stderr
    summary: dict[str, Any] = json.loads(process.stdout)
    return summary


def test_what_a_node_client_streams_is_stored_once(
    client: Path, instance: dict[str, str], state_at: Callable[[str, int], VehicleState]
) -> None:
    first = stream(client, instance["ingest"])
    again = stream(client, instance["ingest"])
    sent = {"sent": READINGS, "rejected": 0, "acks_in_order": True}
    assert first == {**sent, "stored": READINGS, "duplicates": 0}
    assert again == {**sent, "stored": 0, "duplicates": READINGS}
    state = state_at(VEHICLE, FIRST_UNIX_S + READINGS - 1)
    assert (state.soc, state.kwh_delivered_dc, state.battery_temp) == (80.0, 0.0125, 30.5)
