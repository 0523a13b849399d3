"""What StateService refuses, over the wire: the field at fault is named and nothing is applied."""

import time
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2 as details_pb2
from grpc_status import rpc_status

from state_service.config import StateConfig
from state_service.service import lifespan
from wattstream import server
from wattstream.api.state.v1 import state_pb2 as pb
from wattstream.api.state.v1 import state_pb2_grpc
from wattstream.api.telemetry.v1 import telemetry_pb2

NOW_S = int(time.time())

Stub: TypeAlias = "state_pb2_grpc.StateServiceAsyncStub"


@pytest.fixture
async def state(redis_url: str) -> AsyncIterator[Stub]:
    """Yield a client of a state service on an empty store."""
    async with (
        server.serving(StateConfig(listen="127.0.0.1:0", redis_url=redis_url), lifespan) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield state_pb2_grpc.StateServiceStub(channel)


def vehicle(device: str = "V1", meter: str = "") -> pb.ReceivedReading:
    at = Timestamp(seconds=NOW_S)
    reading = telemetry_pb2.VehicleReading(
        vehicle_id=device, meter_id=meter, recorded_at=at, soc=50.0, kwh_delivered_dc=0.4227, battery_temp=30.1
    )
    return pb.ReceivedReading(reading=telemetry_pb2.Reading(vehicle=reading), received_at=at)


def meter(device: str = "M1", second: int = NOW_S) -> pb.ReceivedReading:
    reading = telemetry_pb2.MeterReading(
        meter_id=device, recorded_at=Timestamp(seconds=second), kwh_consumed_ac=0.4796, voltage=229.875
    )
    return pb.ReceivedReading(reading=telemetry_pb2.Reading(meter=reading), received_at=Timestamp(seconds=NOW_S))


def spoilt(reading: pb.ReceivedReading, *path: str) -> pb.ReceivedReading:
    """Return the reading without the field at `path`."""
    message: Message = reading
    for name in path[:-1]:
        message = getattr(message, name)
    message.ClearField(path[-1])
    return reading


BAD_READINGS = [
    (spoilt(vehicle(), "received_at"), "readings[1].received_at"),
    (spoilt(vehicle(), "reading"), "readings[1].reading"),
    (spoilt(vehicle(), "reading", "vehicle", "recorded_at"), "readings[1].reading.vehicle.recorded_at"),
    (spoilt(vehicle(), "reading", "vehicle", "soc"), "readings[1].reading.vehicle.soc"),
    (spoilt(vehicle(), "reading", "vehicle", "vehicle_id"), "readings[1].reading.vehicle.vehicle_id"),
    (spoilt(meter(), "reading", "meter", "recorded_at"), "readings[1].reading.meter.recorded_at"),
    (spoilt(meter(), "reading", "meter", "voltage"), "readings[1].reading.meter.voltage"),
    (meter("M 1"), "readings[1].reading.meter.meter_id"),
    (vehicle(meter="M\n1"), "readings[1].reading.vehicle.meter_id"),
    (meter(second=2**53 // 1_000_000 + 1), "readings[1].reading.meter.recorded_at"),
    (meter(second=-1), "readings[1].reading.meter.recorded_at"),
]
BAD_REQUESTS = [
    *(("ApplyReadings", pb.ApplyReadingsRequest(readings=[vehicle(), r]), field) for r, field in BAD_READINGS),
    ("ApplyReadings", pb.ApplyReadingsRequest(readings=[vehicle()] * 10_001), "readings"),
    ("GetVehicleState", pb.GetVehicleStateRequest(), "vehicle_id"),
    ("GetVehicleState", pb.GetVehicleStateRequest(vehicle_id="V" * 65), "vehicle_id"),
    ("GetVehicleState", pb.GetVehicleStateRequest(vehicle_id="V1\n"), "vehicle_id"),
    ("GetMeterState", pb.GetMeterStateRequest(meter_id="'; DROP TABLE"), "meter_id"),
    ("BatchGetVehicleStates", pb.BatchGetVehicleStatesRequest(), "vehicle_ids"),
    ("BatchGetVehicleStates", pb.BatchGetVehicleStatesRequest(vehicle_ids=["V1", "é"]), "vehicle_ids[1]"),
    ("BatchGetMeterStates", pb.BatchGetMeterStatesRequest(meter_ids=["M1"] * 1_001), "meter_ids"),
    ("ListVehicleStates", pb.ListVehicleStatesRequest(page_size=-1), "page_size"),
    ("ListVehicleStates", pb.ListVehicleStatesRequest(page_size=1_001), "page_size"),
    ("ListVehicleStates", pb.ListVehicleStatesRequest(page_token="V1"), "page_token"),
    ("ListMeterStates", pb.ListMeterStatesRequest(page_token="?" * 5_000), "page_token"),
]


@pytest.mark.parametrize(
    ("rpc", "request_", "field"), BAD_REQUESTS, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_bad_field_is_refused_by_name_and_nothing_is_applied(
    state: Stub, rpc: str, request_: Message, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(state, rpc)(request_)

    bad = details_pb2.BadRequest()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert any(packed.Unpack(bad) for packed in rpc_status.from_call(caught.value).details)
    assert [violation.field for violation in bad.field_violations] == [field]
    assert await state.ListVehicleStates(pb.ListVehicleStatesRequest()) == pb.ListVehicleStatesResponse()
