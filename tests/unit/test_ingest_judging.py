"""What becomes of a message's readings before anything is stored: decoded, then judged one by one."""

import math

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service.batches import REJECTED, STORED, Batch, Message, prepare
from ingest_service.config import IngestConfig
from ingest_service.decoding import Keys
from ingest_service.framing import UNARY
from ingest_service.ingestion import limits_of
from ingest_service.readings import KINDS, METER, VEHICLE
from ingest_service.validation import Rejection
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading, VehicleReading
from wattstream.ids import ID_RULE

NOW_S = 1_770_734_820
LIMITS = limits_of(IngestConfig())
NOBODY: Keys = {kind: {} for kind in KINDS}
REASON = {name.removeprefix("REJECTION_REASON_"): number for name, number in pb.RejectionReason.items()}
UNSET = None
FIVE_MINUTES = 300


def meter(**changed: object) -> Reading:
    """Return a good reading of a meter, but for what is changed; None leaves a field unset."""
    fields = {"meter_id": "M1", "recorded_at": Timestamp(seconds=NOW_S), "kwh_consumed_ac": 0.4796, "voltage": 229.875}
    given_ = {name: value for name, value in (fields | changed).items() if value is not UNSET}
    return Reading(meter=MeterReading(**given_))  # type: ignore[arg-type]


def vehicle(**changed: object) -> Reading:
    fields = {
        "vehicle_id": "V1",
        "meter_id": "M1",
        "recorded_at": Timestamp(seconds=NOW_S),
        "soc": 20.7,
        "kwh_delivered_dc": 0.4227,
        "battery_temp": 30.1,
    }
    given_ = {name: value for name, value in (fields | changed).items() if value is not UNSET}
    return Reading(vehicle=VehicleReading(**given_))  # type: ignore[arg-type]


def judged(*readings: Reading, known: Keys = NOBODY) -> Batch:
    data = pb.IngestReadingsRequest(readings=readings).SerializeToString()
    message = Message(data, UNARY, NOW_S * 1_000_000, lambda _: None)
    return prepare([message], known, LIMITS, 10_000, NOW_S * 1_000_000)


def rejections(batch: Batch) -> list[Rejection]:
    return batch.rejections.get(0, [])


def good(batch: Batch) -> int:
    return sum(int((outcomes == STORED).sum()) for outcomes in batch.outcomes.values())


def only_rejection(reading: Reading) -> tuple[str, int, str]:
    found = judged(reading)
    assert good(found) == 0
    [rejection] = rejections(found)
    assert rejection.index == 0
    return rejection.field, rejection.reason, rejection.message


@pytest.mark.parametrize(
    ("reading", "field", "reason", "message"),
    [
        (Reading(), "reading", "EMPTY_READING", "must hold a meter's or a vehicle's values"),
        (Reading(meter=MeterReading()), "meter.meter_id", "MISSING_FIELD", f"is missing; it {ID_RULE}"),
        (meter(meter_id=UNSET), "meter.meter_id", "MISSING_FIELD", f"is missing; it {ID_RULE}"),
        (vehicle(vehicle_id=""), "vehicle.vehicle_id", "MISSING_FIELD", f"is missing; it {ID_RULE}"),
        (meter(meter_id="é"), "meter.meter_id", "INVALID_ID", f"'\\xe9' is not an id; it {ID_RULE}"),
        (meter(meter_id="a\x00b"), "meter.meter_id", "INVALID_ID", f"'a\\x00b' is not an id; it {ID_RULE}"),
        (meter(meter_id="M1\n"), "meter.meter_id", "INVALID_ID", f"'M1\\n' is not an id; it {ID_RULE}"),
        (meter(meter_id="M" * 65), "meter.meter_id", "INVALID_ID", f"'{'M' * 65}' is not an id; it {ID_RULE}"),
        (
            vehicle(vehicle_id="'; DROP TABLE devices; --"),
            "vehicle.vehicle_id",
            "INVALID_ID",
            f'"\'; DROP TABLE devices; --" is not an id; it {ID_RULE}',
        ),
        (vehicle(meter_id="two words"), "vehicle.meter_id", "INVALID_ID", f"'two words' is not an id; it {ID_RULE}"),
        (
            meter(kwh_consumed_ac=UNSET),
            "meter.kwh_consumed_ac",
            "MISSING_FIELD",
            "is missing; it must be 0 to 1000 kWh",
        ),
        (meter(voltage=UNSET), "meter.voltage", "MISSING_FIELD", "is missing; it must be 0 to 2000 V"),
        (vehicle(soc=UNSET), "vehicle.soc", "MISSING_FIELD", "is missing; it must be 0 to 100 percent"),
        (
            vehicle(battery_temp=UNSET),
            "vehicle.battery_temp",
            "MISSING_FIELD",
            "is missing; it must be -60 to 150 degrees Celsius",
        ),
        (
            meter(kwh_consumed_ac=math.nan),
            "meter.kwh_consumed_ac",
            "NOT_FINITE",
            "nan is not a finite number; it must be 0 to 1000 kWh",
        ),
        (meter(voltage=math.inf), "meter.voltage", "NOT_FINITE", "inf is not a finite number; it must be 0 to 2000 V"),
        (
            vehicle(kwh_delivered_dc=-math.inf),
            "vehicle.kwh_delivered_dc",
            "NOT_FINITE",
            "-inf is not a finite number; it must be 0 to 1000 kWh",
        ),
        (
            meter(kwh_consumed_ac=-0.1),
            "meter.kwh_consumed_ac",
            "OUT_OF_RANGE",
            "-0.1 is out of range; it must be 0 to 1000 kWh",
        ),
        (vehicle(soc=101.0), "vehicle.soc", "OUT_OF_RANGE", "101 is out of range; it must be 0 to 100 percent"),
        (vehicle(kwh_delivered_dc=1000.5), "vehicle.kwh_delivered_dc", "OUT_OF_RANGE", None),
        (vehicle(battery_temp=-60.5), "vehicle.battery_temp", "OUT_OF_RANGE", None),
        (meter(voltage=1e300), "meter.voltage", "OUT_OF_RANGE", None),
        (meter(recorded_at=UNSET), "meter.recorded_at", "MISSING_FIELD", "is missing"),
    ],
)
def test_a_bad_reading_is_named_by_field_reason_and_words(
    reading: Reading, field: str, reason: str, message: str | None
) -> None:
    found = only_rejection(reading)
    assert found[:2] == (field, REASON[reason])
    assert message is None or found[2] == message


@pytest.mark.parametrize(
    ("stamp", "reason", "message"),
    [
        (Timestamp(), "TOO_OLD", "is 20495 days old; at most 3650 days are accepted"),
        (Timestamp(seconds=NOW_S - 3651 * 86_400), "TOO_OLD", "is 3651 days old; at most 3650 days are accepted"),
        (
            Timestamp(seconds=NOW_S + 3600),
            "IN_FUTURE",
            "is 3600 s ahead of the server's clock; at most 300 s are accepted",
        ),
        (
            Timestamp(seconds=NOW_S + FIVE_MINUTES, nanos=1000),
            "IN_FUTURE",
            "is 301 s ahead of the server's clock; at most 300 s are accepted",
        ),
        (Timestamp(seconds=253_402_300_799), "IN_FUTURE", None),
        (Timestamp(seconds=253_402_300_800), "INVALID_TIMESTAMP", "is not a time between the years 1970 and 9999"),
        (Timestamp(seconds=-1, nanos=999_999_999), "INVALID_TIMESTAMP", None),
        (Timestamp(seconds=2**63 - 1), "INVALID_TIMESTAMP", None),
        (Timestamp(seconds=-(2**63)), "INVALID_TIMESTAMP", None),
        (Timestamp(seconds=2**63 - 1, nanos=2**31 - 1), "INVALID_TIMESTAMP", None),
        (Timestamp(seconds=NOW_S, nanos=-1), "INVALID_TIMESTAMP", None),
        (Timestamp(seconds=NOW_S, nanos=1_000_000_000), "INVALID_TIMESTAMP", None),
        (Timestamp(nanos=-1), "INVALID_TIMESTAMP", None),
    ],
)
def test_a_bad_time_is_a_rejection_of_its_kind(stamp: Timestamp, reason: str, message: str | None) -> None:
    field, found, words = only_rejection(vehicle(recorded_at=stamp))
    assert (field, found) == ("vehicle.recorded_at", REASON[reason])
    assert message is None or words == message


@pytest.mark.parametrize(
    "reading",
    [
        meter(kwh_consumed_ac=0.0, voltage=0.0),
        meter(kwh_consumed_ac=-0.0),
        meter(kwh_consumed_ac=1000.0, voltage=2000.0),
        vehicle(soc=0.0, kwh_delivered_dc=0.0, battery_temp=0.0),
        vehicle(soc=100.0, kwh_delivered_dc=1000.0, battery_temp=150.0),
        vehicle(battery_temp=-60.0),
        vehicle(meter_id=UNSET),
        vehicle(meter_id=""),
        meter(meter_id="A-z.0_9:/" + "x" * 55),
        meter(recorded_at=Timestamp(seconds=NOW_S + FIVE_MINUTES)),
        meter(recorded_at=Timestamp(seconds=NOW_S - 3650 * 86_400)),
    ],
)
def test_zeros_that_are_set_and_the_ends_of_ranges_are_good(reading: Reading) -> None:
    found = judged(reading)
    assert rejections(found) == []
    assert good(found) == 1


def test_a_reading_keeps_its_values_to_the_last_bit_and_its_time_to_the_microsecond() -> None:
    stamp = Timestamp(seconds=NOW_S, nanos=123_456_789)
    batch = judged(vehicle(recorded_at=stamp, soc=math.nextafter(20.7, 21)), meter(voltage=5e-324))
    of_vehicle, of_meter = batch.columns[VEHICLE], batch.columns[METER]
    assert of_vehicle.recorded_at_us.tolist() == [NOW_S * 1_000_000 + 123_456]
    assert of_vehicle.values.tolist() == [[math.nextafter(20.7, 21), 0.4227, 30.1]]
    assert (of_vehicle.new_ids, of_vehicle.new_meter_ids) == ({0: b"V1"}, {0: b"M1"})
    assert of_meter.values.tolist() == [[0.4796, 5e-324]]
    assert batch.received_at_us.tolist() == [NOW_S * 1_000_000]


def test_of_several_faults_the_first_field_is_named() -> None:
    everything_wrong = VehicleReading(vehicle_id="?", meter_id="?", soc=math.nan)
    assert only_rejection(Reading(vehicle=everything_wrong))[0] == "vehicle.vehicle_id"
    assert only_rejection(vehicle(recorded_at=UNSET, soc=-1.0))[0] == "vehicle.recorded_at"


def test_ids_that_were_good_before_are_not_looked_at_again() -> None:
    found = judged(meter(meter_id="M 1"), vehicle(meter_id="M 1"), known={METER: {b"M 1": 7}, VEHICLE: {}})
    assert rejections(found) == []
    assert (found.columns[METER].key.tolist(), found.columns[VEHICLE].meter_key.tolist()) == ([7], [7])


def test_a_full_batch_of_the_longest_rejections_fits_into_a_message_that_any_client_accepts() -> None:
    batch = [vehicle(vehicle_id="\U0010ffff" * 100)] * 5000 + [vehicle(meter_id="\x01" * 100)] * 5000
    found = rejections(judged(*batch))
    assert len(found) == 10_000
    response = pb.IngestReadingsResponse(rejections=[_message(rejection) for rejection in found])
    assert response.ByteSize() < 4 * 1024 * 1024


def _message(rejection: Rejection) -> pb.RejectedReading:
    return pb.RejectedReading(
        index=rejection.index, field=rejection.field, reason=rejection.reason, message=rejection.message
    )


GOOD = st.builds(
    lambda make, number, nanos: make(recorded_at=Timestamp(seconds=NOW_S - number, nanos=nanos)),
    st.sampled_from([meter, vehicle]),
    st.integers(0, 100_000),
    st.integers(0, 999_999_999),
)
BAD = st.sampled_from(
    [
        Reading(),
        Reading(vehicle=VehicleReading()),
        meter(meter_id="no id"),
        meter(voltage=-1.0),
        vehicle(soc=math.nan),
        vehicle(recorded_at=UNSET),
        vehicle(recorded_at=Timestamp(seconds=NOW_S, nanos=-5)),
        meter(kwh_consumed_ac=UNSET),
    ]
)


@settings(deadline=None)
@given(st.lists(st.one_of(GOOD.map(lambda r: (True, r)), BAD.map(lambda r: (False, r))), max_size=40))
def test_every_reading_is_kept_in_order_or_rejected_by_its_index(mix: list[tuple[bool, Reading]]) -> None:
    found = judged(*(reading for _, reading in mix))
    kept = [i for kind in KINDS for i in found.columns[kind].index[found.outcomes[kind] == STORED].tolist()]
    assert sorted(kept) == [i for i, (is_good, _) in enumerate(mix) if is_good]
    assert [r.index for r in rejections(found)] == [i for i, (is_good, _) in enumerate(mix) if not is_good]
    for kind in KINDS:
        columns = found.columns[kind]
        assert columns.index.tolist() == sorted(columns.index.tolist())
        kept_rows = np.flatnonzero(found.outcomes[kind] == STORED)
        sent = [getattr(mix[i][1], kind.name) for i in columns.index[kept_rows].tolist()]
        ids = [columns.new_ids[row].decode() for row in kept_rows.tolist()]
        assert ids == [getattr(reading, f"{kind.name}_id") for reading in sent]
        times = [r.recorded_at.seconds * 1_000_000 + r.recorded_at.nanos // 1000 for r in sent]
        assert columns.recorded_at_us[kept_rows].tolist() == times
        assert columns.values[kept_rows].tolist() == [[getattr(r, name) for name in kind.values] for r in sent]
        assert set(found.outcomes[kind].tolist()) <= {STORED, REJECTED}


@settings(deadline=None)
@given(st.floats(), st.floats(), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1), st.text())
def test_no_input_breaks_the_judge(soc: float, temperature: float, seconds: int, nanos: int, name: str) -> None:
    reading = vehicle(vehicle_id=name, soc=soc, battery_temp=temperature, recorded_at=Timestamp())
    reading.vehicle.recorded_at.seconds, reading.vehicle.recorded_at.nanos = seconds, nanos
    with np.errstate(all="raise"):
        found = judged(reading)
    assert good(found) + len(rejections(found)) == 1
