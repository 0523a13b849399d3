"""A flat reading becomes one of the two kinds, or an error that names its fields; page tokens that were made up are
refused."""

import base64
import json

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service.flat import unflatten
from wattstream import paging
from wattstream.api.ingest.v1.ingest_pb2 import IngestTelemetryRequest
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading, VehicleReading
from wattstream.errors import InvalidRequestError

STAMP = Timestamp(seconds=1_770_734_820, nanos=5)
OF_A_METER = {"kwh_consumed_ac": 0.0, "voltage": 229.875}
OF_A_VEHICLE = {"soc": 20.7, "kwh_delivered_dc": 0.0, "battery_temp": -3.0}


def violations(**fields: object) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        unflatten(IngestTelemetryRequest(**fields))  # type: ignore[arg-type]
    return [violation.field for violation in caught.value.violations]


def test_a_flat_reading_with_only_a_meter_is_the_meters() -> None:
    flat = IngestTelemetryRequest(meter_id="M1", recorded_at=STAMP, **OF_A_METER)
    assert unflatten(flat) == Reading(meter=MeterReading(meter_id="M1", recorded_at=STAMP, **OF_A_METER))


@pytest.mark.parametrize("named", [{}, {"meter_id": "M1"}])
def test_a_flat_reading_with_a_vehicle_is_the_vehicles(named: dict[str, str]) -> None:
    flat = IngestTelemetryRequest(vehicle_id="V1", recorded_at=STAMP, **named, **OF_A_VEHICLE)
    assert unflatten(flat) == Reading(
        vehicle=VehicleReading(vehicle_id="V1", recorded_at=STAMP, **named, **OF_A_VEHICLE)
    )


def test_what_is_not_set_stays_so_for_the_judge_to_find() -> None:
    assert unflatten(IngestTelemetryRequest(meter_id="")) == Reading(meter=MeterReading(meter_id=""))
    assert not unflatten(IngestTelemetryRequest(vehicle_id="V1")).vehicle.HasField("soc")


def test_neither_id_is_an_error() -> None:
    assert violations(**OF_A_METER) == ["vehicle_id"]
    assert violations() == ["vehicle_id"]


def test_what_the_other_kind_measures_is_an_error_even_if_it_is_zero() -> None:
    assert violations(vehicle_id="V1", **OF_A_VEHICLE, **OF_A_METER) == ["kwh_consumed_ac", "voltage"]
    assert violations(meter_id="M1", **OF_A_METER, **OF_A_VEHICLE) == ["soc", "kwh_delivered_dc", "battery_temp"]


IDS = st.text("abcXYZ019._:/-", min_size=1, max_size=64)


@settings(deadline=None)
@given(IDS, st.integers(-(2**62), 2**62))
def test_a_token_leads_back_to_its_item_and_to_no_other_list(name: str, number: int) -> None:
    token = paging.to_token("assignments", name, number)
    assert paging.from_token("assignments", token, "", 0) == [name, number]
    for of, *first in (("devices", "", 0), ("assignments", 0, ""), ("assignments", ""), ("assignments", "", 0, 0)):
        with pytest.raises(InvalidRequestError):
            paging.from_token(of, token, *first)


def forged(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "!",
        "ä",
        "a" * 1_000_000,
        forged("{}"),
        forged("[]"),
        forged("7"),
        forged("[" * 250),
        forged(json.dumps(["devices", 1, "\x00"])),
        forged('["devices", 1, "\\ud800"]'),
        forged(json.dumps(["devices", 2**63, "a"])),
        forged(json.dumps(["devices", 1e3, "a"])),
        forged(json.dumps(["devices", True, "a"])),
        forged(json.dumps(["devices", None, "a"])),
        forged(json.dumps(["devices", 1])),
    ],
)
def test_a_token_that_somebody_made_up_is_a_bad_field(token: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        paging.from_token("devices", token, 0, "")
    assert caught.value.violations[0].field == "page_token"


def test_no_token_is_the_first_page() -> None:
    assert paging.from_token("devices", "", 0, "") == [0, ""]


@pytest.mark.parametrize(("asked", "given_"), [(0, 100), (1, 1), (500, 500)])
def test_a_page_is_as_long_as_asked(asked: int, given_: int) -> None:
    assert paging.page_size(asked, 100, 500) == given_


@pytest.mark.parametrize("asked", [-1, 501, 2**31 - 1, -(2**31)])
def test_a_page_of_another_length_is_a_bad_field(asked: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        paging.page_size(asked, 100, 500)
    assert caught.value.violations[0].field == "page_size"
