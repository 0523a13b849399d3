"""The fast way through a message's bytes and the ordinary one come to the same, whatever the bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service import decoding
from ingest_service.decoding import Decoded, Keys, decode
from ingest_service.framing import STREAM, UNARY, MalformedError, frame
from ingest_service.readings import KINDS, Kind
from ingest_service.wire import PADDING, Parsed, parse
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading, VehicleReading

NOBODY: Keys = {kind: {} for kind in KINDS}
VALUES = st.none() | st.floats(-1e6, 1e6)
IDS = st.text(max_size=70) | st.sampled_from(["M1", "vehicle-00042"])
SECONDS = st.integers(-(2**63), 2**63 - 1) | st.integers(1_600_000_000, 1_900_000_000) | st.integers(0, 200)
NANOS = st.just(0) | st.integers(-5, 2**31 - 1)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    reading = Reading()
    kind = draw(st.sampled_from(["meter", "vehicle", "none"]))
    if kind == "none":
        return reading
    names = (
        ("kwh_consumed_ac", "voltage", "meter_id")
        if kind == "meter"
        else ("soc", "kwh_delivered_dc", "battery_temp", "vehicle_id", "meter_id")
    )
    part: MeterReading | VehicleReading = getattr(reading, kind)
    part.SetInParent()
    for name in names:
        value = draw(IDS if name.endswith("_id") else VALUES)
        if value is not None:
            setattr(part, name, value)
    if draw(st.booleans()) or draw(st.booleans()):
        part.recorded_at.seconds, part.recorded_at.nanos = draw(SECONDS), draw(NANOS)
    return reading


@contextmanager
def the_ordinary_way() -> Iterator[None]:
    def nothing(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, kind: Kind) -> Parsed:
        none = np.zeros(0, np.int64)
        return Parsed(none, none, none, none, none, none, np.zeros((0, len(kind.values))))

    with patch.object(decoding, "parse", nothing):
        yield


def told(found: Decoded) -> object:
    """Return all that is told of messages; ids that are not even text make a reading one that cannot be decoded."""
    rows, empty = [], set(found.empty)
    for kind, columns in found.columns.items():
        for row in range(len(columns)):
            place = int(columns.message[row]), int(columns.index[row])
            ids = columns.new_ids.get(row, b""), columns.new_meter_ids.get(row, b"")
            if not all(is_text(data) for data in ids):
                empty.add(place)
                continue
            values = columns.values[row].tobytes(), columns.missing[row].tolist()
            rows.append((place, kind.name, ids, int(columns.recorded_at_us[row]), values))
    return found.messages, empty, sorted(rows)


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@settings(deadline=None)
@given(st.lists(st.lists(readings(), max_size=6), max_size=4))
def test_readings_come_to_the_same_columns_both_ways(messages: list[list[Reading]]) -> None:
    data = [(pb.IngestReadingsRequest(readings=of_one).SerializeToString(), UNARY) for of_one in messages]
    fast = decode(data, NOBODY, 100)
    with the_ordinary_way():
        assert told(fast) == told(decode(data, NOBODY, 100))


@settings(deadline=None)
@given(st.lists(readings(), min_size=1, max_size=4), st.data())
def test_bytes_that_were_changed_come_to_the_same_columns_both_ways(of_one: list[Reading], data: st.DataObject) -> None:
    whole = bytearray(pb.StreamReadingsRequest(batch_id=300, readings=of_one).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    fast = decode([(bytes(whole), STREAM)], NOBODY, 100)
    with the_ordinary_way():
        assert told(fast) == told(decode([(bytes(whole), STREAM)], NOBODY, 100))


@settings(deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(readings(), max_size=3).map(
        lambda of_one: pb.StreamReadingsRequest(batch_id=7, readings=of_one).SerializeToString()
    )
)
def test_a_frame_holds_what_the_library_reads_or_is_malformed(data: bytes) -> None:
    try:
        wanted = pb.StreamReadingsRequest.FromString(data)
    except DecodeError:
        wanted = None
    try:
        found = frame(data, STREAM)
    except MalformedError:
        assert wanted is None
        return
    parts = [found.data[start:end] for start, end in zip(found.starts, found.ends, strict=True)]
    if wanted is not None:
        assert found.batch_id == wanted.batch_id
        assert [Reading.FromString(part) for part in parts] == list(wanted.readings)
    else:  # the frame is good and a reading in it is not, which is found out when it is decoded
        with pytest.raises(DecodeError):
            [Reading.FromString(part) for part in parts]


def test_a_batch_id_without_end_is_malformed_and_found_so_at_once() -> None:
    with pytest.raises(MalformedError):
        frame(b"\x08" + b"\xff" * 4_000_000, STREAM)


def test_usual_readings_take_the_fast_way() -> None:
    meter = MeterReading(meter_id="meter-00001", kwh_consumed_ac=0.0, voltage=230.0)
    vehicle = VehicleReading(vehicle_id="v" * 64, soc=1.0, kwh_delivered_dc=0.0, battery_temp=-1.0)
    for part in (meter, vehicle):
        part.recorded_at.FromMicroseconds(1_700_000_000_123_456)
    both = [Reading(meter=meter), Reading(vehicle=vehicle)]
    framed = frame(pb.UploadReadingsRequest(readings=both).SerializeToString(), UNARY)
    data = np.frombuffer(framed.data + bytes(PADDING), np.uint8)
    for row, kind in enumerate(KINDS):
        found = parse(data, np.array(framed.starts), np.array(framed.ends), kind)
        assert found.row.tolist() == [row]
        assert found.recorded_at_us.tolist() == [1_700_000_000_123_456]


def test_readings_beyond_those_to_keep_are_counted_and_take_no_memory() -> None:
    data = pb.StreamReadingsRequest(batch_id=7, readings=[Reading()] * 5).SerializeToString()
    for form_of in (data, data + b"\x08\x07"):  # the usual layout, and another that says the same
        found = frame(form_of, STREAM, keep=2)
        assert (found.batch_id, found.total, len(found.starts), len(found.ends)) == (7, 5, 2, 2)
    assert decode([(data, STREAM)], NOBODY, 4).messages[0].refusal.startswith("holds 5 readings")
