"""`wattstream import`: readings from a CSV file, through StreamReadings."""

import csv
import gzip
import io
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import BinaryIO, TextIO

import click

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.cli import readings_csv
from wattstream.cli.connection import EPILOG, FAILED, describe, with_client
from wattstream.cli.progress import Display
from wattstream.cli.tally import Tally
from wattstream.client import BatchOutcome, Client, Limits, Retry, Sender, ServiceError

_SHOWN = 20
_AHEAD = 4  # batches that are read while as many are under way as may be
_GZIP_MAGIC = b"\x1f\x8b"


@click.command("import", epilog=EPILOG)
@click.argument("file", type=click.File("rb"))
@click.option("--batch", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Readings a batch.")
@click.option("--window", type=click.IntRange(1, 100), default=16, show_default=True, help="Batches under way at once.")
@click.option("--rejects", type=click.File("w"), help="Write all rejected lines, as line,reason, to this CSV file.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary, with all rejected lines, as JSON.")
@with_client("ingest")
def command(  # noqa: PLR0913, PLR0917 - one an option
    client: Client, file: BinaryIO, batch: int, window: int, rejects: TextIO | None, as_json: bool
) -> None:
    """Send readings from a CSV file, plain or compressed with gzip; - is standard input.

    The first line names the columns, in any order: timestamp, kind, vehicle_id, meter_id, kwh, soc, battery_temp and
    voltage. kind is meter or vehicle; a field that the kind does not have is ignored. timestamp is ISO-8601 with Z or
    an offset. kwh is the AC energy of a meter, the DC energy of a vehicle, in the interval that ends at timestamp.

    Running it again is safe, and is how to go on after an interruption: what is stored already counts as duplicate.
    """
    tally = Tally()
    rejections = Rejections(rejects, keep_all=as_json)
    with Display(_size(file)) as display, _text(file) as text:
        retry = Retry(on_wait=lambda error, _: display.note(describe(error)))
        limits = Limits(batch_readings=batch, window=window, queue_readings=batch * (window + _AHEAD))
        try:
            with client.sender(limits=limits, retry=retry) as sender:
                for outcome, lines in _outcomes(sender, _batches(readings_csv.parse(text), batch, rejections)):
                    rejections.add_refused(outcome, lines)
                    tally.follow(sender.statistics())
                    tally.rejected = rejections.count
                    display.show(tally, _position(file))
        except readings_csv.HeaderError as error:
            raise click.ClickException(str(error)) from None
        except (ServiceError, KeyboardInterrupt):
            display.note(f"Stopped after {tally.readings:,} readings; run the same command again to go on.")
            raise
    tally.rejected = rejections.count
    _print(tally, rejections, as_json)
    if rejections.count:
        sys.exit(FAILED)


class Batch(list[Reading]):
    """Readings, and the numbers of the lines that they come from."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int] = []


class Rejections:
    """The lines that are not stored: the first ones in memory, or all of them; all in a file, where there is one."""

    def __init__(self, file: TextIO | None, *, keep_all: bool) -> None:
        self.count = 0
        self.kept: list[tuple[int, str]] = []
        self._keep_all = keep_all
        self._file = csv.writer(file) if file else None
        if self._file:
            self._file.writerow(("line", "reason"))

    def add(self, line: int, reason: str) -> None:
        """Take a line that is not stored, and why."""
        self.count += 1
        if self._keep_all or len(self.kept) < _SHOWN:
            self.kept.append((line, reason))
        if self._file:
            self._file.writerow((line, reason))

    def add_refused(self, outcome: BatchOutcome, lines: list[int]) -> None:
        """Take what the service refused of readings that came from the given lines."""
        for place, why in outcome.rejections.items():
            self.add(lines[place], f"{why.field}: {why.message}" if why.field else why.message)


def _outcomes(sender: Sender, batches: Iterable[Batch]) -> Iterator[tuple[BatchOutcome, list[int]]]:
    """Send batches and yield what became of each, in order, with its lines."""
    waiting: deque[tuple[Future[BatchOutcome], list[int]]] = deque()
    for batch in batches:
        waiting.append((sender.send_batch(batch), batch.lines))
        while waiting and waiting[0][0].done():
            future, lines = waiting.popleft()
            yield future.result(), lines
    for future, lines in waiting:
        yield future.result(), lines


def _batches(parsed: Iterable[tuple[int, Reading | str]], size: int, rejections: Rejections) -> Iterator[Batch]:
    batch = Batch()
    for line, reading in parsed:
        if isinstance(reading, str):
            rejections.add(line, reading)
            continue
        batch.append(reading)
        batch.lines.append(line)
        if len(batch) == size:
            yield batch
            batch = Batch()
    yield batch


def _text(file: BinaryIO) -> TextIO:
    """Return the text of a file, plain or compressed; what is not UTF-8 becomes a character that no id may hold."""
    buffered = io.BufferedReader(file)  # type: ignore[type-var] # any readable binary file serves
    packed = buffered.peek(2)[:2] == _GZIP_MAGIC
    plain = gzip.GzipFile(fileobj=buffered) if packed else buffered
    return io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace", newline="")


def _size(file: BinaryIO) -> int | None:
    """Return how many bytes a file has, None for what has no end yet, such as a pipe."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:
        return None


def _position(file: BinaryIO) -> int:
    return file.tell() if file.seekable() else 0


def _print(tally: Tally, rejections: Rejections, as_json: bool) -> None:
    rejected = sorted(rejections.kept)
    if as_json:
        lines = [{"line": line, "reason": reason} for line, reason in rejected]
        click.echo(json.dumps({"lines": tally.readings, **tally.as_json(), "rejections": lines}))
        return
    for line, reason in rejected:
        click.echo(f"line {line}: {reason}", err=True)
    if rejections.count > len(rejected):
        click.echo(f"and {rejections.count - len(rejected):,} lines more; --rejects FILE writes them all", err=True)
    click.echo(f"{tally.readings:,} lines: {tally}")
