"""A flat reading becomes one of the two kinds, or an error that names its fields; page tokens that were made up are
refused."""

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from ingest_service.flat import unflatten
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
