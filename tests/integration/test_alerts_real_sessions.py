"""What alerts make of real charging sessions, with a charger fault on one of two plugs behind one meter.

Rollups are calculated from the readings by hand. A vehicle has one session, so a pair is a session. The meter serves
both plugs, of which one stays healthy.
"""

import csv
import gzip
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.alert_hours import HOUR, T0, Alert, Fleet, Row, evaluate, open_pool
from wattstream.postgres import Pool

DATA = Path(__file__).parents[3] / "shared" / "data"
READINGS = DATA / "epfl_level3_readings.csv.gz"
SESSIONS = DATA / "epfl_level3_sessions.csv"
pytestmark = pytest.mark.skipif(
    not READINGS.exists(), reason="the readings of the real sessions are not on this machine"
)

FAULT = datetime(2023, 5, 1, tzinfo=UTC)
LEAST_MINUTES = 15


@pytest.fixture(scope="module")
def rollups() -> list[Row]:
    """Return what each vehicle's exclusive minutes of each hour add up to, in order of time."""
    meter: dict[datetime, float] = defaultdict(float)
    vehicles: dict[datetime, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    with gzip.open(READINGS, "rt", newline="") as file:
        for line in csv.DictReader(file):
            assert line["meter_id"] == "station-1"
            minute = datetime.fromisoformat(line["timestamp"]).replace(second=0, microsecond=0)
            if line["kind"] == "meter":
                meter[minute] += float(line["kwh"])
            else:
                vehicles[minute][line["vehicle_id"]] += float(line["kwh"])
    kept: dict[tuple[datetime, str], list[tuple[float, float]]] = defaultdict(list)
    for minute, behind in vehicles.items():
        if len(behind) == 1 and minute in meter:
            [(vehicle, dc)] = behind.items()
            kept[minute.replace(minute=0), vehicle].append((meter[minute], dc))
    return [
        Row(vehicle, "station-1", hour, len(minutes), sum(ac for ac, _ in minutes), sum(dc for _, dc in minutes))
        for (hour, vehicle), minutes in sorted(kept.items())
    ]


@pytest.fixture(scope="module")
def faulty() -> set[str]:
    """Return the vehicles whose session is at the faulty plug after the fault began."""
    with SESSIONS.open(newline="") as file:
        return {
            f"ev-{line['session']}"
            for line in csv.DictReader(file)
            if line["plug"] == "CCS2" and datetime.fromisoformat(line["arrival"]).replace(tzinfo=UTC) >= FAULT
        }


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database) as opened:
        yield opened


@pytest.fixture
async def fleet(database: str, pool: Pool, rollups: list[Row]) -> Fleet:
    """Return the fleet after all its sessions were looked at together."""
    fleet = Fleet(database)
    fleet.store(rollups)
    await evaluate(pool)
    return fleet


def began(alert: Alert) -> datetime:
    return T0 + alert.since * HOUR


async def test_the_fault_is_found_at_once_and_nothing_before_it(
    fleet: Fleet, rollups: list[Row], faulty: set[str]
) -> None:
    alerts = fleet.alerts()
    minutes: dict[str, int] = defaultdict(int)
    for row in rollups:
        minutes[row.vehicle] += row.minutes
    long_enough = {vehicle for vehicle in faulty if minutes[vehicle] >= LEAST_MINUTES}
    pairs = [alert for alert in alerts if alert.vehicle and alert.meter]
    found = {alert.vehicle for alert in pairs}
    first_low = min(row.start for row in rollups if row.vehicle in faulty)
    right = sum(alert.vehicle in faulty for alert in pairs)
    about_meter = [alert for alert in alerts if not alert.vehicle]
    delay = min(map(began, pairs)) - FAULT
    print(
        f"\npairs: {len(pairs)} alerts, precision {right}/{len(pairs)};"
        f" recall {len(found & long_enough)}/{len(long_enough)} of {len(faulty)} faulty sessions;"
        f" delay from {FAULT:%Y-%m-%d %H:%M} {delay}, from the first faulty session's hour"
        f" {min(map(began, pairs)) - first_low}"
        f"\nvehicles: {len([a for a in alerts if not a.meter])} alerts"
        f"\nmeter: {len(about_meter)} alerts, the first {min(map(began, about_meter)) - FAULT} after,"
        f" {sum(a.until - a.since for a in about_meter):.0f} hours low,"
        f" {sum(a.state == 'open' for a in about_meter)} open at the end"
    )
    assert [alert for alert in alerts if began(alert) < FAULT] == []
    assert right == len(pairs) > 100
    assert found >= long_enough
    assert {alert.vehicle for alert in alerts if not alert.meter} == found
    assert min(map(began, pairs)) - first_low <= timedelta(hours=1)
    assert 0 < len(about_meter) < len(pairs) / 5


async def test_hour_by_hour_or_in_any_order_the_alerts_are_the_same(
    fleet: Fleet, pool: Pool, rollups: list[Row]
) -> None:
    expected = fleet.alerts()
    clear = "TRUNCATE efficiency_alerts, vehicle_rollups, efficiency_due"
    hours: dict[datetime, list[Row]] = defaultdict(list)
    for row in rollups:
        hours[row.start].append(row)
    week = [hour for hour in hours if FAULT <= hour < FAULT + timedelta(days=7)]
    before = [row for row in rollups if row.start < FAULT]
    after = [row for row in rollups if row.start >= FAULT + timedelta(days=7)]

    fleet.connection.execute(clear)
    for piece in [before, *(hours[hour] for hour in week), after]:
        fleet.store(piece)
        await evaluate(pool)
    assert fleet.alerts() == expected
    assert fleet.alerts("withdrawn") == []

    fleet.connection.execute(clear)
    shuffled = list(hours)
    random.Random(1).shuffle(shuffled)
    for i in range(0, len(shuffled), 50):
        fleet.store(row for hour in shuffled[i : i + 50] for row in hours[hour])
        await evaluate(pool)
    assert fleet.alerts() == expected
