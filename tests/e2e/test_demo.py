"""The demo shows a fleet that moves, ends by itself or by Ctrl-C, and leaves nothing running and nothing lost."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wattstream import instances

ADDRESS = re.compile(r"^(ingest|state|analytics) +(127\.0\.0\.1:\d+)$", re.MULTILINE)
WITHIN_S = 60


def demo(folder: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "wattstream", "demo", "--data-dir", str(folder), *options]
    environ = {**os.environ, "XDG_STATE_HOME": str(folder.parent / "state"), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ)


def processes_on(folder: Path) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.name != str(os.getpid()) and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_it_shows_readings_and_losses_and_ends_by_itself(scratch: Path) -> None:
    process = demo(scratch / "data", "--duration", "12s")
    shown = process.communicate(timeout=2 * WITHIN_S)[0]
    assert process.returncode == 0, shown
    assert [name for name, _ in ADDRESS.findall(shown)] == ["ingest", "state", "analytics"]
    assert "grpcurl -plaintext" in shown
    lines = re.findall(r"^(\d+) readings acknowledged; fleet: ([\d.]+) kWh AC", shown, re.MULTILINE)
    assert int(lines[-1][0]) > 0
    assert float(lines[-1][1]) > 0
    assert not processes_on(scratch)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_ends_it_and_what_it_stored_is_there_when_it_starts_again(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = 0
    for run in range(2):
        process = demo(scratch / "data")
        assert process.stdout is not None
        deadline = time.monotonic() + WITHIN_S
        line = ""
        while not re.match(r"[1-9]\d* readings acknowledged", line):
            line = process.stdout.readline()
            assert line, "it ended"
            assert time.monotonic() < deadline
        if run:
            monkeypatch.setenv("XDG_STATE_HOME", str(scratch / "state"))
            [instance] = instances.running()
            assert _stored(instance.postgres) >= stored
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=WITHIN_S)[0]
        assert process.returncode == 0, rest
        stored = int(re.findall(r"(\d+) readings were stored", rest)[0])
        assert stored > 0
        assert not processes_on(scratch)


def _stored(dsn: str) -> int:
    import psycopg

    with psycopg.connect(dsn) as connection:
        query = "SELECT (SELECT count(*) FROM meter_readings) + (SELECT count(*) FROM vehicle_readings)"
        row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])
