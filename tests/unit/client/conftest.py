"""What the senders are tested with: a service that plays a script, and both senders with one face."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, StreamReadingsResponse
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceServicer, add_IngestServiceServicer_to_server
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client import AsyncSender, Sender


@dataclass
class Script:
    """What the server does with one connection: acknowledge some batches, take some more, then end it.

    One that acknowledges none and does not end holds what it has taken.
    """

    acks: int = 10**9
    more: int = 0
    ends: grpc.StatusCode | None = None  # None: when the client half-closes
    retry_after_s: float | None = None
    hold: threading.Event = field(default_factory=threading.Event)  # once set, what was held is acknowledged too


@dataclass
class Server(IngestServiceServicer):
    """Plays a script a connection, the last one for all that follow; knows which reading is the last."""

    scripts: list[Script]
    last: int
    sizes: list[list[int]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)
    longest: int = 0  # batches without an acknowledgement, at most

    def StreamReadings(self, request_iterator: Iterator[Any], context: Any) -> Iterator[StreamReadingsResponse]:  # noqa: N802
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        sizes: list[int] = []
        names: list[str] = []
        self.sizes.append(sizes)
        self.names.append(names)
        taken = acked = 0
        while script.ends is None or taken < script.acks + script.more:
            request = next(request_iterator, None)
            if request is None:
                break
            taken += 1
            sizes.append(len(request.readings))
            names += [reading.meter.meter_id for reading in request.readings]
            self.longest = max(self.longest, taken - acked)
            if acked < script.acks:
                acked += 1
                ack = BatchAck(batch_id=request.batch_id, stored=len(request.readings))
                yield StreamReadingsResponse(acks=[ack])
            elif names[-1] == f"M{self.last}" and script.ends is not None:
                break
            elif script.acks == 0 and script.ends is None:
                yield from self._held(request, script, context)
                acked += 1
        if script.ends is not None:
            end(context, script)

    def _held(self, request: Any, script: Script, context: Any) -> Iterator[StreamReadingsResponse]:
        while context.is_active() and not script.hold.wait(0.01):
            pass
        ack = BatchAck(batch_id=request.batch_id, stored=len(request.readings))
        yield StreamReadingsResponse(acks=[ack])


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


class OnLoop:
    """AsyncSender, on a loop in a thread of its own, with the face of Sender."""

    def __init__(self, address: str, **arguments: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        async def begin() -> AsyncSender:
            return await AsyncSender(address, **arguments).__aenter__()

        try:
            self._sender = self._run(begin())
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> "OnLoop":
        return self

    def __exit__(self, *exc: Any) -> None:
        try:
            if not self._loop.is_closed():
                self._run(self._sender.__aexit__(*exc))
        finally:
            self._end()

    def send(self, reading: Reading, **arguments: Any) -> "Future[Any]":
        return self._outcome(self._run(self._sender.send(reading, **arguments)))

    def send_batch(self, readings: Sequence[Reading], **arguments: Any) -> "Future[Any]":
        return self._outcome(self._run(self._sender.send_batch(readings, **arguments)))

    def put(self, reading: Reading, **arguments: Any) -> None:
        self._run(self._sender.put(reading, **arguments))

    def flush(self, timeout_s: float | None = None) -> None:
        self._run(self._sender.flush(timeout_s))

    def close(self, timeout_s: float = 30.0) -> None:
        try:
            self._run(self._sender.close(timeout_s))
            left = asyncio.run_coroutine_threadsafe(self._tasks(), self._loop).result(20)
            assert not left, f"tasks left behind: {left}"
        finally:
            self._end()

    def statistics(self) -> Any:
        return self._sender.statistics()

    async def _tasks(self) -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("wattstream")]

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def _outcome(self, future: Any) -> "Future[Any]":
        async def wait() -> Any:
            return await future

        return asyncio.run_coroutine_threadsafe(wait(), self._loop)

    def _end(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


@pytest.fixture(params=[Sender, OnLoop])
def kind(request: pytest.FixtureRequest) -> Any:
    """Return each of the senders in turn."""
    return request.param


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def serve() -> type[Served]:
    return Served
