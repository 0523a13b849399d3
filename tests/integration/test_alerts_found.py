"""Alerts are found in rollups, and revised when these change."""

import random
from collections.abc import AsyncIterator

import pytest

from tests.integration.alert_hours import HOUR, T0, Fleet, Row, evaluate, open_pool, row, spans
from wattstream.postgres import Pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with open_pool(database) as opened:
        yield opened


@pytest.fixture
def fleet(database: str) -> Fleet:
    return Fleet(database)


async def test_a_healthy_fleet_has_no_alerts_and_is_not_due_any_more(fleet: Fleet, pool: Pool) -> None:
    fleet.store(row(f"v{v}", f"m{v % 3}", hour, 0.9) for v in range(9) for hour in range(30))
    assert fleet.due()
    await evaluate(pool)
    assert fleet.due() == set()
    assert fleet.alerts() == []


async def test_a_vehicle_a_meter_and_a_pair_each_have_an_alert_with_their_own_figures(fleet: Fleet, pool: Pool) -> None:
    fleet.store([row("v1", "m1", 0, 0.8), row("v1", "m2", 0, 0.6), row("v2", "m2", 0, 0.7), row("v2", "", 0, 0.1, 0)])
    await evaluate(pool)
    assert fleet.alerts() == [
        ("", "m1", "open", 0, 1, 60, 10, 8, 0.8),
        ("", "m2", "open", 0, 1, 120, 20, 13, 0.65),
        ("v1", "", "open", 0, 1, 120, 20, 14, 0.7),
        ("v1", "m1", "open", 0, 1, 60, 10, 8, 0.8),
        ("v1", "m2", "open", 0, 1, 60, 10, 6, 0.6),
        ("v2", "", "open", 0, 1, 60, 10, 7, 0.7),
        ("v2", "m2", "open", 0, 1, 60, 10, 7, 0.7),
    ]


async def test_an_alert_goes_on_and_closes_and_keeps_its_id(fleet: Fleet, pool: Pool) -> None:
    revisions, closed = [], []
    for hour, efficiency in enumerate([0.93, 0.8, 0.75, 0.7, 0.94, 0.97, 0.97, 0.9]):
        fleet.store([row("v1", "m1", hour, efficiency)])
        await evaluate(pool)
        pair = [stored for stored in fleet.stored() if stored["vehicle_key"] and stored["meter_key"]]
        revisions.append([stored["revision"] for stored in pair])
        closed.append([stored["closed_at"] is not None for stored in pair])
    assert spans(fleet.alerts()) == {
        ("v1", "m1", "closed", 1, 4),
        ("v1", "", "closed", 1, 4),
        ("", "m1", "closed", 1, 4),
    }
    assert closed == [[], [], [False], [False], [False], [False], [True], [True]]
    assert revisions[2] < revisions[3] == revisions[4] == revisions[5] < revisions[6] == revisions[7]


async def test_what_does_not_change_gets_no_revision(fleet: Fleet, pool: Pool) -> None:
    rows = [row("v1", "m1", hour, efficiency) for hour, efficiency in enumerate([0.7, 0.95, 0.95, 0.7, 0.7])]
    fleet.store(rows)
    await evaluate(pool)
    before = fleet.stored()
    assert len(before) == 6
    for start in (0, 2, 4):
        fleet.store(rows[start:])
        await evaluate(pool)
        assert fleet.due() == set()
    assert fleet.stored() == before


async def test_late_rollups_withdraw_an_alert_and_bring_it_back(fleet: Fleet, pool: Pool) -> None:
    fleet.store([row("v1", "m1", 5, 0.7)])
    await evaluate(pool)
    first = {stored["alert_id"] for stored in fleet.stored()}
    fleet.store([row("v1", "m1", 5, 0.9)])
    await evaluate(pool)
    assert fleet.alerts() == []
    assert all(stored["closed_at"] is not None for stored in fleet.stored())
    fleet.store([row("v1", "m1", 5, 0.8)])
    await evaluate(pool)
    assert spans(fleet.alerts()) == {("v1", "m1", "open", 5, 6), ("v1", "", "open", 5, 6), ("", "m1", "open", 5, 6)}
    assert {stored["alert_id"] for stored in fleet.stored()} == first
    fleet.remove([row("v1", "m1", 5, 0.8)])
    await evaluate(pool)
    assert len(fleet.alerts("withdrawn")) == 3


async def test_late_rollups_that_show_that_it_never_recovered_open_it_again(fleet: Fleet, pool: Pool) -> None:
    fleet.store([row("v1", "m1", 0, 0.7), row("v1", "m1", 1, 0.98), row("v1", "m1", 2, 0.98)])
    await evaluate(pool)
    fleet.store([row("v1", "m1", 3, 0.6), row("v1", "m1", 4, 0.6)])
    await evaluate(pool)
    pair = [alert for alert in fleet.alerts() if alert.vehicle and alert.meter]
    assert [alert[2:5] for alert in pair] == [("closed", 0, 1), ("open", 3, 5)]
    fleet.store([row("v1", "m1", 2, 0.7)])
    await evaluate(pool)
    assert [a[2:5] for a in fleet.alerts() if a.vehicle and a.meter] == [("open", 0, 5)]
    assert [a[2:5] for a in fleet.alerts("withdrawn") if a.vehicle and a.meter] == [("withdrawn", 3, 5)]
    assert {(s["state"], s["closed_at"] is None) for s in fleet.stored()} == {(1, True), (3, False)}


async def test_kept_minutes_add_up_within_the_window_by_the_clock(fleet: Fleet, pool: Pool) -> None:
    for vehicle, hours in (("within", 24), ("beyond", 25)):
        fleet.store(row(vehicle, vehicle, hour, 0.7, minutes=8) for hour in (0, hours - 1))
    await evaluate(pool)
    assert {alert.vehicle or alert.meter for alert in fleet.alerts()} == {"within"}


async def test_an_acknowledgement_survives_revision(fleet: Fleet, pool: Pool) -> None:
    fleet.store([row("v1", "m1", 5, 0.7)])
    await evaluate(pool)
    fleet.connection.execute(
        "UPDATE efficiency_alerts SET acknowledged_at = now(), acknowledged_by = 'Ann', note = 'n'"
    )
    fleet.store([row("v1", "m1", 6, 0.7)])
    await evaluate(pool)
    assert [(s["until"] - T0) / HOUR for s in fleet.stored()] == [7, 7, 7]
    assert [(s["acknowledged_at"] is not None, s["acknowledged_by"], s["note"]) for s in fleet.stored()] == [
        (True, "Ann", "n")
    ] * 3


async def test_rules_of_meters_apply_to_the_meter_and_its_pairs_and_the_fleets_to_all_else(
    fleet: Fleet, pool: Pool
) -> None:
    fleet.store([row("v1", f"m{m}", hour, 0.9) for m in range(3) for hour in range(3)], notes=False)
    rules = "INSERT INTO efficiency_rules VALUES (%s, %s, 0.02, %s, %s)"
    fleet.connection.execute(rules, (fleet.key(1, "m1"), 0.95, 15, 24))
    fleet.connection.execute(rules, (fleet.key(1, "m2"), 0.95, 121, 2))
    fleet.note((key, T0) for key in fleet.keys.values() if key)
    await evaluate(pool)
    assert spans(fleet.alerts()) == {("", "m1", "open", 0, 3), ("v1", "m1", "open", 0, 3)}


async def test_a_device_whose_rollups_are_out_of_date_where_it_matters_waits(fleet: Fleet, pool: Pool) -> None:
    stale = "INSERT INTO stale_hours (device_key, hour) VALUES (%s, %s)"
    fleet.store([row(f"v{v}", f"m{v}", 100, 0.7) for v in range(4)])
    fleet.connection.execute(stale, (fleet.key(2, "v1"), T0 + 77 * HOUR))
    fleet.connection.execute(stale, (fleet.key(2, "v2"), T0 + 76 * HOUR))
    fleet.connection.execute(stale, (fleet.key(2, "v3"), T0 + 200 * HOUR))
    await evaluate(pool)
    assert {a.vehicle for a in fleet.alerts()} == {"", "v0", "v2"}
    assert fleet.due() == {fleet.key(2, "v1"), fleet.key(2, "v3")}
    fleet.connection.execute("DELETE FROM stale_hours")
    await evaluate(pool)
    assert {a.vehicle for a in fleet.alerts()} == {"", "v0", "v1", "v2", "v3"}
    fleet.store([row("v0", "m0", 101, 0.7)])
    fleet.connection.execute(stale, (0, T0 + 101 * HOUR))
    await evaluate(pool)
    assert len(fleet.due()) == 2


@pytest.mark.parametrize("at_once", [1, 4])
async def test_in_whatever_order_hours_come_the_alerts_are_the_same(
    fleet: Fleet, pool: Pool, database: str, at_once: int
) -> None:
    order = random.Random(at_once)
    levels = [0.6, 0.8, 0.86, 0.93, 0.95]
    rows = [
        row(f"v{v}", f"m{order.randrange(3)}", hour, order.choice(levels), order.randrange(1, 60))
        for hour in sorted(order.sample(range(150), 25))
        for v in range(2)
    ]
    fleet.store(rows)
    await evaluate(pool)
    expected = fleet.alerts()
    assert {alert.state for alert in expected} == {"open", "closed"}
    fleet.connection.execute("TRUNCATE efficiency_alerts, vehicle_rollups, efficiency_due")
    order.shuffle(rows)
    for i in range(0, len(rows), at_once):
        wrong: list[Row] = [r._replace(dc=r.ac * order.choice(levels)) for r in rows[i : i + at_once]]
        fleet.store(wrong)
        await evaluate(pool)
        fleet.store(rows[i : i + at_once])
        if order.random() < 0.5:
            await evaluate(pool)
    await evaluate(pool)
    assert fleet.alerts() == expected
