"""What one greedy stream costs a thousand quiet ones: their acknowledgement latency, without it and with it."""

import select
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.benchmarks import messages, rows
from tests.benchmarks.rows import Generator, Row
from tests.benchmarks.stage import Stage, stage

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("go") is None, reason="the load generator is written in Go"),
]
QUIET, RATE, SECONDS, DEVICES = 1000, 333.0, 10.0, 1000
GREEDY_READINGS = 5_000_000


@pytest.mark.parametrize("batch", [1000, 10_000])
def test_a_greedy_stream_and_a_thousand_quiet_ones(tmp_path: Path, batch: int) -> None:
    command = ["go", "build", "-o", str(tmp_path / "loadgen"), "."]
    subprocess.run(command, cwd=Path(__file__).parent / "loadgen", check=True)
    generator = Generator(tmp_path / "loadgen")
    with stage(DEVICES, {}) as on:
        alone = rows.paced(on, generator, RATE, SECONDS, QUIET)
        beside = beside_a_greedy_one(on, generator, tmp_path / "greedy", batch)
    for name, row in (("alone", alone), ("beside", beside)):
        print(f"\n{name:8} p50 {row['p50_ms']:6.1f} ms, p99 {row['p99_ms']:6.1f} ms", end="")
    ratio = beside["p99_ms"] / alone["p99_ms"]
    print(f"\np99 with a greedy stream of {batch} readings a message: {ratio:.1f} times, the goal is 3")


def beside_a_greedy_one(on: Stage, generator: Generator, path: Path, batch: int) -> Row:
    """Measure the quiet streams while another sends all it can."""
    messages.write(path, on.readings(GREEDY_READINGS), batch, 1)
    with generator.opened(on, path) as greedy:
        assert greedy.stdin is not None
        greedy.stdin.write("\n")
        greedy.stdin.flush()
        row = rows.paced(on, generator, RATE, SECONDS, QUIET)
        assert not select.select([greedy.stdout], [], [], 0)[0], (
            "it has come to its end before the others were measured"
        )
        greedy.kill()
    return row
