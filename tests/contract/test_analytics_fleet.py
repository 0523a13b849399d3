"""The ranking and the summary of the fleet as callers see them, on the check figures."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from math import nan
from typing import Any

import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from tests.contract.test_analytics import AC, DC, T0, load, refused, window
from tests.contract.test_analytics_questions import named
from wattstream import paging
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.server import serving

Stub = analytics_pb2_grpc.AnalyticsServiceStub
HOUR = timedelta(hours=1)
H0 = T0.replace(minute=0)
WHOLE = window(H0 - HOUR, H0 + 2 * HOUR)
AC1, AC2, DC1, DC2 = sum(AC[:5]), sum(AC[5:]), sum(DC[:5]), sum(DC[5:])


@pytest.fixture
async def stub(database: str) -> AsyncIterator[Stub]:
    load(database, T0)
    config = AnalyticsConfig(listen="127.0.0.1:0", postgres_dsn=database, connections=2, refresh=False)
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


async def ranking(stub: Stub, **question: Any) -> pb.ListVehiclePerformanceResponse:
    return await stub.ListVehiclePerformance(pb.ListVehiclePerformanceRequest(**{"window": WHOLE, **question}))


async def ranked(stub: Stub, **question: Any) -> list[str]:
    return [one.vehicle_id for one in (await ranking(stub, **question)).performances]


async def test_a_ranking_has_the_performance_of_each_vehicle_the_worst_first(stub: Stub):
    answer = await ranking(stub, window=window(T0, T0 + HOUR))

    assert answer.window == window(H0, H0 + HOUR)
    assert answer.next_page_token == ""
    worst, best = answer.performances
    assert (worst.vehicle_id, best.vehicle_id) == ("V2", "V1")
    assert (worst.efficiency, worst.mean_soc, worst.mean_battery_temp) == pytest.approx(
        (0.892178477690289, 47.572, 30.8)
    )
    assert (worst.kwh_consumed_ac, worst.kwh_delivered_dc, worst.kwh_lost) == pytest.approx((AC2, DC2, AC2 - DC2))
    assert (worst.readings, worst.readings_kept, worst.minutes_kept, list(worst.meter_ids)) == (5, 5, 5, ["M1"])
    assert (worst.window, worst.correlation) == (answer.window, pb.CORRELATION_EXCLUSIVE_MINUTES)


async def test_orders_and_filters(stub: Stub):
    assert await ranked(stub, reverse=True) == ["V1", "V2"]
    assert await ranked(stub, order_by=pb.VEHICLE_ORDER_KWH_LOST) == ["V2", "V1"]
    assert await ranked(stub, order_by=pb.VEHICLE_ORDER_KWH_CONSUMED_AC, reverse=True) == ["V1", "V2"]
    assert await ranked(stub, order_by=pb.VEHICLE_ORDER_KWH_DELIVERED_DC) == ["V2", "V1"]
    assert await ranked(stub, min_kwh_consumed_ac=2.8) == ["V2"]
    assert await ranked(stub, efficiency_below=0.9) == ["V2"]
    assert await ranked(stub, efficiency_below=0) == []
    assert await ranked(stub, meter_ids=["M1", "M9"]) == ["V2", "V1"]
    assert await ranked(stub, meter_ids=["M9"]) == []


async def test_vehicles_without_an_efficiency_come_last_in_either_direction(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE meter_readings SET kwh_consumed_ac = 0 WHERE recorded_at < %s", (T0 + HOUR / 12,))

    answer = await ranking(stub)

    assert [one.vehicle_id for one in answer.performances] == ["V2", "V1"]
    assert not answer.performances[1].HasField("efficiency")
    assert await ranked(stub, reverse=True) == ["V2", "V1"]
    assert await ranked(stub, efficiency_below=100) == ["V2"]


async def test_pages_follow_one_another_whatever_their_sizes(stub: Stub):
    first = await ranking(stub, page_size=1)
    second = await ranking(stub, page_size=2, page_token=first.next_page_token)

    assert [one.vehicle_id for one in (*first.performances, *second.performances)] == ["V2", "V1"]
    assert second.next_page_token == ""


async def test_every_page_is_about_the_window_of_the_first(stub: Stub, database: str):
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO vehicle_rollups SELECT device_key, 1, %s, 0, 1, 1, 1, 0, 0, 1, 0.5, 50, 20, 0.5, 50, 20"
            " FROM devices WHERE device_id IN ('V1', 'V2')",
            (this_hour - 3 * HOUR,),
        )
    rolled_up_until(database, this_hour - HOUR)
    asked: dict[str, Any] = {"window": None, "page_size": 1}

    first = await ranking(stub, **asked)
    rolled_up_until(database, this_hour)
    second = await ranking(stub, **asked, page_token=first.next_page_token)

    assert second.window == first.window
    assert [one.vehicle_id for one in (*first.performances, *second.performances)] == ["V1", "V2"]
    assert (await ranking(stub, **asked)).window != first.window


@pytest.mark.parametrize(
    "other",
    [
        {"window": window(H0, H0 + HOUR)},
        {"order_by": pb.VEHICLE_ORDER_EFFICIENCY},
        {"reverse": True},
        {"min_kwh_consumed_ac": 1},
        {"efficiency_below": 0.9},
        {"meter_ids": ["M1"]},
    ],
)
async def test_a_page_token_of_another_request_is_refused(stub: Stub, other: dict[str, Any]):
    token = (await ranking(stub, page_size=1)).next_page_token

    with refused(grpc.StatusCode.INVALID_ARGUMENT) as detail:
        await ranking(stub, page_token=token, **other)
    assert detail_field(detail) == ("page_token", "must be of a request that is otherwise the same")


def detail_field(detail: Any) -> tuple[str, str]:
    (violation,) = detail(error_details_pb2.BadRequest).field_violations
    return violation.field, violation.description


def made_up(*parts: str | int) -> dict[str, Any]:
    same = hashlib.sha256(pb.ListVehiclePerformanceRequest(window=WHOLE).SerializeToString(deterministic=True))
    return {"page_token": paging.to_token("vehicle performance", same.hexdigest()[:16], *parts)}


async def test_bad_fields_of_a_ranking_are_named(stub: Stub):
    good = (3600, 7200, "0x1p+0", 1)
    await ranking(stub, **made_up(*good))  # such a token is one
    await named(
        stub.ListVehiclePerformance,
        pb.ListVehiclePerformanceRequest,
        {"window": WHOLE},
        [
            ({"order_by": 9}, "order_by"),
            ({"min_kwh_consumed_ac": -0.1}, "min_kwh_consumed_ac"),
            ({"min_kwh_consumed_ac": nan}, "min_kwh_consumed_ac"),
            ({"efficiency_below": nan}, "efficiency_below"),
            ({"meter_ids": ["M1", "M 1"]}, "meter_ids[1]"),
            ({"meter_ids": ["M1"] * 1001}, "meter_ids"),
            ({"page_size": -1}, "page_size"),
            ({"page_size": 1001}, "page_size"),
            ({"page_token": "nonsense"}, "page_token"),
            (made_up(3600, 7200, "nan", 1), "page_token"),
            (made_up(3600, 7200, "high", 1), "page_token"),
            (made_up(3600, 7200, "0x1p+0", 2**31), "page_token"),
            (made_up(7200, 3600, "0x1p+0", 1), "page_token"),
            (made_up(3601, 7200, "0x1p+0", 1), "page_token"),
            (made_up(3600, 2**62, "0x1p+0", 1), "page_token"),
            ({"window": window(T0, T0 + timedelta(minutes=12))}, "window.start"),
            ({"window": window(H0, H0 + timedelta(days=401))}, "window"),
            ({"window": pb.TimeWindow(end=Timestamp(seconds=-1))}, "window.end"),
        ],
    )


def rolled_up_until(database: str, instant: datetime) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE rollup_state SET log_from = date_trunc('hour', %s, 'UTC')", (instant,))


def stale_for_everybody(database: str, hour: datetime) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO stale_hours (device_key, hour) VALUES (0, %s)", (hour,))


async def newest(stub: Stub) -> set[datetime]:
    """The ends of the windows of questions about the fleet that name none, of 24 hours."""
    summary = await stub.GetFleetSummary(pb.GetFleetSummaryRequest())
    answer = await stub.ListVehiclePerformance(pb.ListVehiclePerformanceRequest())
    for used in (summary.window, answer.window):
        assert used.end.ToDatetime() - used.start.ToDatetime() == timedelta(hours=24)
    return {summary.window.end.ToDatetime(UTC), answer.window.end.ToDatetime(UTC)}


async def test_without_a_window_the_fleet_is_asked_for_the_newest_24_hours_that_are_rolled_up(
    stub: Stub, database: str
):
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

    rolled_up_until(database, this_hour)
    assert await newest(stub) == {this_hour}
    stale_for_everybody(database, this_hour - HOUR)
    assert await newest(stub) <= {this_hour - HOUR, this_hour + HOUR}
    rolled_up_until(database, this_hour - 5 * HOUR)
    assert await newest(stub) <= {this_hour, this_hour + HOUR}


async def test_the_summary_says_what_the_fleet_got_and_who_is_silent(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO devices (kind, device_id) VALUES (1, 'M2')")

    answer = await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=WHOLE))

    assert answer.window == WHOLE
    figures = (answer.kwh_consumed_ac, answer.kwh_delivered_dc, answer.kwh_lost, answer.efficiency)
    ac, dc = AC1 + AC2, DC1 + DC2
    assert figures == pytest.approx((ac, dc, ac - dc, dc / ac))
    assert (answer.kwh_metered_ac, answer.kwh_reported_dc) == pytest.approx((ac, dc))
    assert (answer.vehicles_reporting, answer.vehicles_silent) == (2, 1)
    assert (answer.meters_reporting, answer.meters_silent) == (1, 1)
    assert answer.quality == pb.DataQuality(minutes_kept=10, meter_gaps=0, meter_gap_hours=0, longest_meter_gap_hours=0)


async def test_the_histogram_has_all_bins_from_less_than_a_half_to_more_than_one(stub: Stub):
    bins = (await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=WHOLE))).efficiency_histogram

    bounds = [0.5 + 0.05 * n for n in range(11)]
    assert [getattr(one, "from") for one in bins[1:]] == pytest.approx(bounds)
    assert [one.below for one in bins[:-1]] == pytest.approx(bounds)
    assert not bins[0].HasField("from")
    assert not bins[-1].HasField("below")
    assert {round(getattr(one, "from"), 2): one.vehicles for one in bins if one.vehicles} == {0.85: 1, 0.9: 1}


async def test_the_summary_counts_what_is_wrong_with_the_data(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE vehicle_readings SET kwh_delivered_dc = 9 WHERE recorded_at = %s", (T0,))
        connection.execute("UPDATE vehicle_readings SET meter_key = NULL WHERE recorded_at = %s", (T0 + HOUR / 60,))
        connection.execute("DELETE FROM meter_readings WHERE recorded_at = %s", (T0 + 2 * HOUR / 60,))
        connection.execute(
            "INSERT INTO meter_readings SELECT meter_key, %s, 1, 230 FROM meter_readings LIMIT 1", (H0 - 2 * HOUR,)
        )

    asked = window(H0 - 6 * HOUR, H0 + HOUR)
    answer = await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=asked))

    assert answer.quality == pb.DataQuality(
        minutes_kept=8,
        minutes_without_meter_data=1,
        readings_without_meter=1,
        vehicles_above_one=1,
        meter_gaps=1,
        meter_gap_hours=1,
        longest_meter_gap_hours=1,
    )
    assert answer.kwh_metered_ac == pytest.approx(sum(AC) - AC[2] + 1)


async def test_gaps_of_hours_are_not_looked_for_in_more_than_7_days(stub: Stub):
    week = await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=window(H0 - 167 * HOUR, H0 + HOUR)))
    longer = await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=window(H0 - 168 * HOUR, H0 + HOUR)))

    for field in ("meter_gaps", "meter_gap_hours", "longest_meter_gap_hours"):
        assert week.quality.HasField(field)
        assert not longer.quality.HasField(field)
    assert longer.kwh_consumed_ac == week.kwh_consumed_ac


async def test_a_fleet_of_which_there_are_no_readings_has_a_summary_of_zeros(stub: Stub):
    answer = await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=window(H0 + HOUR, H0 + 2 * HOUR)))

    assert (answer.kwh_consumed_ac, answer.kwh_lost, answer.HasField("efficiency")) == (0, 0, False)
    assert (answer.vehicles_silent, answer.meters_silent) == (3, 1)
    assert sum(one.vehicles for one in answer.efficiency_histogram) == 0


async def test_next_to_no_energy_makes_no_ratio_that_cannot_be_ranked(stub: Stub, database: str):
    middle = T0 + HOUR / 12
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE meter_readings SET kwh_consumed_ac = 1e-320 WHERE recorded_at < %s", (middle,))
        connection.execute("UPDATE vehicle_readings SET kwh_delivered_dc = 5e-324 WHERE recorded_at >= %s", (middle,))

    assert await ranked(stub) == ["V2", "V1"]
    answer = await stub.GetFleetSummary(pb.GetFleetSummaryRequest(window=WHOLE))
    assert [answer.efficiency_histogram[n].vehicles for n in (0, -1)] == [1, 1]


async def test_bad_fields_of_a_question_for_the_summary_are_named(stub: Stub):
    await named(
        stub.GetFleetSummary,
        pb.GetFleetSummaryRequest,
        {},
        [
            ({"window": window(T0, T0 + timedelta(minutes=12))}, "window.start"),
            ({"window": window(H0, H0 + timedelta(days=401))}, "window"),
            ({"window": pb.TimeWindow(start=Timestamp(seconds=2**60))}, "window.start"),
        ],
    )
