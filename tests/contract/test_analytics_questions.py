"""Series and use of meters as callers see them: a real server on a real database, loaded with the check figures."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from tests.contract.test_analytics import AC, DC, T0, load, refused, window
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.server import serving

Stub = analytics_pb2_grpc.AnalyticsServiceStub
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
H0 = T0.replace(minute=0)
TEN = window(T0, T0 + 10 * MINUTE)


@pytest.fixture
async def stub(database: str) -> AsyncIterator[Stub]:
    load(database, T0)
    config = AnalyticsConfig(listen="127.0.0.1:0", postgres_dsn=database, connections=2, refresh=False)
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


async def named(call: Any, message: type, good: dict[str, Any], bad: list[tuple[dict[str, Any], str]]) -> list[str]:
    """Ask with each change of a good question, and return what was said; each must be refused by naming the field."""
    said = []
    for change, field in bad:
        with refused(grpc.StatusCode.INVALID_ARGUMENT) as detail:
            await call(message(**{**good, **change}))
            pytest.fail(f"{change} is not refused")
        (violation,) = detail(error_details_pb2.BadRequest).field_violations
        assert violation.field == field, change
        assert violation.description
        said.append(violation.description)
    return said


async def series(stub: Stub, **question: Any) -> pb.QueryPerformanceSeriesResponse:
    return await stub.QueryPerformanceSeries(pb.QueryPerformanceSeriesRequest(**question))


def energies(bucket: pb.PerformanceBucket) -> tuple[float, float] | None:
    """AC and DC energy, or None if neither they nor what follows from them are set."""
    fields = ["kwh_consumed_ac", "kwh_delivered_dc", "kwh_lost", "efficiency", "mean_soc", "mean_battery_temp"]
    if not any(bucket.HasField(field) for field in fields):
        return None
    assert bucket.kwh_lost == pytest.approx(bucket.kwh_consumed_ac - bucket.kwh_delivered_dc)
    return bucket.kwh_consumed_ac, bucket.kwh_delivered_dc


async def test_a_series_has_every_bucket_of_the_window_and_says_how_it_is_cut(stub: Stub):
    asked = window(T0 + MINUTE, T0 + 21 * MINUTE)

    answer = await series(stub, vehicle_id="V1", window=asked, granularity=pb.GRANULARITY_5_MINUTES)

    starts = [T0 + minutes * MINUTE for minutes in (1, 3, 8, 13, 18)]
    assert [bucket.start.ToDatetime(UTC) for bucket in answer.buckets] == starts
    assert [bucket.end.ToDatetime(UTC) for bucket in answer.buckets] == [*starts[1:], T0 + 21 * MINUTE]
    assert (answer.window, answer.granularity, answer.time_zone) == (asked, pb.GRANULARITY_5_MINUTES, "UTC")
    assert energies(answer.buckets[0]) == pytest.approx((sum(AC[1:3]), sum(DC[1:3])))
    assert energies(answer.buckets[1]) == pytest.approx((sum(AC[3:5]), sum(DC[3:5])))
    assert [energies(bucket) for bucket in answer.buckets[2:]] == [None] * 3
    assert answer.buckets[0].efficiency == pytest.approx(sum(DC[1:3]) / sum(AC[1:3]))
    assert (answer.buckets[0].minutes_kept, answer.buckets[0].readings, answer.buckets[2].readings) == (2, 2, 0)


async def test_a_bucket_of_nothing_is_told_from_one_of_0_kwh(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE meter_readings SET kwh_consumed_ac = 0 WHERE recorded_at = %s", (T0,))
        connection.execute("UPDATE vehicle_readings SET kwh_delivered_dc = 0 WHERE recorded_at = %s", (T0,))

    answer = await series(
        stub, vehicle_id="V1", window=window(T0 - MINUTE, T0 + 2 * MINUTE), granularity=pb.GRANULARITY_MINUTE
    )

    nothing, zero, some = answer.buckets
    assert energies(nothing) is None
    assert energies(zero) == (0, 0)
    assert zero.HasField("kwh_lost")
    assert not zero.HasField("efficiency")
    assert zero.mean_soc == pytest.approx(20.7)
    assert some.efficiency > 0


async def test_what_is_not_kept_is_counted_in_buckets_without_energies(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM meter_readings WHERE recorded_at = %s", (T0,))

    answer = await series(stub, vehicle_id="V1", window=window(T0, T0 + MINUTE), granularity=pb.GRANULARITY_MINUTE)

    (bucket,) = answer.buckets
    assert energies(bucket) is None
    assert (bucket.readings, bucket.readings_kept, bucket.minutes_without_meter_data) == (1, 0, 1)


async def test_a_vehicle_that_nobody_knows_has_empty_buckets(stub: Stub):
    answer = await series(stub, vehicle_id="V9", window=TEN, granularity=pb.GRANULARITY_MINUTE)

    assert [energies(bucket) for bucket in answer.buckets] == [None] * 10


async def test_granularity_and_zone_are_chosen_where_they_are_not_given(stub: Stub):
    day, year = window(H0 - 23 * HOUR, H0 + HOUR), window(H0 - 400 * 24 * HOUR, H0)

    assert (await series(stub, vehicle_id="V1", window=day)).granularity == pb.GRANULARITY_5_MINUTES
    assert (await series(stub, window=day)).granularity == pb.GRANULARITY_HOUR
    answer = await series(stub, window=year, time_zone="Europe/Zurich")
    assert (answer.granularity, len(answer.buckets), answer.time_zone) == (pb.GRANULARITY_DAY, 401, "Europe/Zurich")
    assert answer.buckets[1].start.ToDatetime(UTC).hour == 22 + (answer.buckets[1].start.ToDatetime(UTC).month < 4)


async def test_without_a_window_the_last_24_hours_are_cut_and_for_the_fleet_whole_ones(stub: Stub):
    vehicle, fleet = await series(stub, vehicle_id="V1"), await series(stub)

    now = datetime.now(UTC)
    assert vehicle.window.end.ToDatetime(UTC) > now - 2 * MINUTE
    assert fleet.window.end.ToDatetime(UTC) in {(now - MINUTE).replace(minute=0, second=0, microsecond=0)} | {
        now.replace(minute=0, second=0, microsecond=0)
    }
    assert len(fleet.buckets) == 24


async def test_the_fleets_series_is_of_whole_hours_and_adds_up_its_vehicles(stub: Stub):
    answer = await series(stub, window=window(T0, T0 + HOUR + 30 * MINUTE))

    assert answer.window == window(H0, H0 + 2 * HOUR)
    assert [energies(bucket) for bucket in answer.buckets] == [pytest.approx((sum(AC), sum(DC))), None]
    assert (answer.buckets[0].readings_kept, answer.buckets[0].minutes_kept) == (10, 10)


async def test_by_the_assigned_meter_a_series_has_what_the_meter_gave_while_assigned(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)"
            " SELECT v.device_key, m.device_key, %s, %s FROM devices v, devices m"
            " WHERE v.device_id = 'V1' AND m.device_id = 'M1'",
            (T0 + 2 * MINUTE, T0 + 9 * MINUTE),
        )

    answer = await series(
        stub,
        vehicle_id="V1",
        window=window(T0 - 2 * MINUTE, T0 + 13 * MINUTE),
        granularity=pb.GRANULARITY_5_MINUTES,
        correlation=pb.CORRELATION_ASSIGNED_METER,
    )

    assert [energies(bucket) for bucket in answer.buckets] == [
        pytest.approx((AC[2], sum(DC[:3]))),
        pytest.approx((sum(AC[3:8]), sum(DC[3:5]))),
        pytest.approx((AC[8], 0)),
    ]


async def test_bad_fields_of_a_series_are_named(stub: Stub):
    good = {"vehicle_id": "V1", "window": TEN}
    fleet = {"vehicle_id": ""}
    minutes, hours = window(T0, T0 + 2001 * MINUTE), window(H0, H0 + 84 * 24 * HOUR)
    said = await named(
        stub.QueryPerformanceSeries,
        pb.QueryPerformanceSeriesRequest,
        good,
        [
            ({"granularity": pb.GRANULARITY_MINUTE, "window": minutes}, "granularity"),
            ({"granularity": pb.GRANULARITY_15_MINUTES, "window": hours}, "granularity"),
            ({**fleet, "granularity": pb.GRANULARITY_HOUR, "window": hours}, "granularity"),
            ({"granularity": 9}, "granularity"),
            ({"granularity": -1}, "granularity"),
            ({**fleet, "granularity": pb.GRANULARITY_15_MINUTES, "window": hours}, "granularity"),
            ({**fleet, "correlation": pb.CORRELATION_ASSIGNED_METER, "window": hours}, "correlation"),
            ({**fleet, "time_zone": "Asia/Kolkata", "window": hours}, "time_zone"),
            ({**fleet, "window": TEN}, "window.start"),
            ({"vehicle_id": "V 1"}, "vehicle_id"),
            ({"correlation": 7}, "correlation"),
            ({"time_zone": "Europe/Zuerich"}, "time_zone"),
            ({"window": window(T0, T0)}, "window.start"),
            ({"window": window(T0, T0 + 400 * 24 * HOUR + MINUTE)}, "window"),
            ({"window": pb.TimeWindow(end=Timestamp(seconds=253_402_300_799))}, "window.end"),
            ({**fleet, "window": pb.TimeWindow(end=Timestamp(seconds=253_402_300_799))}, "window.end"),
        ],
    )
    assert [text.rpartition("; ")[2] for text in said[:3]] == [
        "GRANULARITY_5_MINUTES fits",
        "GRANULARITY_DAY fits",
        "GRANULARITY_DAY fits",
    ]


async def use(stub: Stub, asked: pb.TimeWindow = TEN, meter_id: str = "M1") -> pb.QueryMeterUseResponse:
    return await stub.QueryMeterUse(pb.QueryMeterUseRequest(meter_id=meter_id, window=asked))


async def test_use_of_a_meter_says_who_had_what_and_what_nobody_had(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM vehicle_readings WHERE recorded_at = %s", (T0 + 9 * MINUTE,))
        connection.execute("DELETE FROM meter_readings WHERE recorded_at = %s", (T0 + 8 * MINUTE,))

    answer = await use(stub, window(T0 - HOUR, T0 + HOUR))

    assert answer.window == window(T0 - HOUR, T0 + HOUR)
    assert answer.kwh_consumed_ac == pytest.approx(sum(AC) - AC[8])
    assert answer.kwh_exclusive == pytest.approx(sum(AC[:8]))
    assert (answer.kwh_shared, answer.kwh_unexplained) == (0, pytest.approx(AC[9]))
    assert (answer.minutes, answer.minutes_without_meter_data, answer.stays_truncated) == (9, 1, False)
    first, second = answer.stays
    assert (first.vehicle_id, first.start.ToDatetime(UTC), first.end.ToDatetime(UTC)) == ("V1", T0, T0 + 5 * MINUTE)
    assert (second.vehicle_id, second.minutes, second.minutes_shared) == ("V2", 4, 0)
    assert second.kwh_consumed_ac == pytest.approx(sum(AC[5:8]))
    assert (second.kwh_delivered_dc, second.kwh_reported_dc) == pytest.approx((sum(DC[5:8]), sum(DC[5:9])))
    assert first.mean_soc == pytest.approx(22.282)


@pytest.mark.parametrize(("pause", "stays"), [(14, 1), (15, 2)])
async def test_a_pause_of_15_minutes_ends_a_stay(stub: Stub, database: str, pause: int, stays: int):
    with psycopg.connect(database) as connection:
        connection.execute(
            "UPDATE vehicle_readings SET recorded_at = %s WHERE recorded_at = %s",
            (T0 - (1 + pause) * MINUTE, T0 + 4 * MINUTE),
        )

    answer = await use(stub, window(T0 - HOUR, T0 + HOUR))

    assert [stay.vehicle_id for stay in answer.stays].count("V1") == stays


@pytest.mark.parametrize("meter_id", ["M9", "V1"], ids=["unknown", "a vehicle"])
async def test_use_of_what_is_no_meter_is_not_found(stub: Stub, meter_id: str):
    with refused(grpc.StatusCode.NOT_FOUND) as detail:
        await use(stub, meter_id=meter_id)
    resource = detail(error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("meter", meter_id)


async def test_a_meter_that_nobody_used_has_no_stays(stub: Stub):
    answer = await use(stub, window(T0 + HOUR, T0 + 2 * HOUR))

    assert (answer.kwh_consumed_ac, answer.minutes, list(answer.stays)) == (0, 0, [])


async def test_bad_fields_of_a_question_for_the_use_of_a_meter_are_named(stub: Stub):
    await named(
        stub.QueryMeterUse,
        pb.QueryMeterUseRequest,
        {"meter_id": "M1", "window": TEN},
        [
            ({"meter_id": ""}, "meter_id"),
            ({"meter_id": "M'1"}, "meter_id"),
            ({"window": window(T0, T0 + 31 * 24 * HOUR + MINUTE)}, "window"),
            ({"window": window(T0, T0)}, "window.start"),
        ],
    )
