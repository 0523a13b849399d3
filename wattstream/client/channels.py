"""How a client's connections are made."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from wattstream.api.ingest.v1.ingest_pb2 import StreamReadingsResponse

INGEST = "127.0.0.1:50051"
STATE = "127.0.0.1:50052"
ANALYTICS = "127.0.0.1:50053"

STREAM_READINGS = "/wattstream.api.ingest.v1.IngestService/StreamReadings"

_LOOPBACK = ("127.", "localhost:", "[::1]:")
_OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A server that is gone without a word is noticed, and one that is back is found soon.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def options(address: str) -> list[tuple[str, int]]:
    """Return the options of a channel to an address, host:port."""
    # A proxy that the environment names cannot reach this machine's own addresses.
    direct = [("grpc.enable_http_proxy", 0)] if address.startswith(_LOOPBACK) else []
    return _OPTIONS + direct


def stream_readings(channel: grpc.Channel) -> Callable[[Iterator[bytes]], Any]:
    """Return what opens a StreamReadings call whose requests are serialised already."""
    return channel.stream_stream(
        STREAM_READINGS, request_serializer=bytes, response_deserializer=StreamReadingsResponse.FromString
    )


def aio_stream_readings(channel: grpc.aio.Channel) -> Callable[[], Any]:
    """Return the same for asyncio; what is sent is written to the call."""
    return channel.stream_stream(
        STREAM_READINGS, request_serializer=bytes, response_deserializer=StreamReadingsResponse.FromString
    )
