"""One running instance of everything for the tests of this folder."""

import json
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_READY_WITHIN_S = 90
_STOPPED_WITHIN_S = 60


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
