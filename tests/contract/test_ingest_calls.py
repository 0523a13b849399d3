"""IngestService's unary calls and its upload, over the wire and on a real database."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ingest_service.config import IngestConfig
from ingest_service.service import lifespan
from wattstream import server
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.ingest.v1 import ingest_pb2_grpc
from wattstream.api.telemetry.v1.telemetry_pb2 import DEVICE_KIND_METER, DEVICE_KIND_VEHICLE, Reading

NOWHERE = "127.0.0.1:1"
NOW_S = int(time.time()) // 3600 * 3600 - 7200
CHANNEL = [("grpc.max_send_message_length", -1)]


@asynccontextmanager
async def ingesting(dsn: str, **settings: object) -> AsyncIterator["ingest_pb2_grpc.IngestServiceAsyncStub"]:
    config = IngestConfig(listen="127.0.0.1:0", postgres_dsn=dsn, state_address=NOWHERE, **settings)  # type: ignore[arg-type]
    async with (
        server.serving(config, lifespan) as address,
        grpc.aio.insecure_channel(address, CHANNEL) as channel,
    ):
        yield ingest_pb2_grpc.IngestServiceStub(channel)


@pytest.fixture
async def ingest(database: str) -> AsyncIterator["ingest_pb2_grpc.IngestServiceAsyncStub"]:
    async with ingesting(database) as stub:
        yield stub


def meter(number: int = 0, *, of: str = "M1", kwh: float = 0.5) -> Reading:
    """Return the reading of a meter `number` seconds after a moment that is two to three hours ago."""
    reading = Reading()
    reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = of, kwh, 230.0
    reading.meter.recorded_at.seconds = NOW_S + number
    return reading


def vehicle(number: int = 0, *, of: str = "V1", soc: float = 50.0, behind: str = "M1") -> Reading:
    reading = Reading()
    reading.vehicle.vehicle_id, reading.vehicle.meter_id = of, behind
    reading.vehicle.soc, reading.vehicle.kwh_delivered_dc, reading.vehicle.battery_temp = soc, 0.4, 20.0
    reading.vehicle.recorded_at.seconds = NOW_S + number
    return reading


def counts(answer: "pb.IngestReadingsResponse | pb.UploadReadingsResponse") -> tuple[int, int, int]:
    return answer.stored, answer.duplicates, answer.rejected


async def send(stub: "ingest_pb2_grpc.IngestServiceAsyncStub", *readings: Reading) -> pb.IngestReadingsResponse:
    return await stub.IngestReadings(pb.IngestReadingsRequest(readings=readings))


def query(dsn: str, statement: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement.encode()).fetchall()


def bad_fields(error: grpc.aio.AioRpcError) -> dict[str, str]:
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    found = error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)
    assert any(detail.Unpack(found) for detail in status.details)
    return {violation.field: violation.description for violation in found.field_violations}


async def test_each_reading_of_a_batch_is_judged_by_itself(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", database: str
) -> None:
    answer = await send(ingest, meter(), Reading(), vehicle(soc=101.0), vehicle(), meter(1, of="bad id"))
    assert counts(answer) == (2, 0, 3)
    assert [(r.index, r.field, r.reason, r.batch_index) for r in answer.rejections] == [
        (1, "reading", pb.REJECTION_REASON_EMPTY_READING, 0),
        (2, "vehicle.soc", pb.REJECTION_REASON_OUT_OF_RANGE, 0),
        (4, "meter.meter_id", pb.REJECTION_REASON_INVALID_ID, 0),
    ]
    assert query(database, "SELECT kind, device_id FROM devices ORDER BY 1, 2") == [(1, "M1"), (2, "V1")]


async def test_the_first_value_stays_however_often_and_in_whatever_order_readings_come(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", database: str
) -> None:
    first = [meter(number, kwh=number) for number in (5, 3, 9)]
    assert counts(await send(ingest, *first, meter(5, kwh=77.0))) == (3, 1, 0)
    history = query(database, "SELECT * FROM meter_readings ORDER BY recorded_at")
    assert [row[2] for row in history] == [3.0, 5.0, 9.0]
    assert counts(await send(ingest, *reversed(first))) == (0, 3, 0)
    assert counts(await send(ingest, meter(9, kwh=1.0), meter(1, kwh=1.0))) == (1, 1, 0)
    assert query(database, "SELECT * FROM meter_readings WHERE kwh_consumed_ac > 1 ORDER BY recorded_at") == history


async def test_a_meter_and_a_vehicle_may_have_the_same_id(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", database: str
) -> None:
    assert counts(await send(ingest, meter(of="X"), vehicle(of="X", behind="X"))) == (2, 0, 0)
    [(meter_key,)] = query(database, "SELECT meter_key FROM meter_readings")
    [(vehicle_key, named)] = query(database, "SELECT vehicle_key, meter_key FROM vehicle_readings")
    assert named == meter_key != vehicle_key


@pytest.mark.parametrize("size", [0, 10_001, 100_000])
async def test_a_batch_of_too_many_readings_or_none_is_a_bad_request(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", size: int
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(ingest, *[meter()] * size)
    [(field, message)] = bad_fields(caught.value).items()
    assert field == "readings"
    assert "10000 readings" in message or "at most 10000" in message


async def test_a_batch_of_the_largest_size_is_stored(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", database: str
) -> None:
    assert counts(await send(ingest, *map(meter, range(5000)), *map(vehicle, range(5000)))) == (10_000, 0, 0)
    assert query(database, "SELECT count(*) FROM meter_readings") == [(5000,)]


async def test_ten_thousand_rejections_come_back_whole(ingest: "ingest_pb2_grpc.IngestServiceAsyncStub") -> None:
    answer = await send(ingest, *[meter(of="\U0001f50c" * 70)] * 10_000)
    assert counts(answer) == (0, 0, 10_000)
    assert [r.index for r in answer.rejections] == list(range(10_000))


async def test_a_message_over_the_limit_is_refused_in_clear_words(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub",
) -> None:
    readings = [vehicle(behind="M" * 60)] * 50_000
    for call in (
        ingest.IngestReadings(pb.IngestReadingsRequest(readings=readings)),
        ingest.UploadReadings(iter([pb.UploadReadingsRequest(readings=readings)])),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="larger than max") as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert counts(await send(ingest, meter())) == (1, 0, 0)


async def test_an_upload_is_summed_up_after_all_is_durable(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", database: str
) -> None:
    batches = [[meter(1), meter(2)], [], [meter(2), Reading(), vehicle()], [vehicle(soc=-1.0)]]
    answer = await ingest.UploadReadings(iter([pb.UploadReadingsRequest(readings=batch) for batch in batches]))
    assert (answer.batches, *counts(answer)) == (4, 3, 1, 2)
    assert [(r.batch_index, r.index, r.field) for r in answer.rejections] == [(2, 1, "reading"), (3, 0, "vehicle.soc")]
    assert query(database, "SELECT count(*) FROM meter_readings") == [(2,)]
    assert counts(await ingest.UploadReadings(iter([]))) == (0, 0, 0)


async def test_an_upload_lists_the_first_thousand_rejections(ingest: "ingest_pb2_grpc.IngestServiceAsyncStub") -> None:
    messages = [pb.UploadReadingsRequest(readings=[Reading()] * 600 + [meter(i)]) for i in range(3)]
    answer = await ingest.UploadReadings(iter(messages))
    assert (answer.batches, *counts(answer)) == (3, 3, 0, 1800)
    assert [(r.batch_index, r.index) for r in answer.rejections] == [(i // 600, i % 600) for i in range(1000)]


async def test_an_upload_with_too_large_a_batch_fails_and_says_which(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub",
) -> None:
    messages = [pb.UploadReadingsRequest(readings=[meter()]), pb.UploadReadingsRequest(readings=[meter()] * 10_001)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ingest.UploadReadings(iter(messages))
    assert bad_fields(caught.value) == {
        "readings": "of message 1 holds 10001 readings; at most 10000 are accepted in one message"
    }


async def test_a_flat_reading_is_stored_as_the_kind_that_it_is(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", database: str
) -> None:
    before = time.time()
    flat = pb.IngestTelemetryRequest(
        meter_id="M1", recorded_at=Timestamp(seconds=NOW_S), kwh_consumed_ac=0.0, voltage=1.0
    )
    answer = await ingest.IngestTelemetry(flat)
    assert (answer.duplicate, answer.kind) == (False, DEVICE_KIND_METER)
    assert before <= answer.received_at.ToMicroseconds() / 1e6 <= time.time()
    assert (await ingest.IngestTelemetry(flat)).duplicate
    flat = pb.IngestTelemetryRequest(
        vehicle_id="V1", recorded_at=Timestamp(seconds=NOW_S), soc=0.0, kwh_delivered_dc=0.0, battery_temp=0.0
    )
    assert (await ingest.IngestTelemetry(flat)).kind == DEVICE_KIND_VEHICLE
    assert query(database, "SELECT meter_key FROM vehicle_readings") == [(None,)]


@pytest.mark.parametrize(
    ("flat", "field"),
    [
        ({}, "vehicle_id"),
        ({"meter_id": "M1", "kwh_consumed_ac": 1.0, "voltage": 1.0, "soc": 0.0}, "soc"),
        ({"meter_id": "", "kwh_consumed_ac": 1.0, "voltage": 1.0}, "meter_id"),
        ({"meter_id": "M1", "kwh_consumed_ac": -1.0, "voltage": 1.0}, "kwh_consumed_ac"),
        ({"vehicle_id": "V1", "soc": 1.0, "battery_temp": 1.0}, "kwh_delivered_dc"),
        ({"vehicle_id": "V1", "meter_id": "?", "soc": 1.0, "kwh_delivered_dc": 1.0, "battery_temp": 1.0}, "meter_id"),
    ],
)
async def test_a_flat_reading_that_is_not_acceptable_names_its_flat_field(
    ingest: "ingest_pb2_grpc.IngestServiceAsyncStub", flat: dict, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ingest.IngestTelemetry(pb.IngestTelemetryRequest(recorded_at=Timestamp(seconds=NOW_S), **flat))
    assert list(bad_fields(caught.value)) == [field]


async def test_a_full_buffer_refuses_unary_calls_and_says_when_to_come_again(database: str) -> None:
    async with ingesting(database, max_buffered_bytes=1, unary_wait_s=0.3) as ingest:
        await send(ingest, meter())
        async with await psycopg.AsyncConnection.connect(database) as blocker:
            await blocker.execute("LOCK TABLE meter_readings IN ACCESS EXCLUSIVE MODE")
            for _ in range(2):  # one waits for its commit in vain, one finds no room
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await send(ingest, meter(1))
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                retry = error_details_pb2.RetryInfo()
                assert any(detail.Unpack(retry) for detail in rpc_status.from_call(caught.value).details)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    assert counts(await send(ingest, meter(1), meter(2))) == (1, 1, 0)
                    break
                await asyncio.sleep(0.01)
