"""The client commands as processes, against everything running."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from wattstream import instances

HEADER = "timestamp,kind,vehicle_id,meter_id,kwh,soc,battery_temp,voltage\n"
WINDOW = ("--start", "2026-02-10T14:47Z", "--end", "2026-02-10T14:57Z")
FIGURES = {
    "V1": (2.7202, 2.4508, 0.900963164473201, 22.282, 30.3),
    "V2": (2.8575, 2.5494, 0.892178477690289, 47.572, 30.8),
}
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def addresses(instance: dict[str, str]) -> dict[str, str]:
    names = ("ingest", "state", "analytics")
    return {**os.environ, **{f"WATTSTREAM_CLIENT_{name.upper()}": instance[name] for name in names}}


@pytest.fixture
def command(addresses: dict[str, str]) -> Command:
    """Return what runs a command to its end."""

    def run(*args: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "wattstream", *args],
            env=addresses,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def shown(done: "subprocess.CompletedProcess[str]") -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def started(addresses: dict[str, str], *args: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "wattstream", *args],
        env=addresses,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_seeding_again_changes_nothing(command: Command) -> None:
    first, second = shown(command("seed", "--json")), shown(command("seed", "--json"))
    assert first["stored"] + first["duplicates"] == 20
    assert (second["stored"], second["duplicates"], second["rejected"]) == (0, 20, 0)


@pytest.mark.parametrize("correlation", ["exclusive", "assigned"])
@pytest.mark.parametrize("vehicle", ["V1", "V2"])
def test_the_seeds_figures_are_the_known_ones(command: Command, vehicle: str, correlation: str) -> None:
    command("seed")
    answer = shown(command("performance", vehicle, *WINDOW, "--correlation", correlation, "--json"))
    names = ("kwh_consumed_ac", "kwh_delivered_dc", "efficiency", "mean_soc", "mean_battery_temp")
    assert [answer[name] for name in names] == pytest.approx(FIGURES[vehicle], abs=1e-9)


def test_a_vehicle_without_data_is_not_found(command: Command) -> None:
    done = command("performance", "V3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: No charging data found in last 24 hours\n"


def test_a_vehicle_is_drawn_from_what_is_stored(command: Command, tmp_path: Path) -> None:
    command("seed")
    html, png = tmp_path / "v1.html", tmp_path / "v1.png"
    done = command("performance", "V1", *WINDOW, "--plot", "--html", str(html), "--png", str(png))
    assert (done.stderr, done.returncode) == (f"Wrote {html}\nWrote {png}\n", 0)
    assert "efficiency 90.1%" in done.stdout
    assert "Power, kW, mean per minute" in done.stdout
    assert "<dt>lost</dt><dd>0.2694 kWh</dd>" in html.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_the_fleet_and_its_meters_are_told(command: Command) -> None:
    command("seed")
    fleet = shown(command("fleet", "--start", "2026-02-10T14:00Z", "--end", "2026-02-10T15:00Z", "--json"))
    energies = {one["vehicle_id"]: one["kwh_lost"] for one in fleet["vehicles"]}
    assert energies["V1"] == pytest.approx(0.2694)
    assert fleet["summary"]["kwh_lost"] == pytest.approx(sum(energies.values()))
    use = shown(command("meter", "M1", *WINDOW, "--json"))
    assert [stay["vehicle_id"] for stay in use["stays"]] == ["V1", "V2"]
    assert shown(command("rules", "--json"))["threshold"] == 0.85


def test_an_import_reports_each_bad_line_and_stores_the_others(command: Command) -> None:
    text = HEADER + "".join(
        [
            "2026-03-01T10:00:00Z,meter,,commands/M,0.5,,,400\n",
            "2026-03-01T10:00:00Z,vehicle,commands/V,commands/M,0.45,101,20,\n",
            "2026-03-01T10:00:00,vehicle,commands/V,commands/M,0.45,50,20,\n",
            "2026-03-01T10:00:30Z,vehicle,commands/V,commands/M,0.45,50,20,\n",
            "2026-03-01T10:00:40Z,meter,,,0.5,,,400\n",
        ]
    )
    done = command("import", "-", "--json", text=text)
    summary = json.loads(done.stdout)
    assert done.returncode == 1
    assert (summary["lines"], summary["stored"], summary["rejected"]) == (5, 2, 3)
    assert [one["line"] for one in summary["rejections"]] == [3, 4, 6]
    window = ("--start", "2026-03-01T10:00Z", "--end", "2026-03-01T10:01Z")
    assert shown(command("performance", "commands/V", *window, "--json"))["efficiency"] == pytest.approx(0.9)


def test_the_same_simulation_played_again_is_all_duplicates(command: Command) -> None:
    start = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    fleet = ("--vehicles", "10", "--meters", "5", "--seed", "77", "--start", start, "--minutes", "60", "--json")
    first = shown(command("simulate", *fleet, "--speed", "0"))
    second = shown(command("simulate", *fleet, "--speed", "3600"))
    assert (first["stored"], first["duplicates"], first["rejected"]) == (900, 0, 0)
    assert (second["stored"], second["duplicates"], second["rejected"]) == (0, 900, 0)


def test_a_live_simulation_ends_with_a_summary_on_interrupt(addresses: dict[str, str]) -> None:
    process = started(addresses, "simulate", "--seed", "78", "--speed", "60", "--json")
    assert process.stderr is not None
    assert "Simulating 100 vehicles" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(output)["seed"] == 78
    assert "Traceback" not in errors


def test_watch_shows_a_snapshot_then_changes_until_it_is_interrupted(
    addresses: dict[str, str], command: Command
) -> None:
    line = "{at},meter,,watched/M,{kwh},,,400\n"
    command("import", "-", text=HEADER + line.format(at="2026-03-02T10:00:00Z", kwh=1))
    process = started(addresses, "watch", "--meter", "watched/M", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["meter"]["kwh_consumed_ac"] == 1
    command("import", "-", text=HEADER + line.format(at="2026-03-02T10:01:00Z", kwh=2))
    assert json.loads(process.stdout.readline())["meter"]["kwh_consumed_ac"] == 2
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == ""


def test_a_reader_that_leaves_ends_a_watch_without_a_word(addresses: dict[str, str], command: Command) -> None:
    fleet = ("--vehicles", "300", "--meters", "0", "--seed", "79", "--minutes", "1", "--speed", "0")
    command("simulate", *fleet)
    process = started(addresses, "watch", "--kind", "vehicle")
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    command("simulate", *fleet[:-2], "--speed", "0", "--start", (datetime.now(UTC) - timedelta(minutes=1)).isoformat())
    assert process.stderr is not None
    errors = process.stderr.read()
    assert (process.wait(30), errors) == (141, "")


def test_an_instance_is_found_by_its_data_folder(instance: dict[str, str], command: Command) -> None:
    command("seed")
    [here] = [one for one in instances.running() if one.state == instance["state"]]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_CLIENT_")}
    done = subprocess.run(
        [sys.executable, "-m", "wattstream", "performance", "V1", *WINDOW, "--json", "--data-dir", str(here.data_dir)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown(done)["vehicle_id"] == "V1"
