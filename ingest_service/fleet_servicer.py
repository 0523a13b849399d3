"""FleetService: from messages to the domain and back."""

from datetime import UTC, datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from ingest_service.fleet import Assignment, Fleet
from ingest_service.readings import KINDS, Kind
from wattstream import paging
from wattstream.api.ingest.v1 import fleet_pb2 as pb
from wattstream.api.ingest.v1.fleet_pb2_grpc import FleetServiceServicer
from wattstream.errors import FieldViolation, InvalidRequestError, bad_field
from wattstream.ids import ID_RULE, is_id

_MOST = 10_000
_PAGE = 1000
Context = grpc.aio.ServicerContext[Any, Any]


class FleetServicer(FleetServiceServicer):
    """Serves FleetService."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def RegisterDevices(self, request: pb.RegisterDevicesRequest, context: Context) -> pb.RegisterDevicesResponse:
        new, existing = await self._fleet.register(_devices(request))
        return pb.RegisterDevicesResponse(registered=new, existing=existing)

    async def ListDevices(self, request: pb.ListDevicesRequest, context: Context) -> pb.ListDevicesResponse:
        if request.kind:
            _kind(request.kind, "kind")
        most = paging.page_size(request.page_size, _PAGE, _MOST)
        number, last_id = paging.from_token("devices", request.page_token, 0, "")
        found = await self._fleet.devices(request.kind, (int(number), str(last_id)), most)
        devices = [pb.Device(kind=d.kind_number, device_id=d.device_id, registered_at=d.registered_at) for d in found]  # type: ignore[arg-type]
        last = paging.to_token("devices", *found[-1][:2]) if len(found) == most else ""
        return pb.ListDevicesResponse(devices=devices, next_page_token=last)

    async def AssignMeter(self, request: pb.AssignMeterRequest, context: Context) -> pb.AssignMeterResponse:
        _check_id(request.vehicle_id, "vehicle_id")
        _check_id(request.meter_id, "meter_id")
        start = _time(request, "valid_from")
        end = _time(request, "valid_until") if request.HasField("valid_until") else None
        if end is not None and end <= start:
            raise bad_field("valid_until", "must be later than valid_from")
        assignment = await self._fleet.assign(request.vehicle_id, request.meter_id, start, end)
        return pb.AssignMeterResponse(assignment=_message(assignment))

    async def EndAssignment(self, request: pb.EndAssignmentRequest, context: Context) -> pb.EndAssignmentResponse:
        if request.assignment_id <= 0:
            raise bad_field("assignment_id", "must be the number of an assignment")
        assignment = await self._fleet.end(request.assignment_id, _time(request, "valid_until"))
        return pb.EndAssignmentResponse(assignment=_message(assignment))

    async def ListAssignments(self, request: pb.ListAssignmentsRequest, context: Context) -> pb.ListAssignmentsResponse:
        for name in ("vehicle_id", "meter_id"):
            if getattr(request, name):
                _check_id(getattr(request, name), name)
        most = paging.page_size(request.page_size, _PAGE, _MOST)
        last_id, last_us = paging.from_token("assignments", request.page_token, "", 0)
        found = await self._fleet.assignments(
            vehicle_id=request.vehicle_id,
            meter_id=request.meter_id,
            valid_at=_time(request, "valid_at") if request.HasField("valid_at") else None,
            after=(str(last_id), int(last_us)),
            most=most,
        )
        last = paging.to_token("assignments", found[-1][0].vehicle_id, found[-1][1]) if len(found) == most else ""
        return pb.ListAssignmentsResponse(assignments=[_message(a) for a, _ in found], next_page_token=last)


def _devices(request: pb.RegisterDevicesRequest) -> list[tuple[Kind, str]]:
    if not 1 <= len(request.devices) <= _MOST:
        raise bad_field("devices", f"holds {len(request.devices)}; must hold 1 to {_MOST}")
    return [
        (_kind(device.kind, f"devices[{i}].kind"), _check_id(device.device_id, f"devices[{i}].device_id"))
        for i, device in enumerate(request.devices)
    ]


def _kind(number: int, field: str) -> Kind:
    for kind in KINDS:
        if kind.number == number:
            return kind
    raise bad_field(field, f"is {number}; must be 1 (DEVICE_KIND_METER) or 2 (DEVICE_KIND_VEHICLE)")


def _check_id(text: str, field: str) -> str:
    if not is_id(text):
        raise bad_field(field, ID_RULE)
    return text


def _time(request: Any, field: str) -> datetime:
    stamp: Timestamp = getattr(request, field)
    if not request.HasField(field):
        raise bad_field(field, "is missing")
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(FieldViolation(field, "is not a time between the years 1 and 9999")) from None


def _message(assignment: Assignment) -> pb.MeterAssignment:
    return pb.MeterAssignment(**assignment._asdict())
