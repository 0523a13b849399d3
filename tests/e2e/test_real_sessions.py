"""Real charging sessions, through everything: each vehicle's figures against a calculation by hand."""

import csv
import gzip
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wattstream.client import Client, ServiceError

DATA = Path(__file__).parents[3] / "shared" / "data"
READINGS = DATA / "epfl_level3_readings.csv.gz"
SESSIONS = DATA / "epfl_level3_sessions.csv"
pytestmark = [
    pytest.mark.skipif(not READINGS.exists(), reason="the readings of the real sessions are not on this machine"),
    pytest.mark.timeout(300),
]
NAMES = (
    "minutes_kept",
    "minutes_shared",
    "minutes_without_meter_data",
    "readings",
    "readings_kept",
    "kwh_consumed_ac",
    "kwh_delivered_dc",
    "kwh_lost",
    "efficiency",
    "mean_soc",
    "mean_battery_temp",
)
MINUTE = timedelta(minutes=1)
Minute = tuple[str, datetime]


@dataclass
class History:
    """All readings, by what the calculation asks for."""

    count: int = 0
    meters: dict[Minute, list[float]] = field(default_factory=lambda: defaultdict(list))
    vehicles: dict[str, list[tuple[datetime, str, float, float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    behind: dict[Minute, set[str]] = field(default_factory=lambda: defaultdict(set))


@pytest.fixture(scope="module")
def history() -> History:
    found = History()
    with gzip.open(READINGS, "rt", newline="") as file:
        for row in csv.DictReader(file):
            found.count += 1
            at, kwh = datetime.fromisoformat(row["timestamp"]), float(row["kwh"])
            pair = row["meter_id"], at.replace(second=0, microsecond=0)
            if row["kind"] == "meter":
                found.meters[pair].append(kwh)
            else:
                found.behind[pair].add(row["vehicle_id"])
                reading = (at, row["meter_id"], kwh, float(row["soc"]), float(row["battery_temp"]))
                found.vehicles[row["vehicle_id"]].append(reading)
    return found


@pytest.fixture(scope="module")
def imports(instance: dict[str, str]) -> list[dict[str, Any]]:
    """Import the file twice and return both summaries."""
    command = [sys.executable, "-m", "wattstream", "import", str(READINGS), "--json", "--ingest", instance["ingest"]]
    return [json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout) for _ in range(2)]


def test_the_file_is_imported_completely(imports: list[dict[str, Any]], history: History) -> None:
    assert history.count == 116_735
    assert sum(len(vehicles) > 1 for vehicles in history.behind.values()) == 6_897
    assert (imports[0]["lines"], imports[0]["stored"], imports[0]["rejected"]) == (history.count, history.count, 0)


def test_imported_again_all_are_duplicates(imports: list[dict[str, Any]], history: History) -> None:
    assert (imports[1]["stored"], imports[1]["duplicates"], imports[1]["rejected"]) == (0, history.count, 0)


def test_every_vehicles_performance_over_its_session_agrees_with_the_calculation(
    instance: dict[str, str], imports: list[dict[str, Any]], history: History
) -> None:
    checked = without = 0
    with Client(*(instance[name] for name in ("ingest", "state", "analytics"))) as client:
        for vehicle_id, start, end in sessions():
            expected = calculated(history, vehicle_id, start, end)
            without += not expected
            checked += 1
            assert answered(client, vehicle_id, start, end) == pytest.approx(expected, rel=1e-9), vehicle_id
    assert checked == 1878
    assert 0 < without < checked


def test_the_command_prints_what_the_calculation_gives(
    instance: dict[str, str], imports: list[dict[str, Any]], history: History
) -> None:
    vehicle_id, start, end = sessions()[2]
    window = ["--start", start.isoformat(), "--end", end.isoformat(), "--json"]
    command = [sys.executable, "-m", "wattstream", "performance", vehicle_id, *window]
    environment = {**os.environ, "WATTSTREAM_CLIENT_ANALYTICS": instance["analytics"]}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, timeout=60)
    expected = calculated(history, vehicle_id, start, end)
    assert expected
    shown = json.loads(done.stdout)
    assert {name: float(shown[name]) for name in expected} == pytest.approx(expected, rel=1e-9)


def sessions() -> list[tuple[str, datetime, datetime]]:
    """Return each vehicle with the window of its session: the minutes from arrival to departure, both included."""
    with SESSIONS.open(newline="") as file:
        return [
            (
                f"ev-{row['session']}",
                datetime.fromisoformat(row["arrival"]).replace(tzinfo=UTC),
                datetime.fromisoformat(row["departure"]).replace(tzinfo=UTC) + MINUTE,
            )
            for row in csv.DictReader(file)
        ]


def calculated(history: History, vehicle_id: str, start: datetime, end: datetime) -> dict[str, float]:
    """Return a vehicle's figures in [start, end), taken minute by minute from all readings; none if none is kept."""
    mine = [reading for reading in history.vehicles[vehicle_id] if start <= reading[0] < end]
    pairs = {(meter, at.replace(second=0, microsecond=0)) for at, meter, *_ in mine}
    shared = {pair for pair in pairs if history.behind[pair] != {vehicle_id}}
    kept = {pair for pair in pairs - shared if pair in history.meters}
    counted = [reading for reading in mine if (reading[1], reading[0].replace(second=0, microsecond=0)) in kept]
    ac = math.fsum(kwh for pair in kept for kwh in history.meters[pair])
    dc = math.fsum(kwh for _, _, kwh, _, _ in counted)
    if not kept:
        return {}
    return {
        "minutes_kept": len(kept),
        "minutes_shared": len(shared),
        "minutes_without_meter_data": len(pairs - shared - kept),
        "readings": len(mine),
        "readings_kept": len(counted),
        "kwh_consumed_ac": ac,
        "kwh_delivered_dc": dc,
        "kwh_lost": ac - dc,
        "efficiency": dc / ac,
        "mean_soc": math.fsum(soc for *_, soc, _ in counted) / len(counted),
        "mean_battery_temp": math.fsum(temperature for *_, temperature in counted) / len(counted),
    }


def answered(client: Client, vehicle_id: str, start: datetime, end: datetime) -> dict[str, float]:
    """Return what the service answers, in the same form."""
    try:
        answer = client.performance(vehicle_id, start, end)
    except ServiceError as error:
        if error.code != "NOT_FOUND":
            raise
        return {}
    return {name: getattr(answer, name) for name in NAMES}
