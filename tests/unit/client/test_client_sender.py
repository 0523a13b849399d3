"""Both senders, against a scripted service that goes and comes back: every reading comes to its end once, in order."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, RejectedReading, StreamReadingsResponse
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.client import (
    BatchOutcome,
    Limits,
    Rejection,
    Retry,
    ServiceError,
    Spool,
)

QUICK = Retry(initial_s=0.001, max_s=0.01, give_up_after_s=30, first_contact_s=30)
ONE_BY_ONE = Limits(batch_readings=1, window=4, linger_s=0.0)


def readings(count: int, first: int = 1) -> list[Reading]:
    return [Reading(meter=MeterReading(meter_id=f"M{number}")) for number in range(first, first + count)]


ENDINGS = st.sampled_from([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
SCRIPT = st.fixed_dictionaries({"acks": st.integers(0, 6), "more": st.integers(0, 6), "ends": ENDINGS})
SCRIPTS = st.lists(SCRIPT, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts=SCRIPTS, count=st.integers(1, 20), window=st.integers(1, 8), spooled=st.booleans())
def test_every_reading_comes_to_its_end_once_and_in_order_over_any_losses(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    kind: Any,
    scripts: list[dict[str, Any]],
    count: int,
    window: int,
    spooled: bool,
    serve: Any,
    script: Any,
) -> None:
    played = [script(**one | {"more": min(one["more"], window)}) for one in scripts]
    limits = Limits(batch_readings=1, window=window, linger_s=0.0)
    spool = Spool(tmp_path_factory.mktemp("spool") / "spool") if spooled else None
    order: list[int] = []
    with serve(*played, script(), last=count) as served:
        with kind(served.address, limits=limits, retry=QUICK, spool=spool) as sender:
            for number, reading in enumerate(readings(count)):
                sender.send(reading).add_done_callback(lambda _, number=number: order.append(number))
            sender.flush(30)
            figures = sender.statistics()
        assert order == list(range(count))
        assert (figures.acked, figures.queued, figures.in_flight) == (count, 0, 0)
        assert served.servicer.longest <= window


def test_a_new_connection_begins_with_the_first_reading_that_has_no_acknowledgement(
    kind: Any, serve: Any, script: Any
) -> None:
    lost = script(acks=2, more=3, ends=grpc.StatusCode.UNAVAILABLE)
    with (
        serve(lost, script(), last=10) as served,
        kind(served.address, limits=Limits(batch_readings=1, window=3, linger_s=0.0), retry=QUICK) as sender,
    ):
        sender.send_batch(readings(10)).result(30)
        assert sender.statistics().reconnects == 1
    assert served.servicer.names == [[f"M{n}" for n in range(1, 6)], [f"M{n}" for n in range(3, 11)]]


def test_the_server_restarting_on_its_port_is_survived(kind: Any, serve: Any, script: Any) -> None:
    with serve(script(), last=6) as served, kind(served.address, limits=ONE_BY_ONE, retry=QUICK) as sender:
        sender.send(readings(1)[0]).result(30)
        served.server.stop(None).wait()
        rest = [sender.send(reading) for reading in readings(5, first=2)]
        again = grpc.server(ThreadPoolExecutor(4))
        add_IngestServiceServicer_to_server(served.servicer, again)
        again.add_insecure_port(served.address)
        again.start()
        assert [future.result(30).durable for future in rest] == [True] * 5
        again.stop(None).wait()


def test_readings_are_gathered_up_to_the_size_of_a_batch(kind: Any, serve: Any, script: Any) -> None:
    limits = Limits(batch_readings=4, linger_s=30.0)
    with serve(script(), last=10) as served, kind(served.address, limits=limits) as sender:
        for reading in readings(10):
            sender.send(reading)
        sender.flush(30)
    assert [len(one) for one in served.servicer.sizes] == [3]
    assert served.servicer.sizes == [[4, 4, 2]]


def test_a_rejected_reading_is_told_to_who_sent_it_and_to_who_listens(kind: Any, serve: Any, script: Any) -> None:
    class Rejecting(IngestServiceServicer):
        def StreamReadings(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
            for request in request_iterator:
                bad = [RejectedReading(index=1, field="meter.voltage", reason=5, message="is too high")]
                count = len(request.readings)
                ack = BatchAck(batch_id=request.batch_id, stored=count - 1, rejected=1, rejections=bad)
                yield StreamReadingsResponse(acks=[ack])

    heard: list[Any] = []
    served = serve(script(), last=0)
    add_IngestServiceServicer_to_server(Rejecting(), served.server)
    with (
        served,
        kind(served.address, limits=Limits(linger_s=0.2), on_rejected=lambda *one: heard.append(one)) as sender,
    ):
        futures = [sender.send(reading) for reading in readings(2)]
        why = Rejection("meter.voltage", "OUT_OF_RANGE", "is too high")
        assert [future.result(30).rejection for future in futures] == [None, why]
        assert heard == [(readings(2)[1], why)]
        assert sender.send_batch(readings(3)).result(30) == BatchOutcome(2, {1: why}, 0)
        assert sender.statistics().rejected == 2


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_a_refusal_for_good_ends_the_sender_and_is_told_to_everyone(
    kind: Any, code: grpc.StatusCode, serve: Any, script: Any
) -> None:
    with serve(script(acks=1, more=1, ends=code), last=9) as served:
        sender = kind(served.address, limits=ONE_BY_ONE, retry=QUICK)
        futures = [sender.send(reading) for reading in readings(2)]
        assert futures[0].result(30).durable
        with pytest.raises(ServiceError, match="ended by the script") as raised:
            futures[1].result(30)
        assert raised.value.code == code.name
        with pytest.raises(ServiceError):
            sender.send(readings(1)[0])
        with pytest.raises(ServiceError):
            sender.close()


def test_the_time_that_an_overloaded_service_asks_for_is_waited(kind: Any, serve: Any, script: Any) -> None:
    waits: list[float] = []
    overloaded = script(acks=0, more=1, ends=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.05)
    retry = Retry(initial_s=0.001, on_wait=lambda error, wait_s: waits.append(wait_s))
    with serve(overloaded, script(), last=1) as served, kind(served.address, retry=retry) as sender:
        assert sender.send(readings(1)[0]).result(30).durable
    assert len(waits) == 1
    assert waits[0] >= 0.05


def test_a_service_that_was_never_there_is_given_up_where_that_is_wanted(kind: Any, serve: Any, script: Any) -> None:
    with serve(script(), last=1) as served:
        pass
    sender = kind(served.address, retry=Retry(first_contact_s=0.05, give_up_after_s=1000, initial_s=0.001))
    with pytest.raises(ServiceError) as raised:
        sender.send(readings(1)[0]).result(30)
    assert raised.value.code == "UNAVAILABLE"
    with pytest.raises(ServiceError):
        sender.close()


def test_a_service_that_holds_the_stream_without_a_word_is_given_up_where_that_is_wanted(
    kind: Any, serve: Any, script: Any
) -> None:
    with serve(script(acks=0), last=2) as served:
        sender = kind(served.address, retry=Retry(give_up_after_s=0.05))
        with pytest.raises(ServiceError) as raised:
            sender.send(readings(1)[0]).result(30)
        assert raised.value.code == "DEADLINE_EXCEEDED"
        with pytest.raises(ServiceError):
            sender.close()


def test_an_acknowledgement_out_of_turn_is_an_error(kind: Any, serve: Any, script: Any) -> None:
    class Wrong(IngestServiceServicer):
        def StreamReadings(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
            yield StreamReadingsResponse(acks=[BatchAck(batch_id=next(request_iterator).batch_id + 1)])

    served = serve(script(), last=0)
    add_IngestServiceServicer_to_server(Wrong(), served.server)
    with served:
        sender = kind(served.address)
        with pytest.raises(ServiceError, match="out of turn"):
            sender.send(readings(1)[0]).result(30)
        with pytest.raises(ServiceError):
            sender.close()
