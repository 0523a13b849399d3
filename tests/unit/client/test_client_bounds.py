"""Both senders, where something is full, or has come to its end."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from wattstream.api.ingest.v1.ingest_pb2_grpc import add_IngestServiceServicer_to_server
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.client import (
    AsyncSender,
    ClosedError,
    Limits,
    NotDeliveredError,
    Retry,
    Sender,
    Spool,
    SpoolFullError,
)

QUICK = Retry(initial_s=0.001, max_s=0.01, give_up_after_s=30, first_contact_s=30)
ONE_BY_ONE = Limits(batch_readings=1, window=4, linger_s=0.0)


def readings(count: int, first: int = 1) -> list[Reading]:
    return [Reading(meter=MeterReading(meter_id=f"M{number}")) for number in range(first, first + count)]


def test_a_full_memory_holds_the_sender_until_there_is_room_or_its_time_is_over(
    kind: Any, serve: Any, script: Any
) -> None:
    limits = Limits(batch_readings=1, window=1, linger_s=0.0, queue_readings=2)
    holding = script(acks=0)
    with serve(holding, script(), last=3) as served:
        sender = kind(served.address, limits=limits, retry=QUICK)
        first = [sender.send(reading) for reading in readings(2)]
        with pytest.raises(TimeoutError):
            sender.send(readings(1)[0], timeout_s=0.05)
        assert sender.statistics().queued + sender.statistics().in_flight == 2
        holding.hold.set()
        assert sender.send(readings(1, first=3)[0], timeout_s=30).result(30).durable
        assert all(future.result(0).durable for future in first)
        sender.close()


def test_closing_in_vain_tells_how_many_readings_are_lost_and_leaves_nothing_behind(
    kind: Any, serve: Any, script: Any
) -> None:
    before = threads()
    with serve(script(acks=1), last=0) as served:
        sender = kind(served.address, limits=ONE_BY_ONE)
        futures = [sender.send(reading) for reading in readings(3)]
        assert futures[0].result(30).durable
        with pytest.raises(NotDeliveredError) as raised:
            sender.close(0.05)
        assert raised.value.count == 2
        assert [type(future.exception(1)) for future in futures[1:]] == [NotDeliveredError] * 2
    # The asyncio sender shares threads with the whole process, gRPC's own; the other has all threads for itself.
    until(lambda: not any("wattstream" in thread.name or kind is Sender for thread in threads() - before))


def test_a_closed_sender_takes_nothing(serve: Any, script: Any) -> None:
    with serve(script(), last=0) as served:
        sender = Sender(served.address)
        sender.close()
        sender.close()
        with pytest.raises(ClosedError):
            sender.send(readings(1)[0])


def test_a_reading_that_fits_into_no_message_is_refused_at_once(kind: Any, serve: Any, script: Any) -> None:
    with serve(script(), last=0) as served, kind(served.address) as sender, pytest.raises(ValueError, match="fit"):
        sender.send(Reading(meter=MeterReading(meter_id="M" * 2**21)))


def test_what_a_closed_sender_has_left_in_its_spool_is_sent_first_by_the_next(
    kind: Any, tmp_path: Path, serve: Any, script: Any
) -> None:
    spool = tmp_path / "spool"
    with serve(script(acks=0), script(), last=9) as served:
        sender = kind(served.address, limits=ONE_BY_ONE, spool=Spool(spool))
        sender.send_batch(readings(3))
        sender.put(readings(1, first=4)[0])
        sender.close(0.05)
        with kind(served.address, limits=ONE_BY_ONE, spool=Spool(spool)) as again:
            assert again.statistics().queued + again.statistics().in_flight + again.statistics().acked == 4
            assert again.send(readings(1, first=5)[0]).result(30).durable
            assert again.statistics().stored == 5
        assert served.servicer.names[-1] == [f"M{n}" for n in range(1, 6)]
        with Spool(spool) as left:
            assert left.count == 0


def test_an_outage_fills_the_spool_and_not_the_memory(kind: Any, tmp_path: Path, serve: Any, script: Any) -> None:
    limits = Limits(batch_readings=2, window=2, linger_s=0.0, queue_readings=10)
    with serve(script(), last=100) as served:
        served.server.stop(None).wait()
        with kind(served.address, limits=limits, spool=Spool(tmp_path / "spool"), retry=QUICK) as sender:
            for reading in readings(100):
                sender.put(reading, timeout_s=1)
            assert sender.statistics().queued + sender.statistics().in_flight == 100
            again = grpc.server(ThreadPoolExecutor(4))
            add_IngestServiceServicer_to_server(served.servicer, again)
            again.add_insecure_port(served.address)
            again.start()
            sender.flush(30)
            assert sender.statistics().stored == 100
            again.stop(None).wait()
    assert [name for one in served.servicer.names for name in one][-100:] == [f"M{n}" for n in range(1, 101)]


def test_a_spool_that_is_full_does_what_its_policy_says_and_says_so(
    kind: Any, tmp_path: Path, serve: Any, script: Any
) -> None:
    dropped: list[int] = []
    limits = Limits(batch_readings=1, window=1, linger_s=0.0)
    with serve(script(acks=0), script(), last=0) as served:
        sender = kind(served.address, limits=limits, spool=Spool(tmp_path / "refuse", max_bytes=200))
        sender.send_batch(readings(4))
        with pytest.raises(SpoolFullError):
            sender.send_batch(readings(4))
        assert 0 < sender.statistics().spool_bytes <= 200
        sender.close(0.05)
    with serve(script(acks=0), script(), last=0) as served:
        spool = Spool(tmp_path / "drop", max_bytes=200, when_full="drop_oldest")
        sender = kind(served.address, limits=limits, spool=spool, on_dropped=dropped.append)
        futures = [sender.send(reading) for reading in readings(20)]
        figures = sender.statistics()
        assert figures.dropped == sum(dropped) > 0
        assert figures.queued + figures.in_flight + figures.dropped == 20
        sender.close(0.05)
        told = [type(future.exception(1)).__name__ for future in futures]
        assert told.count("DroppedError") == figures.dropped
        assert told.count("NotDeliveredError") == 20 - figures.dropped
        assert told[-1] == "NotDeliveredError"


def test_many_threads_share_a_sender_and_its_spool(tmp_path: Path, serve: Any, script: Any) -> None:
    with serve(script(), last=0) as served, Sender(served.address, spool=Spool(tmp_path / "spool")) as sender:
        with ThreadPoolExecutor(8) as callers:
            futures = list(callers.map(sender.send, readings(400)))
        assert all(future.result(30).durable for future in futures)
        assert sender.statistics().stored == 400
    assert sorted(name for one in served.servicer.names for name in one) == sorted(f"M{n}" for n in range(1, 401))


async def test_a_cancelled_send_leaves_the_sender_whole(tmp_path: Path, serve: Any, script: Any) -> None:
    with serve(script(), last=0) as served:
        async with AsyncSender(served.address, spool=Spool(tmp_path / "spool")) as sender:
            sends = [asyncio.create_task(sender.send(reading)) for reading in readings(20)]
            await asyncio.sleep(0)
            for send in sends[::2]:
                send.cancel()
            kept = [await send for send in sends[1::2]]
            assert all([(await future).durable for future in kept])
            await sender.flush(30)
            assert 10 <= sender.statistics().stored <= 20


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; threads: {threads()}"
        time.sleep(0.005)
