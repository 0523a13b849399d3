"""Readings from CSV: one line in, one reading or one problem out."""

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading, VehicleReading
from wattstream.cli.times import parse_time

COLUMNS = ("timestamp", "kind", "vehicle_id", "meter_id", "kwh", "soc", "battery_temp", "voltage")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HeaderError(Exception):
    """The first line does not name the columns; the message says which are missing."""


def parse(lines: Iterable[str]) -> Iterator[tuple[int, Reading | str]]:
    """Yield each line's number, from 1, with its reading, or with why it is none.

    Columns may stand in any order, further ones are ignored, blank lines are skipped. A field that is left empty is not
    set, and ranges are not looked at: what a reading must have is for the service to judge. Where the file breaks off,
    such as a damaged gzip file, that is the last line's problem.

    Raises:
        HeaderError: a column is missing from the header.
    """
    rows = csv.reader(lines)
    try:
        arrange = _arranger(next(rows, []))
    except (csv.Error, OSError, EOFError, zlib.error) as error:
        raise HeaderError(f"the first line cannot be read: {error}") from None
    while True:
        try:
            row = next(rows, None)
            if row is None:
                return
            if row:
                yield rows.line_num, _reading(*arrange(row))
        except (ValueError, csv.Error) as error:
            yield rows.line_num, str(error)
        except (OSError, EOFError, zlib.error) as error:
            yield rows.line_num + 1, f"cannot be read from here on: {error}"
            return


def _arranger(header: list[str]) -> Callable[[list[str]], list[str]]:
    """Return what puts a line's fields in the order of COLUMNS."""
    names = [name.strip().lower() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise HeaderError(f"the header names no column {', '.join(missing)}; it must name {','.join(COLUMNS)}")
    places = [names.index(name) for name in COLUMNS]

    def arrange(row: list[str]) -> list[str]:
        if len(row) != len(names):
            raise ValueError(f"has {len(row)} columns, the header {len(names)}")
        return [row[place] for place in places]

    return arrange


def _reading(  # noqa: PLR0913, PLR0917 - one a column
    time: str, kind: str, vehicle_id: str, meter_id: str, kwh: str, soc: str, battery_temp: str, voltage: str
) -> Reading:
    since = parse_time(time) - _EPOCH
    recorded_at = Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)
    if kind == "meter":
        meter = MeterReading(
            meter_id=meter_id,
            recorded_at=recorded_at,
            kwh_consumed_ac=_number("kwh", kwh),
            voltage=_number("voltage", voltage),
        )
        return Reading(meter=meter)
    if kind == "vehicle":
        vehicle = VehicleReading(
            vehicle_id=vehicle_id,
            meter_id=meter_id,
            recorded_at=recorded_at,
            soc=_number("soc", soc),
            kwh_delivered_dc=_number("kwh", kwh),
            battery_temp=_number("battery_temp", battery_temp),
        )
        return Reading(vehicle=vehicle)
    raise ValueError(f"kind: {kind!r} is neither meter nor vehicle")


def _number(column: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{column}: {text!r} is not a number") from None
