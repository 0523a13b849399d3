"""The flat reading, without nesting, made into one of the two kinds. Pure."""

from ingest_service.readings import METER, VEHICLE
from wattstream.api.ingest.v1 import ingest_pb2
from wattstream.api.telemetry.v1 import telemetry_pb2
from wattstream.errors import FieldViolation, InvalidRequestError


def unflatten(flat: ingest_pb2.IngestTelemetryRequest) -> telemetry_pb2.Reading:
    """Return the reading: a vehicle's if vehicle_id is set, else a meter's.

    Raises:
        InvalidRequestError: neither id is set, or a field is that the other kind of device measures.
    """
    if flat.HasField("vehicle_id"):
        kind, other, ids = VEHICLE, METER, ["vehicle_id", "meter_id"]
    elif flat.HasField("meter_id"):
        kind, other, ids = METER, VEHICLE, ["meter_id"]
    else:
        message = "is missing; set it for a vehicle's reading, or meter_id alone for a meter's"
        raise InvalidRequestError(FieldViolation("vehicle_id", message))
    contradictory = [name for name in other.values if flat.HasField(name)]  # type: ignore[arg-type]
    if contradictory:
        message = f"contradicts {ids[0]}: it is measured by a {other.name}, and this is the reading of a {kind.name}"
        raise InvalidRequestError(*(FieldViolation(name, message) for name in contradictory))
    reading = telemetry_pb2.Reading()
    part = reading.meter if kind is METER else reading.vehicle
    part.SetInParent()
    for name in (*ids, *kind.values):
        if flat.HasField(name):  # type: ignore[arg-type]
            setattr(part, name, getattr(flat, name))
    if flat.HasField("recorded_at"):
        part.recorded_at.CopyFrom(flat.recorded_at)
    return reading
