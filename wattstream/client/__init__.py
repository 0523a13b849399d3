"""The client library: readings in, state and performance out, without a word of gRPC in the caller's code."""

from wattstream.client.aio import AsyncSender
from wattstream.client.delivery import Statistics
from wattstream.client.errors import FieldViolation, ServiceError
from wattstream.client.outbox import Limits
from wattstream.client.outcomes import (
    BatchOutcome,
    ClosedError,
    DroppedError,
    NotDeliveredError,
    Outcome,
    Rejection,
)
from wattstream.client.retry import Retry
from wattstream.client.sender import Sender
from wattstream.client.spool import RejectedReading, Spool
from wattstream.client.spool_file import SpoolError, SpoolFullError
from wattstream.client.sync import Client

__all__ = [
    "AsyncSender",
    "BatchOutcome",
    "Client",
    "ClosedError",
    "DroppedError",
    "FieldViolation",
    "Limits",
    "NotDeliveredError",
    "Outcome",
    "RejectedReading",
    "Rejection",
    "Retry",
    "Sender",
    "ServiceError",
    "Spool",
    "SpoolError",
    "SpoolFullError",
    "Statistics",
]
