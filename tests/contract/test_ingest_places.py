"""Where readings of ingest come to lie: under which device, in which partition, and in which hours of a meter."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import grpc.aio
import psycopg
import pytest

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream import server
from wattstream.api.ingest.v1 import fleet_pb2, fleet_pb2_grpc, ingest_pb2_grpc
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import DEVICE_KIND_METER, DEVICE_KIND_VEHICLE, Reading

NOWHERE = "127.0.0.1:1"
DAY_S = 86_400
TODAY_S = int(time.time()) // DAY_S * DAY_S

# Readings that name a meter in an hour that is not noted: there must never be one.
UNCOVERED = """
    SELECT count(*) FROM vehicle_readings AS reading
    WHERE reading.meter_key IS NOT NULL AND NOT EXISTS (
        SELECT FROM meter_vehicle_hours AS noted
        WHERE noted.meter_key = reading.meter_key AND noted.vehicle_key = reading.vehicle_key
            AND noted.hour = date_trunc('hour', reading.recorded_at, 'UTC'))
"""


class Stubs(NamedTuple):
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub"
    fleet: "fleet_pb2_grpc.FleetServiceAsyncStub"


@asynccontextmanager
async def ingesting(dsn: str, **settings: object) -> AsyncIterator[Stubs]:
    config = IngestConfig(listen="127.0.0.1:0", postgres_dsn=dsn, state_address=NOWHERE, **settings)  # type: ignore[arg-type]
    async with server.serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield Stubs(ingest_pb2_grpc.IngestServiceStub(channel), fleet_pb2_grpc.FleetServiceStub(channel))


def meter(at_s: float, of: str = "M1") -> Reading:
    reading = Reading()
    reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = of, 0.5, 230.0
    reading.meter.recorded_at.FromMicroseconds(round(at_s * 1_000_000))
    return reading


def vehicle(at_s: float, of: str = "V1", behind: str = "") -> Reading:
    reading = Reading()
    reading.vehicle.vehicle_id, reading.vehicle.meter_id = of, behind
    reading.vehicle.soc, reading.vehicle.kwh_delivered_dc, reading.vehicle.battery_temp = 50.0, 0.4, 20.0
    reading.vehicle.recorded_at.FromMicroseconds(round(at_s * 1_000_000))
    return reading


async def send(stubs: Stubs, *readings: Reading) -> pb.IngestReadingsResponse:
    return await stubs.ingest.IngestReadings(pb.IngestReadingsRequest(readings=readings))


def query(dsn: str, statement: str) -> list[tuple]:
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        return connection.execute(statement.encode()).fetchall()


async def register(stubs: Stubs, *devices: tuple[int, str]) -> None:
    request = fleet_pb2.RegisterDevicesRequest()
    for kind, device_id in devices:
        request.devices.add(kind=kind, device_id=device_id)  # type: ignore[arg-type]
    await stubs.fleet.RegisterDevices(request)


async def test_unknown_devices_are_registered_on_first_sight_also_meters_only_named(database: str) -> None:
    async with ingesting(database) as stubs:
        assert (await send(stubs, meter(TODAY_S, "M1"), vehicle(TODAY_S, "V1", behind="M2"))).stored == 2
    assert query(database, "SELECT kind, device_id FROM devices ORDER BY 1, 2") == [(1, "M1"), (1, "M2"), (2, "V1")]


async def test_unknown_devices_are_rejected_where_that_is_the_rule_until_they_are_registered(database: str) -> None:
    async with ingesting(database, unknown_devices="reject") as stubs:
        await register(stubs, (DEVICE_KIND_VEHICLE, "V1"))
        sent = [
            meter(TODAY_S, "M1"),
            vehicle(TODAY_S, "V1"),
            vehicle(TODAY_S + 1, "V1", behind="M1"),
            vehicle(TODAY_S, "V2", behind="M1"),
        ]
        answer = await send(stubs, *sent)
        assert (answer.stored, answer.rejected) == (1, 3)
        assert [(r.index, r.field, r.reason) for r in answer.rejections] == [
            (0, "meter.meter_id", pb.REJECTION_REASON_UNKNOWN_DEVICE),
            (2, "vehicle.meter_id", pb.REJECTION_REASON_UNKNOWN_DEVICE),
            (3, "vehicle.vehicle_id", pb.REJECTION_REASON_UNKNOWN_DEVICE),
        ]
        assert query(database, "SELECT count(*) FROM devices") == [(1,)]
        await register(stubs, (DEVICE_KIND_METER, "M1"), (DEVICE_KIND_VEHICLE, "V2"))
        answer = await send(stubs, *sent)
        assert (answer.stored, answer.duplicates, answer.rejected) == (3, 1, 0)


async def test_an_id_registered_as_one_kind_is_unknown_as_the_other(database: str) -> None:
    async with ingesting(database, unknown_devices="reject") as stubs:
        await register(stubs, (DEVICE_KIND_METER, "X"))
        assert [r.index for r in (await send(stubs, meter(TODAY_S, "X"), vehicle(TODAY_S, "X"))).rejections] == [1]


async def test_each_reading_lies_in_the_partition_of_its_utc_day(database: str) -> None:
    edges = [
        days * -DAY_S + TODAY_S + offset
        for days in (0, 1, 40, 1000, 3649)
        for offset in (0, 1e-6, -1e-6, DAY_S - 1e-6)
        if days * -DAY_S + TODAY_S + offset < time.time()
    ]
    async with ingesting(database) as stubs:
        answer = await send(stubs, *map(meter, edges), *map(vehicle, edges))
    assert answer.stored == len({round(edge * 1e6) for edge in edges}) * 2
    for table in ("meter_readings", "vehicle_readings"):
        wrong = f"""SELECT count(*) FROM {table}
            WHERE tableoid::regclass::text <> '{table}' || to_char(recorded_at, '_YYYYMMDD')"""
        assert query(database, wrong) == [(0,)]


async def test_today_and_the_days_ahead_have_partitions_before_the_first_reading(database: str) -> None:
    async with ingesting(database):
        async with asyncio.timeout(10):
            while query(database, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'meter_readings'::regclass") != [
                (3,)
            ]:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("resend_first", [False, True])
async def test_a_partition_that_somebody_dropped_is_made_again(database: str, resend_first: bool) -> None:
    day = time.strftime("%Y%m%d", time.gmtime(TODAY_S - 5 * DAY_S))
    async with ingesting(database) as stubs:
        sent = vehicle(TODAY_S - 5 * DAY_S, behind="M1")
        assert (await send(stubs, sent)).stored == 1
        if resend_first:
            assert (await send(stubs, sent)).duplicates == 1
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(f"DROP TABLE vehicle_readings_{day}; DELETE FROM meter_vehicle_hours".encode())
        assert (await send(stubs, sent)).stored == 1
    assert query(database, UNCOVERED) == [(0,)]


async def test_the_hours_of_a_meter_cover_every_reading_that_names_it(database: str) -> None:
    moves = random.Random(5)
    hours = [TODAY_S - hour * 3600 for hour in range(60)]
    async with ingesting(database, max_group_readings=100) as stubs:
        for _ in range(30):
            sent = [
                vehicle(moves.choice(hours) + moves.randrange(3600), f"V{moves.randrange(5)}", f"M{moves.randrange(4)}")
                for _ in range(40)
            ]
            sent += [vehicle(moves.choice(hours) + 0.5, "V0"), *sent[:10]]
            moves.shuffle(sent)
            answer = await send(stubs, *(r for r in sent if r.vehicle.recorded_at.seconds < time.time()))
            assert answer.rejected == 0
    assert query(database, UNCOVERED) == [(0,)]
    assert query(database, "SELECT count(*) FROM vehicle_readings WHERE meter_key IS NULL")[0][0] > 0
    needless = """SELECT count(*) FROM meter_vehicle_hours AS noted WHERE NOT EXISTS (
        SELECT FROM vehicle_readings AS r WHERE r.vehicle_key = noted.vehicle_key
            AND r.recorded_at >= noted.hour AND r.recorded_at < noted.hour + interval '1 hour')"""
    assert query(database, needless) == [(0,)]


async def test_a_flood_of_questions_and_one_that_waits_do_not_hold_up_readings(database: str) -> None:
    async with ingesting(database, connections=3) as stubs:
        await send(stubs, meter(TODAY_S))
        with psycopg.connect(database) as blocker:
            blocker.execute("LOCK TABLE meter_assignments IN ACCESS EXCLUSIVE MODE")
            questions = [
                asyncio.ensure_future(stubs.fleet.ListAssignments(fleet_pb2.ListAssignmentsRequest(), timeout=3))
                for _ in range(50)
            ]
            await asyncio.wait(questions, timeout=0.2)
            assert (await send(stubs, meter(TODAY_S + 1))).stored == 1
            assert not any(question.done() for question in questions)
        await asyncio.gather(*questions)
