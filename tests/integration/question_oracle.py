"""What questions about series, the fleet and meters mean, worked out reading by reading."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from analytics_service.fleet import BINS
from analytics_service.performance import Performance
from tests.integration import fleets
from tests.integration.fleets import METERS, T0, VEHICLES, Fleet, MeterReading, VehicleReading, minute, owner

# Hours apart, for gaps; minutes apart around what ends a stay.
instants = st.builds(
    lambda minute, second: T0 + timedelta(minutes=minute, seconds=second),
    st.sampled_from([0, 1, 2, 15, 16, 17, 61, 62, 76, 78, 241, 1321, 1500]),
    st.sampled_from([0, 15, 59.999999]),
)
# Sums of these are exact in any order, so that ranks and bins are what they are.
numbers = st.one_of(st.just(0), st.integers(0, 640), st.integers(0, 640)).map(lambda number: number / 64)

STAY = (
    *("vehicle_id", "start", "until", "stay_minutes", "minutes_shared"),
    *("stay_kwh_consumed_ac", "kwh_delivered_dc", "kwh_reported_dc", "mean_soc"),
)


@st.composite
def large_fleets(draw: st.DrawFn) -> Fleet:
    """Fleets of which something is kept, shared and unexplained, over a day."""
    vehicle = st.builds(
        VehicleReading,
        st.sampled_from(VEHICLES),
        instants,
        st.sampled_from([None, *METERS, *METERS]),
        numbers,
        numbers,
        numbers,
    )
    meter = st.builds(MeterReading, st.sampled_from(METERS), instants, numbers)
    readings = draw(st.lists(vehicle, min_size=8, max_size=30, unique_by=lambda reading: reading[:2]))
    metered = draw(st.lists(meter, min_size=8, max_size=40, unique_by=lambda reading: reading[:2]))
    return Fleet(readings, metered, draw(fleets.assignments()), T0, T0)


def hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def performance(
    fleet: Fleet, vehicles: Iterable[str], start: datetime, end: datetime, meters: Iterable[str] | None = None
) -> Performance:
    """EXCLUSIVE_MINUTES of some vehicles together, at some meters or anywhere."""
    total = Performance()
    for vehicle in vehicles:
        total = _plus(total, _one(fleet, vehicle, start, end, meters))
    return replace(total, meter_ids=tuple(sorted(total.meter_ids)))


def _one(fleet: Fleet, vehicle: str, start: datetime, end: datetime, meters: Iterable[str] | None) -> Performance:
    mine = [(owner(fleet, r), r) for r in fleet.readings if r.vehicle == vehicle and start <= r.at < end]
    mine = [(meter, r) for meter, r in mine if meters is None or meter in meters]
    pairs = {(meter, minute(r.at)) for meter, r in mine if meter}
    others = {(owner(fleet, r), minute(r.at)) for r in fleet.readings if r.vehicle != vehicle}
    metered = {(m.meter, minute(m.at)) for m in fleet.meter_readings}
    kept = (pairs - others) & metered
    readings = [r for meter, r in mine if (meter, minute(r.at)) in kept]
    return Performance(
        readings=len(mine),
        readings_without_meter=sum(meter is None for meter, _ in mine),
        readings_kept=len(readings),
        minutes_kept=len(kept),
        minutes_shared=len(pairs & others),
        minutes_without_meter_data=len(pairs - others - metered),
        kwh_consumed_ac=sum(m.ac for m in fleet.meter_readings if (m.meter, minute(m.at)) in kept),
        kwh_delivered_dc=sum(r.dc for r in readings),
        sum_soc=sum(r.soc for r in readings),
        sum_battery_temp=sum(r.temp for r in readings),
        meter_ids=tuple({meter for meter, _ in kept if meter}),
    )


def _plus(one: Performance, other: Performance) -> Performance:
    added = {name: getattr(one, name) + getattr(other, name) for name in vars(one) if name != "meter_ids"}
    return Performance(**added, meter_ids=tuple({*one.meter_ids, *other.meter_ids}))


def assigned(fleet: Fleet, vehicle: str, start: datetime, end: datetime) -> Performance:
    """ASSIGNED_METER of a vehicle."""
    found = fleets.assigned(replace(fleet, start=start, end=end), vehicle)
    if found is None:
        return Performance()
    mine = [r for r in fleet.readings if r.vehicle == vehicle and start <= r.at < end]
    sums = {"sum_soc": sum(r.soc for r in mine), "sum_battery_temp": sum(r.temp for r in mine)}
    names = {name: found[name] for name in vars(Performance()) if name in found}
    return Performance(**{**names, **sums, "meter_ids": tuple(found["meter_ids"])})


def summary(fleet: Fleet, start: datetime, end: datetime) -> dict[str, Any]:
    """What the summary of the fleet is to say; gaps only of a window of up to 7 days."""
    total = performance(fleet, VEHICLES, start, end)
    each = [performance(fleet, [vehicle], start, end) for vehicle in VEHICLES]
    efficiencies = [one.efficiency for one in each if one.efficiency is not None]
    readings = [r for r in fleet.readings if start <= r.at < end]
    metered = [m for m in fleet.meter_readings if start <= m.at < end]
    gaps = _gaps(metered)
    bounds = [float("-inf"), *BINS, float("inf")]
    is_short = end - start <= timedelta(days=7)
    return {
        **{name: getattr(total, name) for name in ("kwh_consumed_ac", "kwh_delivered_dc", "readings_without_meter")},
        **{name: getattr(total, name) for name in ("minutes_kept", "minutes_shared", "minutes_without_meter_data")},
        "kwh_metered_ac": sum(m.ac for m in metered),
        "kwh_reported_dc": sum(r.dc for r in readings),
        "histogram": [sum(least <= one < below for one in efficiencies) for least, below in pairwise(bounds)],
        "vehicles_reporting": len({r.vehicle for r in readings}),
        "vehicles_registered": len(VEHICLES),
        "meters_reporting": len({m.meter for m in metered}),
        "meters_registered": len(METERS),
        "vehicles_above_one": sum(one > 1 for one in efficiencies),
        "meter_gaps": len(gaps) if is_short else None,
        "meter_gap_hours": sum(gaps) if is_short else None,
        "longest_meter_gap_hours": max(gaps, default=0) if is_short else None,
    }


def _gaps(metered: list[MeterReading]) -> list[int]:
    found = []
    for meter in METERS:
        hours = sorted({hour(m.at) for m in metered if m.meter == meter})
        found += [(later - earlier) // timedelta(hours=1) - 1 for earlier, later in pairwise(hours)]
    return [gap for gap in found if gap]


def meter_use(fleet: Fleet, meter: str, start: datetime, end: datetime) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The totals of a meter, and the stays at it."""
    ac: dict[datetime, float] = defaultdict(float)
    for m in fleet.meter_readings:
        if m.meter == meter and start <= m.at < end:
            ac[minute(m.at)] += m.ac
    there = [r for r in fleet.readings if owner(fleet, r) == meter and start <= r.at < end]
    who = defaultdict(set)
    for r in there:
        who[minute(r.at)].add(r.vehicle)
    totals = {
        "kwh_consumed_ac": sum(ac.values()),
        "kwh_exclusive": sum(kwh for at, kwh in ac.items() if len(who.get(at, ())) == 1),
        "kwh_shared": sum(kwh for at, kwh in ac.items() if len(who.get(at, ())) > 1),
        "kwh_unexplained": sum(kwh for at, kwh in ac.items() if at not in who),
        "minutes": len(ac),
        "minutes_without_meter_data": len(set(who) - set(ac)),
    }
    runs = [(vehicle, run) for vehicle in VEHICLES for run in _runs([at for at in who if vehicle in who[at]])]
    stays = [_stay(vehicle, run, [r for r in there if r.vehicle == vehicle], ac, who) for vehicle, run in runs]
    return totals, sorted(stays, key=lambda stay: (stay["start"], stay["vehicle_id"]))


def _runs(minutes: list[datetime]) -> list[list[datetime]]:
    runs: list[list[datetime]] = []
    for at in sorted(minutes):
        pause = at - runs[-1][-1] - timedelta(minutes=1) if runs else None
        if pause is None or pause >= timedelta(minutes=15):
            runs.append([])
        runs[-1].append(at)
    return runs


def _stay(
    vehicle: str, run: list[datetime], mine: list[VehicleReading], ac: dict[datetime, float], who: dict[datetime, Any]
) -> dict[str, Any]:
    alone = {at for at in run if len(who[at]) == 1}
    readings = [r for r in mine if minute(r.at) in run]
    return {
        "vehicle_id": vehicle,
        "start": run[0],
        "until": run[-1] + timedelta(minutes=1),
        "stay_minutes": len(run),
        "minutes_shared": len(run) - len(alone),
        "stay_kwh_consumed_ac": sum(ac[at] for at in alone if at in ac),
        "kwh_delivered_dc": sum(r.dc for r in readings if minute(r.at) in alone and minute(r.at) in ac),
        "kwh_reported_dc": sum(r.dc for r in readings),
        "mean_soc": sum(r.soc for r in readings) / len(readings),
    }
