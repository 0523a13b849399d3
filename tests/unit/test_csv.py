"""Readings from CSV."""

import gzip
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.cli.readings_csv import COLUMNS, HeaderError, parse

HEADER = ",".join(COLUMNS)


def parsed(*lines: str) -> list[tuple[int, Reading | str]]:
    return list(parse(io.StringIO("\n".join([HEADER, *lines]), newline="")))


def test_a_meters_line_becomes_a_meters_reading() -> None:
    [(line, reading)] = parsed("2022-04-12T19:27:23.000001Z,meter,,station-1,1.469399,,,400.0")
    assert line == 2
    assert isinstance(reading, Reading)
    assert reading.meter.meter_id == "station-1"
    assert (reading.meter.kwh_consumed_ac, reading.meter.voltage) == (1.469399, 400.0)
    assert reading.meter.recorded_at.ToDatetime(tzinfo=UTC) == datetime(2022, 4, 12, 19, 27, 23, 1, tzinfo=UTC)


def test_a_vehicles_line_becomes_a_vehicles_reading() -> None:
    [(_, reading)] = parsed("2022-04-12T21:27:07+02:00,vehicle,ev-1,station-1,0.42,83.4,20.03,")
    assert isinstance(reading, Reading)
    vehicle = reading.vehicle
    assert (vehicle.vehicle_id, vehicle.meter_id) == ("ev-1", "station-1")
    assert (vehicle.kwh_delivered_dc, vehicle.soc, vehicle.battery_temp) == (0.42, 83.4, 20.03)
    assert vehicle.recorded_at.ToDatetime(tzinfo=UTC) == datetime(2022, 4, 12, 19, 27, 7, tzinfo=UTC)


def test_an_empty_field_is_not_set() -> None:
    [(_, reading)] = parsed("2022-04-12T19:27:23Z,meter,,,0,,,")
    assert isinstance(reading, Reading)
    assert reading.meter.HasField("kwh_consumed_ac")
    assert not reading.meter.HasField("voltage")


def test_columns_may_stand_in_any_order_beside_others() -> None:
    text = (
        "note,voltage,kwh,meter_id,vehicle_id,kind,timestamp,soc,battery_temp\nx,400,1,M1,,meter,2022-01-01T00:00Z,,\n"
    )
    [(_, reading)] = parse(io.StringIO(text))
    assert isinstance(reading, Reading)
    assert (reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage) == ("M1", 1.0, 400.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2022-04-12T19:27:23Z,charger,,M1,1,,,400", "kind: 'charger' is neither meter nor vehicle"),
        ("2022-04-12T19:27:23Z,meter,,M1,much,,,400", "kwh: 'much' is not a number"),
        ("2022-04-12T19:27:23Z,vehicle,V1,,1,x,20,", "soc: 'x' is not a number"),
        ("2022-04-12T19:27:23,meter,,M1,1,,,400", "has no time zone"),
        ("yesterday,meter,,M1,1,,,400", "'yesterday' is not a time"),
        ("10000-01-01T00:00:00Z,meter,,M1,1,,,400", "is not a time"),
        ("2022-04-12T19:27:23Z,meter,,M1,1,,", "has 7 columns, the header 8"),
        ("2022-04-12T19:27:23Z,meter,,M1,1,,,400,9", "has 9 columns, the header 8"),
    ],
)
def test_a_line_that_is_no_reading_is_told_by_number_and_the_rest_goes_on(line: str, reason: str) -> None:
    good = "2022-04-12T19:27:23Z,meter,,M1,1,,,400"
    (_, first), (number, problem), (_, last) = parsed(good, line, good)
    assert isinstance(first, Reading)
    assert first == last
    assert number == 3
    assert isinstance(problem, str)
    assert reason in problem


def test_numbers_that_are_not_finite_are_for_the_service_to_judge() -> None:
    assert all(
        isinstance(r, Reading) for _, r in parsed(*(f"2022-01-01T00:00Z,meter,,M1,{n},,,400" for n in ("nan", "inf")))
    )


def test_blank_lines_are_skipped_but_counted() -> None:
    [(number, _)] = parsed("", "", "2022-04-12T19:27:23Z,meter,,M1,1,,,400", "")
    assert number == 4


@pytest.mark.parametrize("text", ["", "\n", "timestamp,kind\n", "\x00\x01\x02\n"])
def test_a_header_that_lacks_columns_is_refused(text: str) -> None:
    with pytest.raises(HeaderError, match="kwh"):
        list(parse(io.StringIO(text)))


def test_a_file_that_breaks_off_is_told_after_all_that_could_be_read() -> None:
    line = "2022-04-12T19:27:23Z,meter,,M1,1,,,400\n"
    whole = gzip.compress(f"{HEADER}\n{line * 5000}".encode())
    broken = io.TextIOWrapper(gzip.GzipFile(fileobj=io.BytesIO(whole[:-20])))
    *before, (_, problem) = parse(broken)
    assert len(before) > 1000
    assert all(isinstance(reading, Reading) for _, reading in before)
    assert "cannot be read from here on" in str(problem)


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_no_text_at_all_stops_the_parser(lines: list[str]) -> None:
    for _, reading in parse(io.StringIO("\n".join([HEADER, *lines]))):
        assert isinstance(reading, Reading | str)
