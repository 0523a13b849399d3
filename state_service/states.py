"""What a state is, and the form that it has in Redis.

Times are microseconds since 1970, UTC. A device is named by its key, `vehicle:V1` or `meter:M1`: a kind has no colon,
so a key is unambiguous even where the id has one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What kind of device a state is of."""

    VEHICLE = "vehicle"
    METER = "meter"


@dataclass(frozen=True, slots=True)
class VehicleState:
    """The newest reading of a vehicle: meter_id may be empty, soc in percent, energy in kWh, temperature in degC."""

    key: str
    recorded_at_us: int
    received_at_us: int
    meter_id: str
    soc: float
    kwh_delivered_dc: float
    battery_temp: float


@dataclass(frozen=True, slots=True)
class MeterState:
    """The newest reading of a meter: energy in kWh, voltage in volts."""

    key: str
    recorded_at_us: int
    received_at_us: int
    kwh_consumed_ac: float
    voltage: float


State = VehicleState | MeterState


def key_of(kind: Kind, device_id: str) -> str:
    """Return the key of a device."""
    return f"{kind.value}:{device_id}"


def id_of(key: str) -> str:
    """Return the id in a device's key."""
    return key.partition(":")[2]


def to_fields(state: State) -> dict[str, str]:
    """Return the state as the fields of its hash, recorded_at_us first; a float's text is exactly that float."""
    fields = {"recorded_at_us": str(state.recorded_at_us), "received_at_us": str(state.received_at_us)}
    if isinstance(state, MeterState):
        return fields | {"kwh_consumed_ac": repr(state.kwh_consumed_ac), "voltage": repr(state.voltage)}
    return fields | {
        "meter_id": state.meter_id,
        "soc": repr(state.soc),
        "kwh_delivered_dc": repr(state.kwh_delivered_dc),
        "battery_temp": repr(state.battery_temp),
    }


def from_fields(key: str, fields: Mapping[str, str]) -> State:
    """Return the state that `to_fields` made `fields` of.

    Raises:
        KeyError: a field is missing.
    """
    times = int(fields["recorded_at_us"]), int(fields["received_at_us"])
    if key.startswith(Kind.METER.value + ":"):
        return MeterState(key, *times, float(fields["kwh_consumed_ac"]), float(fields["voltage"]))
    values = float(fields["soc"]), float(fields["kwh_delivered_dc"]), float(fields["battery_temp"])
    return VehicleState(key, *times, fields["meter_id"], *values)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which devices are meant: those of `keys`, or, where there are none, all of `kinds`."""

    kinds: tuple[Kind, ...] = tuple(Kind)
    keys: frozenset[str] = frozenset()

    def __contains__(self, key: str) -> bool:
        return key in self.keys if self.keys else key.partition(":")[0] in self.kinds
