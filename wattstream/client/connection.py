"""One StreamReadings call of the synchronous sender."""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import grpc

from wattstream.api.ingest.v1.ingest_pb2 import StreamReadingsResponse
from wattstream.client.errors import ServiceError, from_rpc_error


class Connection:
    """A call, with a thread that turns what comes back, and how it ends, into events.

    Attributes:
        events: what came back; no more than was sent, so it is bounded by the window.
        over: whoever makes the requests is to come to an end.
    """

    def __init__(
        self,
        open_call: Callable[[Iterator[bytes]], Any],
        requests: "Callable[[Connection], Iterator[bytes]]",
    ) -> None:
        self.events: SimpleQueue[StreamReadingsResponse | ServiceError] = SimpleQueue()
        self.over = False
        self._call = open_call(requests(self))
        self._reader = threading.Thread(target=self._read, name="wattstream-acknowledgements", daemon=True)
        self._reader.start()

    def cancel(self) -> None:
        """End the call, if it has not ended."""
        self._call.cancel()

    def join(self) -> None:
        """Wait for the end of the call."""
        self._reader.join()

    def _read(self) -> None:
        try:
            for response in self._call:
                self.events.put(response)
            self.events.put(ServiceError("UNAVAILABLE", "the service ended the stream"))
        except grpc.RpcError as error:
            self.events.put(from_rpc_error(error))
