"""The yardstick measures all that it should, and what it sends is stored. How fast, it says itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = {
    "copy_limit_1",
    "copy_limit_2",
    "copy_limit_4",
    "copy_ahead_2",
    "ingest_stream_1000",
    "ingest_stream_100",
    "ingest_stream_10",
    "ingest_stream_1",
    "ingest_unary_100",
    "resend_all",
    "half_duplicates",
    "naive",
    "commit_latency",
    "ack_latency",
    "ack_latency_half",
    "idle_streams",
}
ANSWERS_BESIDE_INGEST = {"select_1_ingest", "reference_ingest", "exclusive_24h_ingest", "assigned_24h_ingest"}
ANSWERS = {
    "select_1",
    "select_1_alone",
    "reference",
    "reference_alone",
    "exclusive_24h",
    "exclusive_24h_alone",
    "assigned_24h",
    "exclusive_30d",
    "series_week",
    "ranking",
    "ranking_alone",
    "summary",
    "summary_alone",
}

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(shutil.which("go") is None, reason="the load generator is written in Go"),
]


def test_a_quick_run_measures_every_row_and_all_its_readings_are_stored(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "tests.benchmarks.ingest", "--quick", "--output", str(output)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=110)
    told = json.loads(output.read_text(encoding="utf-8"))
    rows, stored = told["rows"], told["run"]["readings"]
    assert set(rows) == ROWS
    assert stored["stored"] == stored["expected"] > 0
    assert rows["resend_all"]["duplicates"] == rows["resend_all"]["readings"] == rows["ingest_stream_1000"]["stored"]
    assert abs(rows["half_duplicates"]["stored"] - rows["half_duplicates"]["duplicates"]) <= 1
    assert all(row["readings_s"] > 0 and row.get("rejected", 0) == 0 for row in rows.values())
    assert len(told["goals"]) == 9


def test_a_quick_run_of_the_answers_measures_every_row(tmp_path: Path) -> None:
    output = tmp_path / "bench-analytics.json"
    command = [sys.executable, "-m", "tests.benchmarks.analytics", "--quick", "--output", str(output)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=110)
    told = json.loads(output.read_text(encoding="utf-8"))
    assert set(told["rows"]) == {"1", "2"}
    for stage in told["rows"].values():
        assert set(stage["rows"]) == ANSWERS
        assert set(stage["beside_ingest"]) == ANSWERS_BESIDE_INGEST
        rows = {**stage["rows"], **stage["beside_ingest"]}
        assert {name: row["status"] for name, row in rows.items() if "status" in row} == {}
        assert all(0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in rows.values())
        assert all(0 < row["sql_share"] < 1 for row in stage["rows"].values())
        assert stage["refresh"]["readings"] >= 23 * 60 * 2 * 8
        assert stage["refresh"]["cpu_us"]["postgres"] > 0
    assert {goal.partition(": ")[0] for goal in told["goals"]} >= {"1 d", "2 d"}
