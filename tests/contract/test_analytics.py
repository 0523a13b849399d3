"""AnalyticsService as its callers see it: a real server on a real database, loaded with the check figures."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.errors import DETAILS_KEY
from wattstream.server import serving

Stub = analytics_pb2_grpc.AnalyticsServiceStub

T0 = datetime(2026, 2, 10, 14, 47, tzinfo=UTC)
AC = [0.4796, 0.4457, 0.5210, 0.6093, 0.6646, 0.6258, 0.4910, 0.6636, 0.4867, 0.5904]
DC = [0.4227, 0.4037, 0.4670, 0.5588, 0.5986, 0.5568, 0.4347, 0.5990, 0.4371, 0.5218]
SOC = [20.70, 21.38, 22.16, 23.09, 24.08, 45.93, 46.65, 47.65, 48.38, 49.25]
TEMP = [30.1, 30.2, 30.3, 30.4, 30.5, 30.6, 30.7, 30.8, 30.9, 31.0]


def load(dsn: str, t0: datetime) -> None:
    """Load M1, V1 and V2 from `t0` on, a reading a minute, and V3 without any."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT ensure_partitions(%s::date[])", ([t0.date(), t0.date() + timedelta(days=1)],))
        connection.execute("INSERT INTO devices (kind, device_id) VALUES (1, 'M1'), (2, 'V1'), (2, 'V2'), (2, 'V3')")
        key = dict(connection.execute("SELECT device_id, device_key FROM devices").fetchall())
        for minute in range(10):
            at, vehicle = t0 + timedelta(minutes=minute), key["V1" if minute < 5 else "V2"]
            connection.execute("INSERT INTO meter_readings VALUES (%s, %s, %s, 230)", (key["M1"], at, AC[minute]))
            connection.execute(
                "INSERT INTO vehicle_readings VALUES (%s, %s, %s, %s, %s, %s)",
                (vehicle, key["M1"], at, SOC[minute], DC[minute], TEMP[minute]),
            )
            connection.execute(
                "INSERT INTO meter_vehicle_hours VALUES (%s, date_trunc('hour', %s), %s) ON CONFLICT DO NOTHING",
                (key["M1"], at, vehicle),
            )


@pytest.fixture
async def stub(database: str) -> AsyncIterator[Stub]:
    config = AnalyticsConfig(listen="127.0.0.1:0", postgres_dsn=database, connections=2, refresh=False)
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


@pytest.fixture
def fleet(database: str) -> None:
    load(database, T0)


def stamp(instant: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


def window(start: datetime | None, end: datetime | None) -> pb.TimeWindow:
    return pb.TimeWindow(start=start and stamp(start), end=end and stamp(end))


DAY = window(T0 - timedelta(hours=12), T0 + timedelta(hours=12))


@contextmanager
def refused(code: grpc.StatusCode) -> Iterator[Callable[[type], object]]:
    """Expect a status; yields what unpacks a google.rpc detail of a type from it, afterwards."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield lambda kind: _detail(caught.value, kind)
    assert caught.value.code() == code


def _detail(error: grpc.aio.AioRpcError, kind: type):
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
    assert status.message == error.details()
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            return detail
    raise AssertionError(f"no {kind.__name__} in {status}")


@pytest.mark.parametrize(
    ("vehicle", "figures"),
    [
        ("V1", (2.7202, 2.4508, 0.900963164473201, 22.282, 30.3)),
        ("V2", (2.8575, 2.5494, 0.892178477690289, 47.572, 30.8)),
    ],
)
@pytest.mark.usefixtures("fleet")
async def test_check_figures(stub: Stub, vehicle, figures):
    response = await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(vehicle_id=vehicle, window=DAY))

    answer = response.performance
    assert (
        answer.kwh_consumed_ac,
        answer.kwh_delivered_dc,
        answer.efficiency,
        answer.mean_soc,
        answer.mean_battery_temp,
    ) == pytest.approx(figures, rel=0, abs=1e-9)
    assert answer.kwh_lost == pytest.approx(figures[0] - figures[1], rel=0, abs=1e-9)
    assert (answer.readings_kept, answer.readings, answer.readings_without_meter) == (5, 5, 0)
    assert (answer.minutes_kept, answer.minutes_shared, answer.minutes_without_meter_data) == (5, 0, 0)
    assert (answer.vehicle_id, list(answer.meter_ids), answer.window) == (vehicle, ["M1"], DAY)
    assert answer.correlation == pb.CORRELATION_EXCLUSIVE_MINUTES


async def test_without_a_window_the_last_24_hours_are_asked_for_and_the_answer_says_which(stub: Stub, database: str):
    load(database, datetime.now(UTC) - timedelta(hours=1))

    response = await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(vehicle_id="V1"))

    used = response.performance.window
    assert response.performance.readings == 5
    assert used.end.ToDatetime() - used.start.ToDatetime() == timedelta(hours=24)
    assert timedelta() <= datetime.now(UTC) - used.end.ToDatetime(UTC) < timedelta(minutes=2)


@pytest.mark.usefixtures("fleet")
async def test_window_ends_are_floored_to_whole_minutes(stub: Stub):
    asked = window(T0 + timedelta(seconds=59.9), T0 + timedelta(minutes=3, seconds=59))

    response = await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(vehicle_id="V1", window=asked))

    assert response.performance.window == window(T0, T0 + timedelta(minutes=3))
    assert response.performance.kwh_consumed_ac == pytest.approx(sum(AC[:3]), abs=1e-9)


@pytest.mark.usefixtures("fleet")
async def test_the_assigned_meter_gives_all_it_consumed_while_assigned(stub: Stub, database: str):
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)"
            " SELECT v.device_key, m.device_key, %s, %s FROM devices v, devices m"
            " WHERE v.device_id = 'V1' AND m.device_id = 'M1'",
            (T0 + timedelta(minutes=2), T0 + timedelta(minutes=9)),
        )

    response = await stub.GetVehiclePerformance(
        pb.GetVehiclePerformanceRequest(vehicle_id="V1", window=DAY, correlation=pb.CORRELATION_ASSIGNED_METER)
    )

    answer = response.performance
    assert answer.correlation == pb.CORRELATION_ASSIGNED_METER
    assert answer.kwh_consumed_ac == pytest.approx(sum(AC[2:9]), abs=1e-9)
    assert answer.kwh_delivered_dc == pytest.approx(sum(DC[:5]), abs=1e-9)
    assert answer.mean_soc == pytest.approx(22.282, abs=1e-9)
    assert (answer.minutes_kept, answer.readings_kept, list(answer.meter_ids)) == (7, 5, ["M1"])
    assert (answer.minutes_shared, answer.minutes_without_meter_data) == (0, 0)


@pytest.mark.usefixtures("fleet")
async def test_a_vehicle_without_an_assignment_has_no_assigned_energy_and_no_efficiency(stub: Stub):
    response = await stub.GetVehiclePerformance(
        pb.GetVehiclePerformanceRequest(vehicle_id="V1", window=DAY, correlation=pb.CORRELATION_ASSIGNED_METER)
    )

    answer = response.performance
    assert (answer.kwh_consumed_ac, answer.readings_kept, list(answer.meter_ids)) == (0, 5, [])
    assert not answer.HasField("efficiency")
    assert answer.readings_without_meter == 0


@pytest.mark.usefixtures("fleet")
async def test_a_batch_answers_in_the_order_asked_each_vehicle_once_and_lists_what_is_missing(stub: Stub):
    asked = ["V9", "V2", "V3", "V1", "V2", "V9"]

    batch = await stub.BatchGetVehiclePerformance(pb.BatchGetVehiclePerformanceRequest(vehicle_ids=asked, window=DAY))

    singles = [
        (await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(vehicle_id=id_, window=DAY))).performance
        for id_ in ("V2", "V1")
    ]
    assert list(batch.performances) == singles
    assert list(batch.missing_vehicle_ids) == ["V9", "V3"]
    assert batch.window == DAY


@pytest.mark.parametrize("vehicle", ["V3", "V9"], ids=["no readings", "unknown"])
@pytest.mark.parametrize("correlation", [pb.CORRELATION_EXCLUSIVE_MINUTES, pb.CORRELATION_ASSIGNED_METER])
@pytest.mark.usefixtures("fleet")
async def test_nothing_kept_is_not_found_and_names_the_vehicle(stub: Stub, vehicle, correlation):
    with refused(grpc.StatusCode.NOT_FOUND) as detail:
        await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(vehicle_id=vehicle, correlation=correlation))
    resource = detail(error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("vehicle", vehicle)
    assert resource.description == "No charging data found in last 24 hours"
    assert detail(error_details_pb2.ErrorInfo).reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(minutes=90), "last 90 minutes"),
        (timedelta(hours=2), "last 2 hours"),
        (timedelta(hours=24), "last 24 hours"),
        (timedelta(days=31), "last 31 days"),
    ],
)
async def test_not_found_says_the_windows_own_length(stub: Stub, length: timedelta, words: str):
    with pytest.raises(grpc.aio.AioRpcError, match=f"No charging data found in {words}"):
        await stub.GetVehiclePerformance(
            pb.GetVehiclePerformanceRequest(vehicle_id="V3", window=window(T0 - length, T0))
        )


BAD = [
    ({"vehicle_id": ""}, "vehicle_id"),
    ({"vehicle_id": "V" * 65}, "vehicle_id"),
    ({"vehicle_id": "V1\n"}, "vehicle_id"),
    ({"vehicle_id": "V1\x00"}, "vehicle_id"),
    ({"vehicle_id": "V1'; DROP TABLE devices; --"}, "vehicle_id"),
    ({"correlation": 3}, "correlation"),
    ({"correlation": -1}, "correlation"),
    ({"window": window(T0, T0)}, "window.start"),
    ({"window": window(T0, T0 - timedelta(hours=1))}, "window.start"),
    ({"window": window(T0, T0 + timedelta(seconds=59))}, "window.start"),
    ({"window": window(datetime.now(UTC) + timedelta(days=1), None)}, "window.start"),
    ({"window": window(T0, T0 + timedelta(days=400, minutes=1))}, "window"),
    ({"window": pb.TimeWindow(start=Timestamp(seconds=-1), end=stamp(T0))}, "window.start"),
    ({"window": pb.TimeWindow(end=Timestamp(seconds=253_402_300_800))}, "window.end"),
    ({"window": pb.TimeWindow(end=Timestamp(seconds=2**63 - 1))}, "window.end"),
    ({"window": pb.TimeWindow(end=Timestamp(seconds=1, nanos=1_000_000_000))}, "window.end"),
    ({"window": pb.TimeWindow(start=Timestamp(seconds=1, nanos=-1))}, "window.start"),
]


@pytest.mark.parametrize(("change", "field"), BAD)
async def test_a_bad_field_is_named(stub: Stub, change: dict, field: str):
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as detail:
        await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(**{"vehicle_id": "V1", **change}))
    (violation,) = detail(error_details_pb2.BadRequest).field_violations
    assert violation.field == field
    assert violation.description


@pytest.mark.parametrize(
    ("ids", "field"),
    [([], "vehicle_ids"), (["V"] * 1001, "vehicle_ids"), (["V1", ""], "vehicle_ids[1]"), (["V 1"], "vehicle_ids[0]")],
)
async def test_a_bad_batch_is_named(stub: Stub, ids: list[str], field: str):
    with refused(grpc.StatusCode.INVALID_ARGUMENT) as detail:
        await stub.BatchGetVehiclePerformance(pb.BatchGetVehiclePerformanceRequest(vehicle_ids=ids))
    (violation,) = detail(error_details_pb2.BadRequest).field_violations
    assert violation.field == field


async def test_the_first_and_last_times_there_are_can_be_asked_for(stub: Stub):
    for end in (Timestamp(seconds=60), Timestamp(seconds=253_402_300_799, nanos=999_999_999)):
        with refused(grpc.StatusCode.NOT_FOUND):
            await stub.GetVehiclePerformance(
                pb.GetVehiclePerformanceRequest(vehicle_id="V1", window=pb.TimeWindow(end=end))
            )
