"""Rows go into real tables and come back exactly; the writer stores groups whatever was done to the tables."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_service.batches import Message, Verdict, prepare
from ingest_service.config import IngestConfig
from ingest_service.framing import UNARY
from ingest_service.groundwork import Groundwork
from ingest_service.history import append_any, append_new
from ingest_service.ingestion import limits_of
from ingest_service.intake import Intake
from ingest_service.readings import KINDS, METER, VEHICLE, KeyedRows
from ingest_service.registry import Registry
from ingest_service.writer import Pace, Writer
from wattstream import postgres
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading

DAY_US = 86_400_000_000
TODAY_US = 1_770_681_600_000_000  # 2026-02-10
MOST_US = TODAY_US + 30 * DAY_US
_Entry = tuple[int, int, int, tuple[float, float, float]]


def rows(kind: object, entries: list[_Entry]) -> KeyedRows:
    """Return rows: key, key of the meter named or 0, time, values."""
    ordered = sorted(entries, key=lambda entry: (entry[0], entry[2]))
    count, width = len(ordered), len(kind.values)  # type: ignore[attr-defined]
    return KeyedRows(
        kind,  # type: ignore[arg-type]
        np.array([entry[0] for entry in ordered], np.int64),
        np.array([entry[1] if kind is VEHICLE else 0 for entry in ordered], np.int64),
        np.array([entry[2] for entry in ordered], np.int64),
        np.array([entry[3][:width] for entry in ordered], np.float64).reshape(count, width),
        np.zeros(count, np.int64),
    )


async def stored(connection: psycopg.AsyncConnection) -> tuple[list[tuple], list[tuple]]:
    micros = "(extract(epoch FROM recorded_at) * 1000000)::int8"
    meters = await connection.execute(
        f"SELECT meter_key, {micros}, kwh_consumed_ac, voltage FROM meter_readings ORDER BY 1, 2"
    )
    vehicles = await connection.execute(
        f"SELECT vehicle_key, coalesce(meter_key, 0), {micros}, soc, kwh_delivered_dc, battery_temp"
        " FROM vehicle_readings ORDER BY 1, 3"
    )
    return await meters.fetchall(), await vehicles.fetchall()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, options="-c timezone=UTC") as opened:
        await opened.execute(
            "SELECT ensure_partitions(array(SELECT d::date FROM generate_series("
            "date '2026-02-10', date '2026-03-12', interval '1 day') AS d))"
        )
        await opened.commit()
        yield opened


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ENTRIES = st.dictionaries(
    st.tuples(st.integers(1, 2**31 - 1), st.integers(TODAY_US, MOST_US)),
    st.tuples(st.integers(0, 2**31 - 1), st.tuples(FLOATS, FLOATS, FLOATS)),
    max_size=12,
).map(lambda table: [(key, meter, time, values) for (key, time), (meter, values) in table.items()])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ENTRIES, ENTRIES, st.booleans())
async def test_rows_come_back_exactly_as_they_were_written(
    connection: psycopg.AsyncConnection, meters: list[_Entry], vehicles: list[_Entry], straight: bool
) -> None:
    offered = {METER: rows(METER, meters), VEHICLE: rows(VEHICLE, vehicles)}
    async with connection.transaction(force_rollback=True):
        new = await (append_new if straight else append_any)(connection, offered)
        assert all(new[kind].all() and len(new[kind]) == len(offered[kind]) for kind in KINDS)
        found = await stored(connection)
        assert found[0] == sorted((key, time, *values[:2]) for key, _, time, values in meters)
        assert found[1] == sorted(
            ((key, meter, time, *values) for key, meter, time, values in vehicles), key=lambda row: (row[0], row[2])
        )
        again = await append_any(connection, offered)
        assert not any(of_kind.any() for of_kind in again.values())


async def test_only_rows_that_are_new_are_stored_and_the_first_value_stays(
    connection: psycopg.AsyncConnection,
) -> None:
    first = rows(METER, [(1, 0, TODAY_US, (1.0, 230.0, 0)), (2, 0, TODAY_US, (2.0, 230.0, 0))])
    second = rows(METER, [(1, 0, TODAY_US, (9.0, 9.0, 0)), (1, 0, TODAY_US + 1, (3.0, 230.0, 0))])
    await append_new(connection, {METER: first})
    with pytest.raises(psycopg.errors.UniqueViolation):
        await append_new(connection, {METER: second})
    assert (await append_any(connection, {METER: second}))[METER].tolist() == [False, True]
    assert [row[2] for row in (await stored(connection))[0]] == [1.0, 3.0, 2.0]


async def test_negative_zero_and_the_smallest_numbers_keep_their_bits(connection: psycopg.AsyncConnection) -> None:
    values = (-0.0, 5e-324, -2.2250738585072014e-308)
    await append_new(connection, {VEHICLE: rows(VEHICLE, [(1, 0, TODAY_US + 1, values)])})
    [row] = (await stored(connection))[1]
    assert np.array(row[3:]).tobytes() == np.array(values).tobytes()


@asynccontextmanager
async def writing(dsn: str) -> AsyncIterator[Intake]:
    """Yield the intake of a writer."""
    limits = limits_of(IngestConfig())
    async with postgres.open_pool(dsn, name="test", size=2, statement_timeout_s=10) as pool:
        registry = Registry()
        intake = Intake(lambda messages: prepare(messages, registry.keys, limits, 10_000, MOST_US), 10_000_000)
        groundwork = Groundwork(pool, registry, registers=True)
        writer = Writer(pool, registry, groundwork, intake, lambda _stored, _is_all: None, Pace(1000, 0.01, 20))
        task = asyncio.create_task(writer.run())
        try:
            yield intake
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def submit(intake: Intake, *entries: tuple[str, int, float]) -> "asyncio.Future[Verdict]":
    """Hand a message of meter readings over: id, time, kWh; the future has what became of it."""
    request = pb.IngestReadingsRequest()
    for meter_id, time_us, kwh in entries:
        reading = Reading(meter=MeterReading(meter_id=meter_id, kwh_consumed_ac=kwh, voltage=230.0))
        reading.meter.recorded_at.FromMicroseconds(time_us)
        request.readings.append(reading)
    promise: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()

    def settle(told: Verdict | Exception) -> None:
        if isinstance(told, Exception):
            promise.set_exception(told)
        else:
            promise.set_result(told)

    assert intake.put_now(Message(request.SerializeToString(), UNARY, TODAY_US, settle))
    return promise


def counts(verdict: Verdict) -> tuple[int, int]:
    return verdict.stored, verdict.duplicates


async def test_a_message_that_can_never_be_stored_holds_up_no_other_of_its_group(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as admin:
        await admin.execute("ALTER TABLE meter_readings ADD CHECK (kwh_consumed_ac < 100)")
    async with writing(database) as intake:
        sent = [submit(intake, (name, TODAY_US, kwh)) for name, kwh in (("M1", 1.0), ("M3", 100.0), ("M2", 1.0))]
        assert counts(await sent[0]) == (1, 0)
        assert counts(await sent[2]) == (1, 0)
        with pytest.raises(psycopg.DatabaseError):
            await sent[1]
        assert counts(await submit(intake, ("M1", TODAY_US + 1, 1.0))) == (1, 0)


@pytest.mark.parametrize("expects_duplicates", [False, True])
async def test_a_partition_that_somebody_dropped_is_made_again(database: str, expects_duplicates: bool) -> None:
    async with writing(database) as intake:
        for repeat in range(2 if expects_duplicates else 1):
            assert counts(await submit(intake, ("M1", TODAY_US, 1.0))) == ((0, 1) if repeat else (1, 0))
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as admin:
            await admin.execute("DROP TABLE meter_readings_20260210")
        assert counts(await submit(intake, ("M1", TODAY_US, 1.0), ("M1", TODAY_US + 1, 1.0))) == (2, 0)


async def test_a_group_over_more_days_than_a_transaction_may_lock_is_stored_whole(database: str) -> None:
    async with writing(database) as intake:
        entries = [("M1", TODAY_US - day * DAY_US, 1.0) for day in range(100)]
        assert counts(await submit(intake, *entries)) == (100, 0)
        assert counts(await submit(intake, *entries, ("M2", TODAY_US, 1.0))) == (1, 100)
