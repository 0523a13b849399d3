"""The commands that send readings, against a small server."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, RejectedReading, StreamReadingsResponse
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from wattstream.cli import main

HEADER = "timestamp,kind,vehicle_id,meter_id,kwh,soc,battery_temp,voltage\n"
GOOD = "2022-04-12T19:27:23Z,meter,,M1,1.5,,,400\n"


class Ingest(IngestServiceServicer):
    """Stores every batch, but rejects readings without energy; refuses batches of more than `largest` readings."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.sizes: list[int] = []

    def StreamReadings(self, request_iterator: Iterator[Any], context: Any) -> Iterator[StreamReadingsResponse]:  # noqa: N802
        for request in request_iterator:
            self.sizes.append(len(request.readings))
            yield StreamReadingsResponse(acks=[self._judge(request)])

    def _judge(self, request: Any) -> BatchAck:
        count = len(request.readings)
        if count > self.largest:
            return BatchAck(batch_id=request.batch_id, rejected=count, refusal="too many readings")
        bad = [n for n, reading in enumerate(request.readings) if reading.meter.kwh_consumed_ac < 0]
        rejections = [RejectedReading(index=n, field="meter.kwh_consumed_ac", message="is negative") for n in bad]
        return BatchAck(batch_id=request.batch_id, stored=count - len(bad), rejected=len(bad), rejections=rejections)


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingest]:
    servicer = Ingest(largest=10_000)
    server = grpc.server(ThreadPoolExecutor(4))
    add_IngestServiceServicer_to_server(servicer, server)
    monkeypatch.setenv("WATTSTREAM_CLIENT_INGEST", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield servicer
    server.stop(None).wait()


def test_import_sends_batches_of_the_size_asked_for_and_sums_up_in_one_line(ingest: Ingest) -> None:
    result = CliRunner().invoke(main, ["import", "-", "--batch", "2"], input=HEADER + GOOD * 5)
    assert result.exit_code == 0
    assert ingest.sizes == [2, 2, 1]
    assert result.stdout.startswith("5 lines: 5 stored, 0 duplicates, 0 rejected in ")
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_import_reads_plain_and_compressed_files(
    ingest: Ingest, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "readings"
    file.write_bytes(pack((HEADER + GOOD * 3).encode()))
    result = CliRunner().invoke(main, ["import", str(file), "--json"])
    summary = json.loads(result.stdout)
    assert (summary["lines"], summary["stored"], summary["rejections"]) == (3, 3, [])


def test_import_tells_lines_that_are_no_readings_and_lines_that_the_service_rejects(
    ingest: Ingest, tmp_path: Path
) -> None:
    rejects = tmp_path / "rejects.csv"
    negative, nonsense = GOOD.replace("1.5", "-1.5"), "nonsense\n"
    text = HEADER + GOOD + nonsense + GOOD + negative
    result = CliRunner().invoke(main, ["import", "-", "--json", "--rejects", str(rejects)], input=text)
    summary = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (summary["lines"], summary["stored"], summary["rejected"]) == (4, 2, 2)
    assert [(one["line"], one["reason"]) for one in summary["rejections"]] == [
        (3, "has 1 columns, the header 8"),
        (5, "meter.kwh_consumed_ac: is negative"),
    ]
    with rejects.open() as file:
        assert [row["line"] for row in csv.DictReader(file)] == ["3", "5"]


def test_import_shows_twenty_rejected_lines_and_counts_the_rest(ingest: Ingest) -> None:
    result = CliRunner().invoke(main, ["import", "-"], input=HEADER + "nonsense\n" * 50)
    assert result.exit_code == 1
    assert result.stderr.count("line ") == 20
    assert "and 30 lines more" in result.stderr


def test_import_goes_on_with_smaller_batches_where_the_service_takes_none_of_the_size_asked_for(ingest: Ingest) -> None:
    ingest.largest = 2
    result = CliRunner().invoke(main, ["import", "-", "--batch", "5", "--json"], input=HEADER + GOOD * 5)
    summary = json.loads(result.stdout)
    assert (summary["stored"], summary["rejected"]) == (5, 0)
    assert ingest.sizes == [5, 2, 2, 1]


def test_import_tells_every_line_where_the_service_takes_no_batch_at_all(ingest: Ingest) -> None:
    ingest.largest = 0
    result = CliRunner().invoke(main, ["import", "-", "--batch", "3", "--json"], input=HEADER + GOOD * 3)
    summary = json.loads(result.stdout)
    assert (summary["stored"], summary["rejected"]) == (0, 3)
    assert [(one["line"], one["reason"]) for one in summary["rejections"]] == [
        (line, "too many readings") for line in (2, 3, 4)
    ]


def test_import_of_a_file_without_the_columns_is_one_line_and_exit_code_1(ingest: Ingest) -> None:
    result = CliRunner().invoke(main, ["import", "-"], input="a,b\n1,2\n")
    assert result.exit_code == 1
    assert "the header names no column" in result.stderr


def test_simulate_sends_a_reading_a_minute_of_each_device(ingest: Ingest) -> None:
    fleet = ["--vehicles", "7", "--meters", "3", "--minutes", "30", "--speed", "0"]
    result = CliRunner().invoke(main, ["simulate", *fleet, "--json"])
    summary = json.loads(result.stdout)
    assert result.exit_code == 0
    assert summary["stored"] == sum(ingest.sizes) == 300
    assert summary["start"] < summary["last"] <= datetime.now(UTC).isoformat()


def test_simulate_ends_when_its_duration_is_over(ingest: Ingest) -> None:
    result = CliRunner().invoke(main, ["simulate", "--duration", "0.3s", "--speed", "600", "--json"])
    assert result.exit_code == 0
    assert 0 < json.loads(result.stdout)["stored"] <= 160 * 5
