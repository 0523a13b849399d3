"""Streams that lose their server: every batch is acknowledged to the caller once, in order, all the same."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, StreamReadingsResponse
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.client import Client, Retry, ServiceError

QUICK = Retry(initial_s=0.001, max_s=0.01, give_up_after_s=30)


@dataclass
class Script:
    """What the server does with one connection: acknowledge some batches, take some more, then end it."""

    acks: int = 10**9
    more: int = 0
    together: int = 1  # batches acknowledged by one response
    ends: grpc.StatusCode | None = None  # None: when the client half-closes
    retry_after_s: float | None = None


@dataclass
class Server(IngestServiceServicer):
    """Plays a script a connection, the last one for all that follow; knows which batch is the last."""

    scripts: list[Script]
    last: int
    seen: list[list[int]] = field(default_factory=list)

    def StreamReadings(self, request_iterator: Iterator[Any], context: Any) -> Iterator[StreamReadingsResponse]:  # noqa: N802
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        seen: list[int] = []
        self.seen.append(seen)
        waiting: list[BatchAck] = []
        while script.ends is None or len(seen) < script.acks + script.more:
            request = next(request_iterator, None)
            if request is None:
                break
            seen.append(request.batch_id)
            waiting.append(BatchAck(batch_id=request.batch_id, stored=len(request.readings)))
            is_last = request.batch_id == self.last
            if len(seen) <= script.acks and (len(waiting) == script.together or is_last):
                yield StreamReadingsResponse(acks=waiting)
                waiting = []
            if is_last and waiting:
                break
        if script.ends is not None:
            end(context, script)


def end(context: Any, script: Script) -> None:
    assert script.ends is not None
    if script.retry_after_s is None:
        context.abort(script.ends, "ended by the script")
    packed = any_pb2.Any()
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(int(script.retry_after_s * 1000))
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=script.ends.value[0], message="ended by the script", details=[packed])
    context.abort_with_status(rpc_status.to_status(status))


class Served:
    """A server in this process, on a port of its own."""

    def __init__(self, *scripts: Script, last: int) -> None:
        self.servicer = Server(list(scripts), last)
        self._handlers = ThreadPoolExecutor(8)
        self.server = grpc.server(self._handlers)
        add_IngestServiceServicer_to_server(self.servicer, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> "Served":
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None).wait()
        self._handlers.shutdown()


def batches(count: int) -> list[list[Reading]]:
    return [[Reading(meter=MeterReading(meter_id=f"M{number}"))] for number in range(count)]


ENDINGS = st.sampled_from([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
SCRIPTS = st.lists(st.builds(Script, acks=st.integers(0, 6), more=st.integers(0, 6), ends=ENDINGS), max_size=5)


@settings(max_examples=40, deadline=None)
@given(scripts=SCRIPTS, count=st.integers(0, 20), window=st.integers(1, 8))
def test_every_batch_is_acknowledged_once_and_in_order_over_any_losses(
    scripts: list[Script], count: int, window: int
) -> None:
    sent = batches(count)
    for script in scripts:
        script.more = min(script.more, window)
    with Served(*scripts, Script(), last=count) as served, Client(ingest=served.address) as client:
        done = list(client.stream(sent, window=window, retry=QUICK))

    assert [batch for batch, _ in done] == sent
    assert [ack.batch_id for _, ack in done] == list(range(1, count + 1))


@settings(max_examples=20, deadline=None)
@given(acks=st.integers(0, 6), more=st.integers(1, 3))
def test_a_new_connection_begins_with_the_first_batch_that_has_no_acknowledgement(acks: int, more: int) -> None:
    lost = Script(acks=acks, more=more, ends=grpc.StatusCode.UNAVAILABLE)
    with Served(lost, Script(), last=10) as served, Client(ingest=served.address) as client:
        list(client.stream(batches(10), retry=QUICK))

    assert served.servicer.seen == [list(range(1, acks + more + 1)), list(range(acks + 1, 11))]


def test_a_response_may_acknowledge_several_batches() -> None:
    sent = batches(7)
    with Served(Script(together=3), last=7) as served, Client(ingest=served.address) as client:
        done = list(client.stream(sent))
    assert [batch for batch, _ in done] == sent


def test_the_server_restarting_on_its_port_is_survived() -> None:
    sent = batches(6)
    with Served(Script(), last=6) as served, Client(ingest=served.address) as client:
        acknowledged = client.stream(sent, window=1, retry=QUICK)
        first = next(acknowledged)
        served.server.stop(None).wait()
        again = grpc.server(ThreadPoolExecutor(4))
        add_IngestServiceServicer_to_server(served.servicer, again)
        again.add_insecure_port(served.address)
        again.start()
        rest = list(acknowledged)
        again.stop(None).wait()
    assert [batch for batch, _ in [first, *rest]] == sent


def test_the_server_may_go_while_the_source_has_nothing_to_send() -> None:
    lost = Script(acks=0, more=1, ends=grpc.StatusCode.UNAVAILABLE)
    with Served(lost, Script(), last=3) as served:

        def source() -> Iterator[list[Reading]]:
            yield from batches(1)
            wait_for(lambda: len(served.servicer.seen) == 1 and len(served.servicer.seen[0]) == 1)
            yield []
            yield from batches(2)

        with Client(ingest=served.address) as client:
            done = list(client.stream(source(), retry=QUICK))
    assert [ack.batch_id for _, ack in done] == [1, 2, 3]


def test_an_empty_batch_is_not_sent_and_lets_acknowledgements_through() -> None:
    with Served(Script(), last=1) as served, Client(ingest=served.address) as client:
        come: list[int] = []

        def source() -> Iterator[list[Reading]]:
            yield from batches(1)
            deadline = time.monotonic() + 20
            while not come and time.monotonic() < deadline:
                yield []

        for done in client.stream(source()):
            come.append(done.ack.batch_id)
    assert come == [1]
    assert served.servicer.seen == [[1]]


@pytest.mark.parametrize("window", [1, 3])
def test_no_more_batches_are_under_way_than_the_window_allows(window: int) -> None:
    acknowledged, under_way = 0, []
    with Served(Script(together=window), last=30) as served, Client(ingest=served.address) as client:

        def source() -> Iterator[list[Reading]]:
            for number, batch in enumerate(batches(30)):
                under_way.append(number - acknowledged)
                yield batch

        for _ in client.stream(source(), window=window):
            acknowledged += 1
    assert acknowledged == 30
    assert max(under_way) == window


def test_a_refusal_for_good_is_raised() -> None:
    with (
        Served(Script(acks=1, ends=grpc.StatusCode.INVALID_ARGUMENT), last=2) as served,
        Client(ingest=served.address) as client,
        pytest.raises(ServiceError, match="ended by the script") as raised,
    ):
        list(client.stream(batches(2), retry=QUICK))
    assert raised.value.code == "INVALID_ARGUMENT"


def test_a_limit_that_names_no_time_to_come_again_is_raised() -> None:
    with (
        Served(Script(acks=1, ends=grpc.StatusCode.RESOURCE_EXHAUSTED), last=2) as served,
        Client(ingest=served.address) as client,
        pytest.raises(ServiceError) as raised,
    ):
        list(client.stream(batches(2), retry=QUICK))
    assert raised.value.code == "RESOURCE_EXHAUSTED"


def test_the_time_that_an_overloaded_service_asks_for_is_waited() -> None:
    waits: list[float] = []
    overloaded = Script(acks=0, more=1, ends=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=0.05)
    retry = Retry(initial_s=0.001, on_wait=lambda error, wait_s: waits.append(wait_s))
    with Served(overloaded, Script(), last=2) as served, Client(ingest=served.address) as client:
        done = list(client.stream(batches(2), retry=retry))
    assert len(done) == 2
    assert len(waits) == 1
    assert waits[0] >= 0.05


def test_a_service_that_was_never_there_is_given_up_soon() -> None:
    with Served(Script(), last=1) as served:
        pass
    retry = Retry(first_contact_s=0.05, give_up_after_s=1000, initial_s=0.001)
    with Client(ingest=served.address) as client, pytest.raises(ServiceError) as raised:
        list(client.stream(batches(1), retry=retry))
    assert raised.value.code == "UNAVAILABLE"


def test_losses_without_any_progress_are_given_up() -> None:
    retry = Retry(first_contact_s=1000, give_up_after_s=0.05, initial_s=0.001)
    answering = Script(acks=1, more=1, ends=grpc.StatusCode.UNAVAILABLE)
    failing = Script(acks=0, more=1, ends=grpc.StatusCode.UNAVAILABLE)
    with Served(answering, failing, last=3) as served, Client(ingest=served.address) as client:
        acknowledged = client.stream(batches(3), retry=retry)
        assert next(acknowledged).ack.batch_id == 1
        with pytest.raises(ServiceError) as raised:
            list(acknowledged)
    assert raised.value.code == "UNAVAILABLE"


def test_a_service_that_holds_the_stream_without_a_word_is_given_up() -> None:
    with (
        Served(Script(acks=0), last=2) as served,
        Client(ingest=served.address) as client,
        pytest.raises(ServiceError) as raised,
    ):
        list(client.stream(batches(1), retry=Retry(give_up_after_s=0.05)))
    assert raised.value.code == "DEADLINE_EXCEEDED"


def test_an_acknowledgement_out_of_turn_is_an_error() -> None:
    class Wrong(IngestServiceServicer):
        def StreamReadings(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
            yield StreamReadingsResponse(acks=[BatchAck(batch_id=next(request_iterator).batch_id + 1)])

    served = Served(Script(), last=0)
    add_IngestServiceServicer_to_server(Wrong(), served.server)
    with served, Client(ingest=served.address) as client, pytest.raises(ServiceError, match="out of turn"):
        list(client.stream(batches(2)))


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_leaving_a_stream_early_leaves_no_thread_behind(taken: int) -> None:
    before = threads()
    with Served(Script(), last=10) as served, Client(ingest=served.address) as client:
        acknowledged = client.stream(batches(10), window=2, retry=QUICK)
        for _ in range(taken):
            next(acknowledged)
        acknowledged.close()  # type: ignore[attr-defined] # a generator
    wait_for(lambda: threads() <= before)


def test_a_source_that_fails_leaves_no_thread_behind() -> None:
    def source() -> Iterator[list[Reading]]:
        yield from batches(3)
        raise RuntimeError("the source failed")

    before = threads()
    with (
        Served(Script(), last=3) as served,
        Client(ingest=served.address) as client,
        pytest.raises(RuntimeError, match="the source failed"),
    ):
        list(client.stream(source()))
    wait_for(lambda: threads() <= before)


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain; threads: {threads()}"
        time.sleep(0.005)
