"""Answers that are made of rollups and readings, against the definitions, whatever order things happen in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_service import store
from analytics_service.performance import Correlation, Performance
from analytics_service.windows import Window
from tests.integration.fleets import T0, VEHICLES, Fleet, fleets
from tests.integration.world import World, check, fleet_of, opened

HOURS = [T0.replace(minute=0) + timedelta(hours=n) for n in range(4)]


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    async with opened(database) as opened_world:
        yield opened_world


def parts_of(fleet: Fleet, shares: list[int], count: int) -> list[Fleet]:
    """Deal the readings of a fleet out, by number."""
    dealt = [Fleet([], [], [], fleet.start, fleet.end) for _ in range(count)]
    for number, reading in enumerate([*fleet.readings, *fleet.meter_readings]):
        part = dealt[shares[number % len(shares)] % count]
        (part.readings if reading in fleet.readings else part.meter_readings).append(reading)  # type: ignore[arg-type]
    return dealt


windows = st.builds(
    lambda start, length: Window(T0 + timedelta(minutes=start), T0 + timedelta(minutes=start + length)),
    st.sampled_from([-1500, -59, 0, 1, 30, 61]),
    st.sampled_from([1, 60, 61, 120, 1440, 5000]),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("refresh"), st.sampled_from([HOURS[0], HOURS[1], HOURS[2], HOURS[3] + timedelta(days=2)])),
        st.tuples(st.just("write"), st.none()),
        st.tuples(st.just("assign"), st.none()),
        st.tuples(st.just("ask"), windows),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(fleet=fleets(), shares=st.lists(st.integers(0, 5), min_size=1, max_size=12), steps=steps, window=windows)
async def test_answers_are_those_of_the_readings_stored_so_far(world: World, fleet, shares, steps, window):
    await world.empty()
    waiting = parts_of(fleet, shares, 1 + sum(kind == "write" for kind, _ in steps))
    for kind, value in [*steps, ("write", None), ("ask", window)]:
        if kind == "refresh":
            await world.refresher.step(value)
        elif kind == "assign" and not world.stored.assignments:
            await world.assign(fleet)
        elif kind == "write" and waiting:
            await world.write(waiting.pop())
        elif kind == "ask":
            await check(world, value)
    await world.refresh()
    await check(world, window)
    await check(world, Window(T0 - timedelta(days=1), T0 + timedelta(days=2)))
    assert await world.rows("SELECT count(*) FROM stale_hours") == [(0,)]


async def test_history_that_is_gone_leaves_its_rollups(world: World):
    await world.empty()
    readings = [(vehicle, T0 + timedelta(minutes=n), "M1") for n, vehicle in enumerate(VEHICLES)]
    fleet = fleet_of(readings)
    await world.write(fleet)
    await world.refresh()
    before = await asked_for_days(world)
    await world.connection.execute(f"DROP TABLE vehicle_readings_{T0:%Y%m%d}, meter_readings_{T0:%Y%m%d}")

    assert await asked_for_days(world) == before
    await world.connection.execute("SELECT ensure_partitions(%s::date[])", ([T0.date()],))
    await world.write(fleet_of([("V1", T0 + timedelta(seconds=30), "M1")]))
    await world.refresh()
    assert await asked_for_days(world) == before


async def asked_for_days(world: World) -> dict[str, Performance]:
    window = Window(datetime(T0.year, T0.month, T0.day, tzinfo=UTC), T0 + timedelta(days=2))
    return await store.performances(world.answers, VEHICLES, window, Correlation.EXCLUSIVE_MINUTES)
