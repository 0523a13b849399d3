"""The simulated fleet: valid, physical, and the same from the same seed."""

import itertools
import math
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.simulator import Vehicle, readings

START = datetime(2026, 1, 1, 12, 30, 17, tzinfo=UTC)
FLEETS = st.fixed_dictionaries(
    {
        "vehicles": st.integers(0, 25),
        "meters": st.integers(0, 15),
        "seed": st.integers(0, 10**6),
        "start": st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    }
)


def play(fleet: dict[str, object], minutes: int) -> list[Reading]:
    count = minutes * (fleet["vehicles"] + fleet["meters"])  # type: ignore[operator]
    return list(itertools.islice(readings(**fleet), count))  # type: ignore[arg-type]


def recorded_s(reading: Reading) -> int:
    return (reading.meter if reading.HasField("meter") else reading.vehicle).recorded_at.seconds


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS)
def test_two_runs_from_the_same_seed_and_start_are_the_same_to_the_byte(fleet: dict[str, object]) -> None:
    first, second = play(fleet, 30), play(fleet, 30)
    assert [r.SerializeToString(deterministic=True) for r in first] == [
        r.SerializeToString(deterministic=True) for r in second
    ]


def test_another_seed_is_another_fleet() -> None:
    one = play({"vehicles": 3, "meters": 2, "seed": 1, "start": START}, 5)
    two = play({"vehicles": 3, "meters": 2, "seed": 2, "start": START}, 5)
    assert {r.vehicle.vehicle_id for r in one}.isdisjoint({r.vehicle.vehicle_id for r in two} - {""})


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS)
def test_every_value_is_one_that_the_service_accepts(fleet: dict[str, object]) -> None:
    for reading in play(fleet, 120):
        if reading.HasField("meter"):
            meter = reading.meter
            assert meter.meter_id
            assert 0 <= meter.kwh_consumed_ac <= 1000
            assert 0 <= meter.voltage <= 2000
        else:
            vehicle = reading.vehicle
            assert vehicle.vehicle_id
            assert 0 <= vehicle.soc <= 100
            assert 0 <= vehicle.kwh_delivered_dc <= 1000
            assert -60 <= vehicle.battery_temp <= 150
            assert all(map(math.isfinite, (vehicle.soc, vehicle.kwh_delivered_dc, vehicle.battery_temp)))


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS)
def test_each_device_reports_once_a_minute_from_the_minute_of_the_start_on(fleet: dict[str, object]) -> None:
    minutes = 15
    first = int(fleet["start"].timestamp()) // 60  # type: ignore[attr-defined]
    reported = defaultdict(list)
    for reading in play(fleet, minutes):
        device = (
            ("meter", reading.meter.meter_id) if reading.HasField("meter") else ("vehicle", reading.vehicle.vehicle_id)
        )
        reported[device].append(recorded_s(reading))
    assert len(reported) == fleet["vehicles"] + fleet["meters"]  # type: ignore[operator]
    for times in reported.values():
        assert [at // 60 for at in times] == list(range(first, first + minutes))
        assert len({at % 60 for at in times}) == 1


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS)
def test_readings_come_in_the_order_of_their_time(fleet: dict[str, object]) -> None:
    times = [recorded_s(reading) for reading in play(fleet, 15)]
    assert times == sorted(times)


@settings(max_examples=40, deadline=None)
@given(fleet=FLEETS)
def test_a_meters_energy_covers_what_its_vehicles_got_in_every_minute(fleet: dict[str, object]) -> None:
    ac: dict[tuple[str, int], float] = {}
    dc: dict[tuple[str, int], float] = defaultdict(float)
    for reading in play(fleet, 120):
        minute = recorded_s(reading) // 60
        if reading.HasField("meter"):
            ac[reading.meter.meter_id, minute] = reading.meter.kwh_consumed_ac
        elif reading.vehicle.meter_id:
            dc[reading.vehicle.meter_id, minute] += reading.vehicle.kwh_delivered_dc
        else:
            assert reading.vehicle.kwh_delivered_dc == 0
    for pair, kwh in dc.items():
        assert ac[pair] > kwh


def test_a_day_of_a_fleet_shows_all_that_a_fleet_does() -> None:
    day = play({"vehicles": 100, "meters": 60, "seed": 1, "start": START}, 24 * 60)
    ac: dict[str, float] = defaultdict(float)
    dc: dict[str, float] = defaultdict(float)
    behind: dict[tuple[str, int], set[str]] = defaultdict(set)
    soc: dict[str, list[float]] = defaultdict(list)
    temperatures_charging, temperatures_away = [], []
    for reading in day:
        if reading.HasField("meter"):
            ac[reading.meter.meter_id] += reading.meter.kwh_consumed_ac
            continue
        vehicle = reading.vehicle
        soc[vehicle.vehicle_id].append(vehicle.soc)
        dc[vehicle.meter_id] += vehicle.kwh_delivered_dc
        if vehicle.meter_id:
            behind[vehicle.meter_id, recorded_s(reading) // 60].add(vehicle.vehicle_id)
        (temperatures_charging if vehicle.meter_id else temperatures_away).append(vehicle.battery_temp)

    efficiency = sorted(dc[meter] / ac[meter] for meter in ac)
    assert sum(value < 0.85 for value in efficiency) == 5
    assert all(0.90 < value < 0.96 for value in efficiency[5:])
    shared = sum(len(vehicles) > 1 for vehicles in behind.values())
    assert 0.02 < shared / len(behind) < 0.5
    assert all(max(one) - min(one) > 5 for one in soc.values())
    assert sum(temperatures_charging) / len(temperatures_charging) > sum(temperatures_away) / len(temperatures_away)


def test_a_battery_takes_full_power_up_to_80_percent_and_a_tenth_when_it_is_full() -> None:
    vehicle = Vehicle("V1", 0, 50.0, accepts_kw=100.0, soc=0.0, battery_temp=20.0, chance=random.Random(1))
    wishes = []
    for vehicle.soc in (10.0, 80.0, 85.0, 90.0, 100.0):
        wishes.append(round(vehicle.wish_kw(), 6))
    assert wishes == [100.0, 100.0, 77.5, 55.0, 10.0]


def test_a_degrading_meter_gets_worse() -> None:
    fleet = {"vehicles": 40, "meters": 12, "seed": 3, "start": START}
    hours = 12
    per_hour: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    began = START.replace(second=0)
    for reading in play(fleet, hours * 60):
        hour = (datetime.fromtimestamp(recorded_s(reading), UTC) - began) // timedelta(hours=1)
        if reading.meter.meter_id == "sim3-meter-0002":
            per_hour[hour][0] += reading.meter.kwh_consumed_ac
        elif reading.vehicle.meter_id == "sim3-meter-0002":
            per_hour[hour][1] += reading.vehicle.kwh_delivered_dc
    busy = [dc / ac for _, (ac, dc) in sorted(per_hour.items()) if dc > 3]
    assert len(busy) > 2
    assert busy[-1] < busy[0] < 0.9
