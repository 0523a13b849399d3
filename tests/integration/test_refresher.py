"""What the refresher does with what is stale: all of it, when it is time, whatever else goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from analytics_service.rollups import refresher
from analytics_service.rollups.refresher import Refresher
from analytics_service.windows import Window
from tests.integration.fleets import T0, Assignment, Fleet
from tests.integration.recomputed import hold_rollups_against_readings
from tests.integration.stale import until_waiting
from tests.integration.world import PACE, World, check, fleet_of, hour, opened
from wattstream import postgres

H0 = hour(T0)
MINUTE = timedelta(minutes=1)
START = H0 + 10 * MINUTE
HOUR = timedelta(hours=1)
DAY_AFTER = H0 + timedelta(days=2)
ALL = Window(H0 - 2 * HOUR, DAY_AFTER)
PART = Window(START + 2 * MINUTE, START + 62 * MINUTE)
# V1 and V2 take turns at M1 and meet there, V3 is at M2; in the first two hours.
BASE = fleet_of(
    [("V1", START + n * MINUTE, "M1") for n in (0, 1, 2, 3)]
    + [("V2", START + n * MINUTE, "M1") for n in (3, 4, 5)]
    + [("V3", START + n * MINUTE, "M2") for n in (0, 1, 2, 61)]
)


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with opened(database) as opened_world:
        yield opened_world


async def log_of(world: World) -> list[tuple[int, datetime]]:
    return await world.rows("SELECT device_key, hour FROM stale_hours ORDER BY stale_id")


async def count(world: World, what: str) -> int:
    [(found,)] = await world.rows(f"SELECT count(*) FROM {what}")
    return int(found)


async def all_is_well(world: World) -> None:
    await world.refresh()
    assert await log_of(world) == []
    await hold_rollups_against_readings(world.dsn)
    await check(world, ALL)
    await check(world, PART)


async def test_two_at_once_do_each_hour_once(world: World, database: str, monkeypatch: pytest.MonkeyPatch):
    execute, done = refresher.execute, []

    async def spy(connection: Any, name: str, parameters: Any, *days: Any) -> Any:
        rows = await execute(connection, name, parameters, *days)
        if name == "refresh_vehicles":
            who = connection.info.parameter_status("application_name")
            arrays = (parameters[of].strip("{}").split(",") for of in ("device_keys", "hours"))
            done.extend((who, *one) for one in zip(*arrays, strict=True))
        return rows

    monkeypatch.setattr(refresher, "execute", spy)
    await world.write(BASE)

    async def go_on(one: Refresher) -> None:
        while not await count(world, "rollup_state WHERE log_from > '2026-02-11'") or await log_of(world):
            await one.step(DAY_AFTER)

    async with (
        postgres.open_pool(database, name="other", size=2, statement_timeout_s=30, autocommit=True) as other,
        asyncio.timeout(60),
    ):
        await asyncio.gather(go_on(Refresher(world.pool, PACE)), go_on(Refresher(other, PACE)))

    assert {who for who, _, _ in done} == {"wattstream test", "wattstream other"}
    device_hours = [one[1:] for one in done]
    assert len(device_hours) == len(set(device_hours)) == 5 * 28
    await all_is_well(world)


async def test_who_wrote_before_the_hour_was_over_is_waited_for(world: World):
    await world.empty(H0)
    async with AsyncExitStack() as writer:
        await writer.enter_async_context(world.writing(BASE))
        step = asyncio.create_task(world.refresher.step(H0 + HOUR))
        await until_waiting(world.connection, step)
        assert await log_of(world) == [(0, H0)]
        await check(world, ALL)

        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        step = asyncio.create_task(world.refresher.step(H0 + HOUR))
        await until_waiting(world.connection, step)
        await writer.aclose()
        assert await step

    await all_is_well(world)
    assert await count(world, "vehicle_rollups WHERE hours = 1") == 4


async def test_who_came_to_a_meter_while_another_noted_it_is_refreshed_with_the_others_readings(world: World):
    await world.empty(H0 + HOUR)
    first = fleet_of([("V1", START, "M1")])
    second = fleet_of([("V2", START, "M1")], metered=False)
    async with AsyncExitStack() as writer:
        await writer.enter_async_context(world.writing(first))
        await world.write(second)
        step = asyncio.create_task(world.refresher.step(H0 + HOUR))
        await asyncio.wait([step], timeout=0.3)
        await check(world, ALL)
        await writer.aclose()
        await check(world, ALL)
        await step

    await check(world, ALL)
    await all_is_well(world)


async def test_readings_that_come_between_two_steps_of_an_hour_are_in_its_rollups(world: World):
    await world.empty(H0)
    await world.write(BASE)
    late = [("V1", 10, "M1"), ("V3", 11, "M2"), ("V2", 10, "M1"), ("V1", 0, "M2"), ("V3", 4, "M1")]
    await world.refresher.step(H0 + HOUR)
    while 0 in [key for key, _ in await log_of(world)]:
        vehicle, minute, meter = late.pop()
        await world.write(fleet_of([(vehicle, START + minute * MINUTE + timedelta(seconds=30), meter)]))
        await check(world, ALL)
        await world.refresher.step(H0 + HOUR)
        await check(world, ALL)
    assert len(late) < 4, "it took more than a step"
    await all_is_well(world)


async def test_devices_that_are_registered_between_two_steps_of_an_hour_are_in_its_rollups(world: World):
    await world.empty(H0)
    await world.write(BASE)
    await world.refresher.step(H0 + HOUR)
    for name in ("V4", "V5"):
        await world.register(2, [name])
        await world.write(
            fleet_of([(name, START + 10 * MINUTE, "M1"), (name, START + 2 * MINUTE, "M2")], metered=False)
        )
        await check(world, ALL)
        await world.refresher.step(H0 + HOUR)
        await check(world, ALL)
    await all_is_well(world)


async def test_hours_without_partitions_are_passed_and_taken_out_of_the_log(world: World):
    long_ago = H0 - timedelta(days=400)
    await world.connection.execute("UPDATE rollup_state SET log_from = %s", (long_ago,))
    await world.connection.execute(
        "INSERT INTO stale_hours (device_key, hour) VALUES (0, %s), (3, %s)", (long_ago, long_ago)
    )
    await world.refresh(DAY_AFTER + timedelta(days=400))
    assert await log_of(world) == []
    assert await count(world, "vehicle_rollups") + await count(world, "meter_rollups") == 0


@pytest.mark.parametrize("detached", [False, True])
async def test_rollups_of_history_that_is_removed_stay_as_they_are(world: World, *, detached: bool):
    await world.write(BASE)
    await world.refresh()
    rollups = (
        "SELECT (SELECT array_agg(r) FROM vehicle_rollups r)::text, (SELECT array_agg(r) FROM meter_rollups r)::text"
    )
    before = await world.rows(rollups)
    for table in ("vehicle_readings", "meter_readings"):
        partition = f"{table}_{T0:%Y%m%d}"
        if detached:
            await world.connection.execute(f"ALTER TABLE {table} DETACH PARTITION {partition}")
            await world.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (H0,))
            await world.refresh()
        await world.connection.execute(f"DROP TABLE {partition}")
    await world.connection.execute("SELECT ensure_partitions(%s::date[])", ([T0.date()],))
    await world.write(fleet_of([("V1", START + timedelta(seconds=30), "M1")]))
    assert await log_of(world) != []
    await world.refresh()
    assert await log_of(world) == []
    assert await world.rows(rollups) == before


async def test_a_day_whose_last_stale_hour_is_removed_is_summed_of_its_rollups(world: World):
    await world.empty(H0)
    await world.write(BASE)
    await world.refresh(H0 + HOUR)
    await world.connection.execute("UPDATE rollup_state SET log_from = %s, previous_log_from = log_from", (DAY_AFTER,))
    await world.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (H0 + HOUR,))
    await world.connection.execute(f"DROP TABLE vehicle_readings_{T0:%Y%m%d}, meter_readings_{T0:%Y%m%d}")
    await world.refresh(DAY_AFTER)
    assert await count(world, "vehicle_rollups WHERE hours = 24") == 3


async def test_an_hour_is_rolled_up_when_its_grace_is_over_and_no_sooner(world: World):
    await world.empty(H0)
    await world.write(BASE)
    patient = Refresher(world.pool, replace(PACE, grace=10 * MINUTE))
    assert not await patient.step(H0 + HOUR + 10 * MINUTE - timedelta(microseconds=1))
    assert await world.rows("SELECT log_from FROM rollup_state") == [(H0,)]
    assert await patient.step(H0 + HOUR + 10 * MINUTE)
    assert await world.rows("SELECT log_from FROM rollup_state") == [(H0 + HOUR,)]
    assert await count(world, "meter_rollups") > 0
    await patient.step(H0)
    assert await world.rows("SELECT log_from FROM rollup_state") == [(H0 + HOUR,)], "no clock takes anything back"


async def test_what_is_stale_is_left_to_settle(world: World):
    await world.write(BASE)
    await world.refresh(DAY_AFTER)
    await world.write(fleet_of([("V1", START + 20 * MINUTE, "M1")]))
    await world.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (H0 + HOUR,))
    noted = await log_of(world)
    patient = Refresher(world.pool, replace(PACE, settle=HOUR, devices=100))
    assert not await patient.step(DAY_AFTER)
    assert await log_of(world) == noted
    await check(world, ALL)
    await world.connection.execute("UPDATE stale_hours SET noted_at = noted_at - interval '1 hour'")
    assert await patient.step(DAY_AFTER)
    assert await log_of(world) == []
    await all_is_well(world)


async def test_a_day_is_summed_once_it_is_over_and_all_its_hours_are_done(world: World):
    days = "vehicle_rollups WHERE hours = 24", "meter_rollups WHERE hours = 24"
    await world.empty(H0)
    await world.write(BASE)
    by_hour = Refresher(world.pool, replace(PACE, devices=100))
    await by_hour.step(H0 + HOUR)
    assert await count(world, "vehicle_rollups WHERE hours = 1") == 3
    assert [await count(world, day) for day in days] == [0, 0], "the day is not over"

    await world.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (H0,))
    for hours_left in (3, 2, 1):  # the newest first: two of the next day, then the last of the first
        await by_hour.step(H0 + 4 * HOUR)
        assert len(await log_of(world)) == hours_left
        assert [await count(world, day) for day in days] == [0, 0]
    await by_hour.step(H0 + 4 * HOUR)
    assert [await count(world, day) for day in days] == [3, 2]
    await all_is_well(world)


async def test_who_is_not_on_turn_neither_waits_nor_does_anything(world: World):
    await world.empty(H0)
    await world.write(BASE)
    await world.connection.execute("SELECT pg_advisory_lock(hashtext('wattstream.refresh'))")
    assert not await world.refresher.step(H0 + HOUR)
    assert await world.rows("SELECT log_from FROM rollup_state") == [(H0,)]
    await world.connection.execute("SELECT pg_advisory_unlock(hashtext('wattstream.refresh'))")
    assert await world.refresher.step(H0 + HOUR)
    await world.connection.execute("SELECT pg_advisory_lock(hashtext('wattstream.refresh'))")
    noted = await world.rows("SELECT stale_id, after_key FROM stale_hours")
    assert not await world.refresher.step(H0 + HOUR)
    assert await world.rows("SELECT stale_id, after_key FROM stale_hours") == noted != []


async def test_due_are_those_whose_rollups_have_changed_since_the_first_hour_that_did(world: World):
    due = "SELECT device_key, hour FROM efficiency_due ORDER BY device_key"
    key = world.keys
    await world.write(BASE)
    await world.refresh()
    assert await world.rows(due) == [(key[id_], H0) for id_ in ("M1", "M2", "V1", "V2", "V3")]

    # V2 is on the meter in that hour, so it is noted, but in other minutes.
    await world.connection.execute("DELETE FROM efficiency_due")
    await world.write(fleet_of([("V1", START + timedelta(seconds=10), "M1"), ("V1", START + 90 * MINUTE, "M1")]))
    assert {device for device, _ in await log_of(world)} >= {key["V2"]}
    await world.refresh()
    assert await world.rows(due) == [(key["M1"], H0), (key["V1"], H0)]

    # A meter that loses what was charged at it, and one that gets it.
    await world.connection.execute("DELETE FROM efficiency_due")
    await world.connection.execute("INSERT INTO efficiency_due VALUES (%s, %s)", (key["V3"], DAY_AFTER))
    await world.assign(Fleet([], [], [Assignment("V3", "M1", T0 - HOUR, None)], T0, T0))
    await world.write(fleet_of([("V3", START + 70 * MINUTE, None)]))
    await world.refresh()
    assert await world.rows(due) == [(key["M1"], H0 + HOUR), (key["V3"], H0 + HOUR)]
    await world.connection.execute("DELETE FROM efficiency_due")
    await world.connection.execute("UPDATE meter_assignments SET meter_key = %s", (key["M2"],))
    await world.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (H0 + HOUR,))
    await world.refresh()
    assert await world.rows(due) == [(key[id_], H0 + HOUR) for id_ in ("M1", "M2", "V3")]

    await world.connection.execute("DELETE FROM efficiency_due")
    await world.connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (H0,))
    await world.refresh()
    assert await world.rows(due) == [], "the same again is no change"
