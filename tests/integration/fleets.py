"""Small random fleets, and the definitions of performance worked out on them reading by reading."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from wattstream.api.analytics.v1 import analytics_pb2 as pb

VEHICLES = ("V1", "V2", "V3")
METERS = ("M1", "M2")
T0 = datetime(2026, 2, 10, 22, 59, tzinfo=UTC)  # the window may cross an hour, a day and so a partition


class VehicleReading(NamedTuple):
    vehicle: str
    at: datetime
    meter: str | None
    dc: float
    soc: float
    temp: float


class MeterReading(NamedTuple):
    meter: str
    at: datetime
    ac: float


class Assignment(NamedTuple):
    vehicle: str
    meter: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True)
class Fleet:
    readings: list[VehicleReading]
    meter_readings: list[MeterReading]
    assignments: list[Assignment]
    start: datetime
    end: datetime


# Few minutes, around whole hours, so that devices meet in them; several instants a minute.
instants = st.builds(
    lambda minute, second: T0 + timedelta(minutes=minute, seconds=second),
    st.sampled_from([0, 1, 60, 61]),
    st.sampled_from([0, 15, 59.999999]),
)
numbers = st.floats(0, 100, allow_subnormal=False)


def each_once(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Readings of one device each at an instant."""
    return st.lists(elements, min_size=6, max_size=30, unique_by=lambda reading: reading[:2])


@st.composite
def assignments(draw: st.DrawFn) -> list[Assignment]:
    """At most one meter at a time a vehicle; some ended, some made anew at once, some open."""
    drawn = []
    for vehicle in VEHICLES:
        cuts = sorted(draw(st.sets(instants, max_size=4)))
        for since, until in pairwise([*cuts, None]):
            if meter := draw(st.sampled_from([None, *METERS])):
                drawn.append(Assignment(vehicle, meter, since, until))
    return drawn


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    readings = draw(
        each_once(
            st.builds(
                VehicleReading,
                st.sampled_from(VEHICLES),
                instants,
                st.sampled_from([None, *METERS]),
                numbers,
                numbers,
                numbers,
            )
        )
    )
    meter_readings = draw(each_once(st.builds(MeterReading, st.sampled_from(METERS), instants, numbers)))
    start = draw(instants)
    end = start + timedelta(minutes=draw(st.sampled_from([1, 2, 61, 62])))
    return Fleet(readings, meter_readings, draw(assignments()), start, end)


def minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def owner(fleet: Fleet, reading: VehicleReading) -> str | None:
    """The meter that a reading belongs to."""
    for a in fleet.assignments:
        held = a.vehicle == reading.vehicle and a.since <= reading.at and (a.until is None or reading.at < a.until)
        if reading.meter is None and held:
            return a.meter
    return reading.meter


def exclusive(fleet: Fleet, vehicle: str) -> dict[str, Any] | None:
    """EXCLUSIVE_MINUTES, by definition."""
    start, end = minute(fleet.start), minute(fleet.end)
    mine = [r for r in fleet.readings if r.vehicle == vehicle and start <= r.at < end]
    others = {(owner(fleet, r), minute(r.at)) for r in fleet.readings if r.vehicle != vehicle}
    metered = {(m.meter, minute(m.at)) for m in fleet.meter_readings}
    pairs = {(owner(fleet, r), minute(r.at)) for r in mine if owner(fleet, r)}
    kept = (pairs - others) & metered
    kept_readings = [r for r in mine if (owner(fleet, r), minute(r.at)) in kept]
    if not kept:
        return None
    return {
        **sums((m.ac for m in fleet.meter_readings if (m.meter, minute(m.at)) in kept), kept_readings),
        "readings": len(mine),
        "readings_without_meter": sum(owner(fleet, r) is None for r in mine),
        "minutes_kept": len(kept),
        "minutes_shared": len(pairs & others),
        "minutes_without_meter_data": len(pairs - others - metered),
        "meter_ids": sorted({meter for meter, _ in kept}),
    }


def assigned(fleet: Fleet, vehicle: str) -> dict[str, Any] | None:
    """ASSIGNED_METER, by definition."""
    start, end = minute(fleet.start), minute(fleet.end)
    mine = [r for r in fleet.readings if r.vehicle == vehicle and start <= r.at < end]
    metered = [
        m
        for m in fleet.meter_readings
        for a in fleet.assignments
        if (a.vehicle, a.meter) == (vehicle, m.meter) and start <= m.at < end
        if a.since <= m.at and (a.until is None or m.at < a.until)
    ]
    if not mine and not metered:
        return None
    return {
        **sums((m.ac for m in metered), mine),
        "readings": len(mine),
        "readings_without_meter": sum(owner(fleet, r) is None for r in mine),
        "minutes_kept": len({(m.meter, minute(m.at)) for m in metered}),
        "minutes_shared": 0,
        "minutes_without_meter_data": 0,
        "meter_ids": sorted({m.meter for m in metered}),
    }


def sums(ac: Iterable[float], kept: list[VehicleReading]) -> dict[str, Any]:
    kwh_ac, kwh_dc, n = sum(ac), sum(r.dc for r in kept), len(kept)
    return {
        "kwh_consumed_ac": kwh_ac,
        "kwh_delivered_dc": kwh_dc,
        "kwh_lost": kwh_ac - kwh_dc,
        "efficiency": kwh_dc / kwh_ac if kwh_ac else None,
        "mean_soc": sum(r.soc for r in kept) / n if n else None,
        "mean_battery_temp": sum(r.temp for r in kept) / n if n else None,
        "readings_kept": n,
    }


EXACT = frozenset({"readings", "readings_without_meter", "minutes_kept", "minutes_shared"}) | {
    "minutes_without_meter_data",
    "meter_ids",
    "readings_kept",
}


def check(answer: pb.VehiclePerformance | None, expected: dict[str, Any] | None) -> None:
    assert (answer is None) == (expected is None)
    if answer is None or expected is None:
        return
    for name, value in expected.items():
        if value is None:
            assert not answer.HasField(name), name
        elif name in EXACT:
            assert (list(answer.meter_ids) if name == "meter_ids" else getattr(answer, name)) == value, name
        else:
            assert getattr(answer, name) == pytest.approx(value, rel=1e-9, abs=1e-9), name
