"""Between the messages of the contract and the states of this service; what cannot be used is refused here."""

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from state_service.states import Kind, MeterState, Selection, State, VehicleState, id_of, key_of
from state_service.watch import Update
from wattstream.api.state.v1 import state_pb2 as pb
from wattstream.api.telemetry.v1 import telemetry_pb2
from wattstream.errors import bad_field
from wattstream.ids import ID_RULE, is_id

MAX_READINGS = 10_000
MAX_DEVICES = 1_000
DEFAULT_PAGE = 100

_LAST_US = 2**53 - 1  # in the year 2255: the greatest that Lua compares exactly
_METER_VALUES = ("kwh_consumed_ac", "voltage")
_VEHICLE_VALUES = ("soc", "kwh_delivered_dc", "battery_temp")
_KINDS = {
    telemetry_pb2.DEVICE_KIND_UNSPECIFIED: tuple(Kind),
    telemetry_pb2.DEVICE_KIND_METER: (Kind.METER,),
    telemetry_pb2.DEVICE_KIND_VEHICLE: (Kind.VEHICLE,),
}

IsOnline = Callable[[State], bool]


def to_states(readings: Sequence[pb.ReceivedReading]) -> list[State]:
    """Return the states that readings would make.

    Raises:
        InvalidRequestError: there are too many, or one misses what is required; the field is named.
    """
    if len(readings) > MAX_READINGS:
        raise bad_field("readings", f"must be at most {MAX_READINGS:,}; got {len(readings):,}")
    return [_to_state(received, f"readings[{i}]") for i, received in enumerate(readings)]


def _to_state(received: pb.ReceivedReading, path: str) -> State:
    received_at_us = _to_us(received, "received_at", path)
    kind = received.reading.WhichOneof("reading")
    path = f"{path}.reading"
    if kind is None:
        raise bad_field(path, "must have a meter or a vehicle")
    if kind == "meter":
        meter = received.reading.meter
        path = f"{path}.meter"
        recorded_at_us = _to_us(meter, "recorded_at", path)
        _require(meter, _METER_VALUES, path)
        key = to_key(Kind.METER, meter.meter_id, f"{path}.meter_id")
        return MeterState(key, recorded_at_us, received_at_us, meter.kwh_consumed_ac, meter.voltage)
    vehicle = received.reading.vehicle
    path = f"{path}.vehicle"
    recorded_at_us = _to_us(vehicle, "recorded_at", path)
    _require(vehicle, _VEHICLE_VALUES, path)
    key = to_key(Kind.VEHICLE, vehicle.vehicle_id, f"{path}.vehicle_id")
    if vehicle.meter_id:
        _check_id(vehicle.meter_id, f"{path}.meter_id")
    values = vehicle.soc, vehicle.kwh_delivered_dc, vehicle.battery_temp
    return VehicleState(key, recorded_at_us, received_at_us, vehicle.meter_id, *values)


def to_key(kind: Kind, device_id: str, field: str) -> str:
    """Return the key of the device whose id the request has in `field`.

    Raises:
        InvalidRequestError: it is no id.
    """
    _check_id(device_id, field)
    return key_of(kind, device_id)


def to_keys(kind: Kind, device_ids: Sequence[str], field: str) -> list[str]:
    """Return the keys of 1 to 1,000 devices, each once, in the order given.

    Raises:
        InvalidRequestError: there is none, there are too many, or one is no id.
    """
    if not 1 <= len(device_ids) <= MAX_DEVICES:
        raise bad_field(field, f"must be 1 to {MAX_DEVICES:,} ids; got {len(device_ids):,}")
    return list(dict.fromkeys(to_key(kind, device_id, f"{field}[{i}]") for i, device_id in enumerate(device_ids)))


def to_selection(request: pb.WatchStatesRequest) -> Selection:
    """Return which devices are to be watched.

    Raises:
        InvalidRequestError: a kind is unknown or stands beside ids, or there are too many ids, or one is none.
    """
    if request.kind not in _KINDS:
        raise bad_field("kind", f"must be a DeviceKind; got {request.kind}")
    given = {Kind.VEHICLE: request.vehicle_ids, Kind.METER: request.meter_ids}
    keys = [key for kind, ids in given.items() if ids for key in to_keys(kind, ids, f"{kind.value}_ids")]
    if keys and request.kind:
        raise bad_field("kind", "must not be given beside vehicle_ids or meter_ids")
    return Selection(_KINDS[request.kind], frozenset(keys))


def from_state(state: State, online: bool) -> Any:
    """Return the VehicleState or MeterState message that tells of a state."""
    times = {"recorded_at": _from_us(state.recorded_at_us), "received_at": _from_us(state.received_at_us)}
    if isinstance(state, MeterState):
        return pb.MeterState(
            meter_id=id_of(state.key),
            kwh_consumed_ac=state.kwh_consumed_ac,
            voltage=state.voltage,
            online=online,
            **times,
        )
    return pb.VehicleState(
        vehicle_id=id_of(state.key),
        meter_id=state.meter_id,
        soc=state.soc,
        kwh_delivered_dc=state.kwh_delivered_dc,
        battery_temp=state.battery_temp,
        online=online,
        **times,
    )


def from_update(update: Update, is_online: IsOnline) -> pb.WatchStatesResponse:
    """Return the message that tells a watcher of an update."""
    states = [
        pb.DeviceState(meter=message) if isinstance(message, pb.MeterState) else pb.DeviceState(vehicle=message)
        for message in (from_state(state, is_online(state)) for state in update.states)
    ]
    return pb.WatchStatesResponse(
        states=states, snapshot=update.snapshot, snapshot_complete=update.complete, skipped=update.skipped
    )


def _check_id(device_id: str, field: str) -> None:
    if not is_id(device_id):
        raise bad_field(field, ID_RULE)


def _require(message: Message, fields: Sequence[str], path: str) -> None:
    for field in fields:
        if not message.HasField(field):
            raise bad_field(f"{path}.{field}", "is required")


def _to_us(message: Message, field: str, path: str) -> int:
    if not message.HasField(field):
        raise bad_field(f"{path}.{field}", "is required")
    stamp: Timestamp = getattr(message, field)
    micros = stamp.seconds * 1_000_000 + stamp.nanos // 1_000
    if not 0 <= micros <= _LAST_US:
        raise bad_field(f"{path}.{field}", "must be after 1970 and before 2255")
    return micros


def _from_us(micros: int) -> Timestamp:
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)
