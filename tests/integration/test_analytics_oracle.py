"""Answers of the real service on random small fleets, against the definitions worked out reading by reading."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from tests.integration.fleets import METERS, T0, VEHICLES, Fleet, assigned, check, exclusive, fleets
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.server import serving


class Database:
    """The service's database, which one fleet after another is put into."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], keys: dict[str, int]) -> None:
        self.connection, self.keys = connection, keys

    async def put(self, fleet: Fleet) -> None:
        key = self.keys
        hours = {(r.meter, r.at.replace(minute=0, second=0, microsecond=0), r.vehicle) for r in fleet.readings}
        # An hour may be there whose reading never came.
        hours |= {(meter, T0.replace(minute=0), "V3") for meter in METERS}
        async with self.connection.transaction(), self.connection.cursor() as cursor:
            for table in ("meter_readings", "vehicle_readings", "meter_vehicle_hours", "meter_assignments"):
                await cursor.execute(f"DELETE FROM {table}")
            await cursor.executemany(
                "INSERT INTO meter_readings VALUES (%s, %s, %s, 230)",
                [(key[m.meter], m.at, m.ac) for m in fleet.meter_readings],
            )
            await cursor.executemany(
                "INSERT INTO vehicle_readings VALUES (%s, %s, %s, %s, %s, %s)",
                [(key[r.vehicle], r.meter and key[r.meter], r.at, r.soc, r.dc, r.temp) for r in fleet.readings],
            )
            await cursor.executemany(
                "INSERT INTO meter_vehicle_hours VALUES (%s, %s, %s)",
                [(key[meter], hour, key[vehicle]) for meter, hour, vehicle in hours if meter],
            )
            await cursor.executemany(
                "INSERT INTO meter_assignments (vehicle_key, meter_key, valid_from, valid_until)"
                " VALUES (%s, %s, %s, %s)",
                [(key[a.vehicle], key[a.meter], a.since, a.until) for a in fleet.assignments],
            )


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        days = [T0.date() + timedelta(days=n) for n in range(2)]
        await connection.execute("SELECT ensure_partitions(%s::date[])", (days,))
        keys = {}
        for kind, ids in ((1, METERS), (2, VEHICLES)):
            for id_ in ids:
                cursor = await connection.execute(
                    "INSERT INTO devices (kind, device_id) VALUES (%s, %s) RETURNING device_key", (kind, id_)
                )
                (keys[id_],) = await cursor.fetchone() or (0,)
        yield Database(connection, keys)


@pytest.fixture
async def stub(database: str) -> AsyncIterator[analytics_pb2_grpc.AnalyticsServiceStub]:
    config = AnalyticsConfig(listen="127.0.0.1:0", postgres_dsn=database, connections=2, refresh=False)
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


def stamp(instant: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


async def ask(stub: analytics_pb2_grpc.AnalyticsServiceStub, **question: Any) -> pb.VehiclePerformance | None:
    try:
        return (await stub.GetVehiclePerformance(pb.GetVehiclePerformanceRequest(**question))).performance
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return None


@pytest.mark.parametrize(
    ("correlation", "oracle"),
    [(pb.CORRELATION_EXCLUSIVE_MINUTES, exclusive), (pb.CORRELATION_ASSIGNED_METER, assigned)],
    ids=["exclusive", "assigned"],
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleet=fleets())
async def test_answers_agree_with_the_definition_alone_and_in_a_batch(db, stub, correlation, oracle, fleet):
    await db.put(fleet)
    question = {
        "window": pb.TimeWindow(start=stamp(fleet.start), end=stamp(fleet.end)),
        "correlation": correlation,
    }

    singles = {vehicle: await ask(stub, vehicle_id=vehicle, **question) for vehicle in VEHICLES}
    batch = await stub.BatchGetVehiclePerformance(
        pb.BatchGetVehiclePerformanceRequest(vehicle_ids=VEHICLES, **question)
    )

    batched = {answer.vehicle_id: answer for answer in batch.performances}
    for vehicle in VEHICLES:
        expected = oracle(fleet, vehicle)
        check(singles[vehicle], expected)
        check(batched.get(vehicle), expected)
    assert list(batch.missing_vehicle_ids) == [v for v in VEHICLES if singles[v] is None]
