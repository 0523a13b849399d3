"""A plausible fleet, minute by minute: vehicles that drive, park and charge, and the meters that they charge behind.

Everything follows from the seed and the start, so two runs are the same to the byte, however fast they are played. A
reading closes a minute; each device reports at a second of its own. In every minute a meter's AC energy covers the DC
energy of all vehicles behind it, and the losses.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading, VehicleReading

_MINUTE_S = 60
_HOUR_MINUTES = 60
_AMBIENT = 15.0  # degrees Celsius
_VOLTAGE = 400.0
_STANDBY_KW = 0.03
_TAPER_FROM_SOC = 80.0


@dataclass
class Meter:
    """A charger behind one meter: what it can deliver (DC kW), and how many vehicles it serves at once.

    A degrading one loses `degradation` of its efficiency now, and a percent more each hour.
    """

    meter_id: str
    second: int
    rated_kw: float
    plugs: int
    peak_efficiency: float
    degradation: float
    noise: random.Random
    plugged: int = 0

    def efficiency(self, load: float, minutes: int) -> float:
        """Return DC/AC at a load of 0 to 1 of the rated power, `minutes` after the start."""
        fresh = self.peak_efficiency - 0.03 * (1.0 - min(1.0, load)) ** 2
        if not self.degradation:
            return fresh
        return fresh - min(0.25, self.degradation + 0.01 * minutes / _HOUR_MINUTES)


@dataclass
class Vehicle:
    """A vehicle: its battery, and what it is doing: driving, parked, or charging behind a meter until `target_soc`."""

    vehicle_id: str
    second: int
    capacity_kwh: float
    accepts_kw: float
    soc: float
    battery_temp: float
    chance: random.Random
    driving_minutes: int = 0
    parked_minutes: int = 0
    meter: Meter | None = None
    target_soc: float = 100.0

    def wish_kw(self) -> float:
        """Return the power that the battery takes: constant up to 80 %, then falling to a tenth when it is full."""
        fullness = max(0.0, self.soc - _TAPER_FROM_SOC) / (100.0 - _TAPER_FROM_SOC)
        return self.accepts_kw * (1.0 - 0.9 * fullness)


def readings(*, vehicles: int, meters: int, seed: int, start: datetime) -> Iterator[Reading]:
    """Yield the readings of a fleet in the order of their time, without an end, from the minute of `start` on.

    `start` must carry an offset. There is one reading a minute of each device.
    """
    fleet_meters = [_meter(seed, index) for index in range(meters)]
    fleet_vehicles = [_vehicle(seed, index) for index in range(vehicles)]
    for vehicle in fleet_vehicles:
        _begin(vehicle, fleet_meters)
    began_s = int((start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(minutes=1)) * _MINUTE_S
    minute = 0
    while vehicles or meters:
        yield from _minute(fleet_vehicles, fleet_meters, minute, began_s + minute * _MINUTE_S)
        minute += 1


def _minute(vehicles: list[Vehicle], meters: list[Meter], minute: int, began_s: int) -> list[Reading]:
    dc_kwh = {meter.meter_id: 0.0 for meter in meters}
    report: list[tuple[int, Reading]] = []
    for vehicle in vehicles:
        meter, kwh = _live(vehicle, meters)
        if meter is not None:
            dc_kwh[meter.meter_id] += kwh
        report.append((vehicle.second, _vehicle_reading(vehicle, meter, kwh, began_s)))
    for meter in meters:
        report.append((meter.second, _meter_reading(meter, dc_kwh[meter.meter_id], minute, began_s)))
    report.sort(key=lambda one: one[0])
    return [reading for _, reading in report]


def _live(vehicle: Vehicle, meters: list[Meter]) -> tuple[Meter | None, float]:
    """Let a vehicle live for a minute; return the meter that it charged behind, and with how many kWh."""
    if vehicle.meter is None:
        _cool(vehicle)
        if vehicle.driving_minutes > 0:
            _drive(vehicle)
        elif vehicle.parked_minutes > 0:
            vehicle.parked_minutes -= 1
        elif vehicle.soc < 60.0:
            _plug_in(vehicle, meters)
        else:
            vehicle.driving_minutes = vehicle.chance.randint(20, 90)
        return None, 0.0
    meter = vehicle.meter
    power_kw = min(vehicle.wish_kw(), meter.rated_kw / meter.plugged)
    room_kwh = (vehicle.target_soc - vehicle.soc) / 100.0 * vehicle.capacity_kwh
    kwh = _rounded(min(power_kw * vehicle.chance.uniform(0.98, 1.0) / 60.0, room_kwh), 6)
    vehicle.soc = min(100.0, vehicle.soc + kwh / vehicle.capacity_kwh * 100.0)
    vehicle.battery_temp += 1.2 * power_kw / vehicle.capacity_kwh
    _cool(vehicle)
    if vehicle.target_soc - vehicle.soc < 0.05:
        _unplug(vehicle)
    return meter, kwh


def _begin(vehicle: Vehicle, meters: list[Meter]) -> None:
    """Put a vehicle somewhere in its day, so that the first minute is like any other."""
    draw = vehicle.chance.random()
    if draw < 0.6:
        _plug_in(vehicle, meters)
    elif draw < 0.8:
        vehicle.driving_minutes = vehicle.chance.randint(1, 60)
    else:
        vehicle.parked_minutes = vehicle.chance.randint(1, 240)


def _drive(vehicle: Vehicle) -> None:
    vehicle.driving_minutes -= 1
    vehicle.soc -= vehicle.chance.uniform(0.15, 0.35)
    if vehicle.soc < 12.0:
        vehicle.driving_minutes = 0
    if vehicle.driving_minutes == 0 and vehicle.soc >= 12.0:
        vehicle.parked_minutes = vehicle.chance.randint(0, 60)


def _plug_in(vehicle: Vehicle, meters: list[Meter]) -> None:
    """Take a free plug, or wait where there is none."""
    free = [meter for meter in meters if meter.plugged < meter.plugs]
    if not free:
        vehicle.parked_minutes = vehicle.chance.randint(5, 20)
        return
    vehicle.meter = vehicle.chance.choice(free)
    vehicle.meter.plugged += 1
    vehicle.target_soc = max(vehicle.soc + 1.0, vehicle.chance.uniform(75.0, 99.0))


def _unplug(vehicle: Vehicle) -> None:
    assert vehicle.meter is not None
    vehicle.meter.plugged -= 1
    vehicle.meter = None
    vehicle.parked_minutes = vehicle.chance.randint(0, 120)


def _cool(vehicle: Vehicle) -> None:
    vehicle.battery_temp -= 0.02 * (vehicle.battery_temp - _AMBIENT)


def _meter(seed: int, index: int) -> Meter:
    """Return a fresh meter: every third has two plugs, every twelfth degrades, from the second on."""
    chance = random.Random(f"{seed}/meter/{index}")  # noqa: S311 - a simulation
    return Meter(
        meter_id=f"sim{seed}-meter-{index + 1:04}",
        second=chance.randrange(_MINUTE_S),
        rated_kw=chance.choice((11.0, 22.0, 50.0, 50.0, 100.0, 150.0)),
        plugs=2 if index % 3 == 0 else 1,
        peak_efficiency=chance.uniform(0.93, 0.95),
        degradation=chance.uniform(0.08, 0.12) if index % 12 == 1 else 0.0,
        noise=chance,
    )


def _vehicle(seed: int, index: int) -> Vehicle:
    chance = random.Random(f"{seed}/vehicle/{index}")  # noqa: S311 - a simulation
    capacity_kwh = chance.choice((40.0, 52.0, 64.0, 77.0, 100.0))
    return Vehicle(
        vehicle_id=f"sim{seed}-vehicle-{index + 1:04}",
        second=chance.randrange(_MINUTE_S),
        capacity_kwh=capacity_kwh,
        accepts_kw=capacity_kwh * chance.uniform(1.2, 2.0),
        soc=chance.uniform(15.0, 75.0),
        battery_temp=_AMBIENT + chance.uniform(0.0, 10.0),
        chance=chance,
    )


def _vehicle_reading(vehicle: Vehicle, meter: Meter | None, kwh: float, began_s: int) -> Reading:
    reading = VehicleReading(
        vehicle_id=vehicle.vehicle_id,
        meter_id=meter.meter_id if meter else "",
        recorded_at=Timestamp(seconds=began_s + vehicle.second),
        soc=_rounded(vehicle.soc, 3),
        kwh_delivered_dc=kwh,
        battery_temp=_rounded(vehicle.battery_temp, 2),
    )
    return Reading(vehicle=reading)


def _meter_reading(meter: Meter, dc_kwh: float, minute: int, began_s: int) -> Reading:
    load = dc_kwh * 60.0 / meter.rated_kw
    kwh = dc_kwh / meter.efficiency(load, minute) + _STANDBY_KW / 60.0
    reading = MeterReading(
        meter_id=meter.meter_id,
        recorded_at=Timestamp(seconds=began_s + meter.second),
        kwh_consumed_ac=_rounded(kwh, 6),
        voltage=_rounded(_VOLTAGE - 4.0 * load + meter.noise.gauss(0.0, 1.0), 1),
    )
    return Reading(meter=reading)


def _rounded(value: float, digits: int) -> float:
    return round(max(0.0, value), digits)
