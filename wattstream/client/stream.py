"""Batches through StreamReadings: a bounded window without acknowledgement, resent whenever the connection is lost.

The source is read, and everything decided, in the caller's thread. A connection has one thread of its own, which turns
what comes back into events, and gRPC's, which takes requests from a queue; both end with the connection.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

import grpc

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, StreamReadingsRequest, StreamReadingsResponse
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.errors import ServiceError, from_rpc_error
from wattstream.client.retry import Attempts, Retry

Batch = TypeVar("Batch", bound=Sequence[Reading])
OpenCall = Callable[[Iterator[StreamReadingsRequest]], Any]

_GOODBYE_S = 2.0


class Acknowledged(NamedTuple, Generic[Batch]):
    """A batch, as it was given, and what became of it."""

    batch: Batch
    ack: BatchAck


def acknowledged(
    open_call: OpenCall, batches: Iterable[Batch], window: int, retry: Retry
) -> Iterator[Acknowledged[Batch]]:
    """Send `batches` and yield each with its acknowledgement, in order; see Client.stream."""
    sending: _Sending[Batch] = _Sending(open_call, retry)
    try:
        for batch in batches:
            if len(batch):
                while sending.unacknowledged >= window:
                    yield from sending.wait()
                sending.send(batch)
            yield from sending.arrived()
        while sending.unacknowledged:
            yield from sending.wait()
        sending.end()
    finally:
        sending.abandon()


class _Sending(Generic[Batch]):
    """What was sent and not acknowledged, and the connection that it was sent over, where there is one."""

    def __init__(self, open_call: OpenCall, retry: Retry) -> None:
        self._open_call = open_call
        self._attempts = Attempts(retry)
        self._connection: _Connection | None = None
        self._unacknowledged: deque[tuple[StreamReadingsRequest, Batch]] = deque()
        self._last_id = 0

    @property
    def unacknowledged(self) -> int:
        return len(self._unacknowledged)

    def send(self, batch: Batch) -> None:
        self._last_id += 1
        request = StreamReadingsRequest(batch_id=self._last_id, readings=batch)
        self._unacknowledged.append((request, batch))
        self._attempts.begin()
        if self._connection is None:
            self._connect()
        else:
            self._connection.send(request)

    def arrived(self) -> list[Acknowledged[Batch]]:
        """Return what has been acknowledged by now."""
        found: list[Acknowledged[Batch]] = []
        while self._connection is not None and not self._connection.events.empty():
            found += self._take(self._connection.events.get())
        return found

    def wait(self) -> list[Acknowledged[Batch]]:
        """Return what is acknowledged next; nothing, where a connection was lost meanwhile."""
        connection = self._connection or self._connect()
        try:
            return self._take(connection.events.get(timeout=self._attempts.remaining_s()))
        except Empty:
            raise ServiceError("DEADLINE_EXCEEDED", "the service acknowledges nothing for too long") from None

    def end(self) -> None:
        """Half-close and let the server end the call."""
        if self._connection is not None:
            self._connection.end()

    def abandon(self) -> None:
        """Close the connection, where there is one."""
        if self._connection is not None:
            self._connection.cancel()
            self._connection = None

    def _connect(self) -> "_Connection":
        self._connection = _Connection(self._open_call)
        for request, _ in self._unacknowledged:
            self._connection.send(request)
        return self._connection

    def _take(self, event: StreamReadingsResponse | ServiceError) -> list[Acknowledged[Batch]]:
        if isinstance(event, StreamReadingsResponse):
            found = [self._settle(ack) for ack in event.acks]
            self._attempts.progressed()
            if self._unacknowledged:
                self._attempts.begin()
            return found
        self.abandon()
        if self._unacknowledged or not event.transient:
            self._attempts.failed(event)
        return []

    def _settle(self, ack: BatchAck) -> Acknowledged[Batch]:
        if not self._unacknowledged or self._unacknowledged[0][0].batch_id != ack.batch_id:
            raise ServiceError("INTERNAL", f"the service acknowledged batch {ack.batch_id} out of turn")
        return Acknowledged(self._unacknowledged.popleft()[1], ack)


class _Connection:
    """One StreamReadings call; what comes back, and how it ends, are its events."""

    def __init__(self, open_call: OpenCall) -> None:
        self.events: SimpleQueue[StreamReadingsResponse | ServiceError] = SimpleQueue()
        self._requests: SimpleQueue[StreamReadingsRequest | None] = SimpleQueue()
        self._call = open_call(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, name="wattstream-acknowledgements", daemon=True)
        self._reader.start()

    def send(self, request: StreamReadingsRequest) -> None:
        self._requests.put(request)

    def end(self) -> None:
        self._requests.put(None)
        self._reader.join(_GOODBYE_S)

    def cancel(self) -> None:
        self._requests.put(None)
        self._call.cancel()
        self._reader.join()

    def _read(self) -> None:
        try:
            for response in self._call:
                self.events.put(response)
            self.events.put(ServiceError("UNAVAILABLE", "the service ended the stream"))
        except grpc.RpcError as error:
            self.events.put(from_rpc_error(error))
