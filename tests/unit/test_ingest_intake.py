"""What waits to be stored: how much may, in which order it is taken, and how much of it is decoded ahead."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from ingest_service.batches import Batch, Message, Verdict, prepare
from ingest_service.config import IngestConfig
from ingest_service.framing import STREAM
from ingest_service.ingestion import limits_of
from ingest_service.intake import Intake
from ingest_service.limits import PeerLimits
from ingest_service.readings import METER, VEHICLE
from ingest_service.streams import Streams
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading

LIMITS = limits_of(IngestConfig())
NOW_US = 1_800_000_000_000_000
READ_US = NOW_US - 1_000_000


class Recorder:
    """Decodes, and remembers what."""

    def __init__(self) -> None:
        self.decoded: list[Message] = []

    def __call__(self, messages: Sequence[Message]) -> Batch:
        self.decoded.extend(messages)
        return prepare(messages, {METER: {}, VEHICLE: {}}, LIMITS, 10_000, NOW_US)


def ignore(_: Verdict | Exception) -> None:
    pass


def message(batch_id: int, readings: int = 1, settle: Any = ignore) -> Message:
    reading = Reading()
    reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = "M1", 0.5, 230.0
    reading.meter.recorded_at.FromMicroseconds(READ_US)
    data = pb.StreamReadingsRequest(batch_id=batch_id, readings=[reading] * readings).SerializeToString()
    return Message(data, STREAM, NOW_US, settle)


def names(batches: list[Batch]) -> list[int]:
    return [framed.batch_id for batch in batches for framed in batch.framed]


def test_what_came_first_is_taken_first_whatever_was_decoded_ahead() -> None:
    intake = Intake(Recorder(), 2**30)
    for i in range(1, 60):
        assert intake.put_now(message(i, 1 + i * 37 % 5000))
    taken = []
    while intake.is_busy():
        taken += names(intake.take(7000))
    assert taken == list(range(1, 60))


def test_a_group_is_hardly_larger_than_asked_for() -> None:
    intake = Intake(Recorder(), 2**30)
    for i in range(2000):
        intake.put_now(message(i, 100))
    taken = sum(framed.readings for batch in intake.take(20_000) for framed in batch.framed)
    assert 20_000 <= taken < 30_000


def test_while_nothing_is_taken_most_of_what_waits_stays_bytes() -> None:
    recorder = Recorder()
    intake = Intake(recorder, 2**30)
    for i in range(600):
        intake.put_now(message(i, 1000))
    assert 0 < len(recorder.decoded) < 100
    while intake.is_busy():
        intake.take(50_000)
    assert len(recorder.decoded) == 600


@pytest.mark.parametrize("readings", [0, 1, 1000])
def test_no_more_is_taken_in_than_there_is_room_for_however_small_the_messages(readings: int) -> None:
    intake = Intake(Recorder(), 200_000)
    held = 0
    while intake.put_now(message(1, readings)):
        held += 1
    assert 0 < held * max(500, len(message(1, readings).data)) <= 200_000
    taken = intake.take(10**9)
    assert not intake.put_now(message(1, readings)), "taken, but not yet stored"
    intake.release(taken)
    assert intake.put_now(message(1, readings))


def test_one_message_larger_than_all_the_room_is_taken_in_alone() -> None:
    intake = Intake(Recorder(), 10)
    assert intake.put_now(message(1, 100))
    assert not intake.put_now(message(2, 0))


async def test_who_waits_for_room_comes_in_by_turn_and_no_newcomer_before_them() -> None:
    intake = Intake(Recorder(), 1)
    assert intake.put_now(message(0))
    waiting = [asyncio.create_task(intake.put(message(i))) for i in range(1, 6)]
    await asyncio.sleep(0)
    order = []
    for _ in range(6):
        assert not intake.put_now(message(99))
        taken = intake.take(1)
        order += names(taken)
        intake.release(taken)
        while not intake.is_busy() and not all(task.done() for task in waiting):
            await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == list(range(6))


async def test_who_gives_up_waiting_for_room_leaves_the_turn_to_the_next() -> None:
    intake = Intake(Recorder(), 1)
    assert intake.put_now(message(0))
    first, second = (asyncio.create_task(intake.put(message(i))) for i in (1, 2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    intake.release(intake.take(1))
    await asyncio.wait_for(second, 10)
    assert names(intake.take(1)) == [2]


async def endless() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0)
        yield message(1, 100).data


async def nothing() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize(("quiet", "most_bytes"), [(0, 512 * 1024), (1000, 32 * 1024)])
async def test_a_greedy_stream_has_less_under_way_where_it_keeps_many_others_waiting(
    quiet: int, most_bytes: int
) -> None:
    intake = Intake(Recorder(), 2**30)
    streams = Streams(intake, PeerLimits(0, 0, time.monotonic), 512 * 1024)

    async def run(messages: AsyncIterator[bytes]) -> None:
        async for _ in streams.verdicts(messages, STREAM, "peer"):
            pass

    running = [asyncio.create_task(run(nothing())) for _ in range(quiet)]
    await asyncio.sleep(0)
    running.append(asyncio.create_task(run(endless())))
    held = -1
    while held != (held := intake._bytes):
        for _ in range(20):
            await asyncio.sleep(0)
    waiting = sum(len(m.data) for batch in intake.take(10**9) for m in batch.messages)
    assert most_bytes // 2 < waiting <= most_bytes
    assert intake.put_now(message(7, 1))
    assert names(intake.take(1)) == [7], "who comes now is in the next group"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
