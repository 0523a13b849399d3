"""The errors that services raise, and the one table that says which gRPC status each becomes.

Statuses follow https://cloud.google.com/apis/design/errors and carry google.rpc details.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import grpc
import psycopg
import redis
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from psycopg_pool import PoolTimeout

RETRY_AFTER_S = 1.0
# A status travels in HTTP/2 headers, of which clients take 8 KiB: the lengths below keep it well under that.
_MAX_VIOLATIONS = 8
_MAX_TEXT_BYTES = 200
_MAX_MESSAGE_BYTES = 500
DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "wattstream"


class FieldViolation(NamedTuple):
    """A field that cannot be used, as a path within the request, and what would be right."""

    field: str
    message: str


class DomainError(Exception):
    """An error that the caller is told of in the words of its message."""


class InvalidRequestError(DomainError):
    """The request can never succeed."""

    def __init__(self, *violations: FieldViolation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.message}" for v in violations))
        self.violations = violations


@dataclass
class NotFoundError(DomainError):
    """A thing that the request names is not there."""

    resource_type: str
    resource_name: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass
class ConflictError(DomainError):
    """What is asked for contradicts a thing that is there."""

    resource_type: str
    resource_name: str
    message: str

    def __str__(self) -> str:
        return self.message


class AwayError(DomainError):
    """Something that the service needs is away for now; the caller should come again."""


class OverloadedError(DomainError):
    """The service has as much to do as it can hold, or as it will do for this caller, who should come again."""

    def __init__(self, message: str, retry_after_s: float = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def bad_field(field: str, message: str) -> InvalidRequestError:
    """Return the error for one bad field."""
    return InvalidRequestError(FieldViolation(field, message))


def _bad_request(error: Exception) -> list[Message]:
    assert isinstance(error, InvalidRequestError)
    violations = [
        error_details_pb2.BadRequest.FieldViolation(
            field=_shorten(v.field, _MAX_TEXT_BYTES), description=_shorten(v.message, _MAX_TEXT_BYTES)
        )
        for v in error.violations[:_MAX_VIOLATIONS]
    ]
    return [error_details_pb2.BadRequest(field_violations=violations)]


def _resource(error: Exception) -> list[Message]:
    assert isinstance(error, NotFoundError | ConflictError)
    return [
        error_details_pb2.ResourceInfo(
            resource_type=error.resource_type,
            resource_name=_shorten(error.resource_name, _MAX_TEXT_BYTES),
            description=_shorten(error.message, _MAX_TEXT_BYTES),
        )
    ]


def _retry(error: Exception) -> list[Message]:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(ceil(1000 * getattr(error, "retry_after_s", RETRY_AFTER_S)))
    return [error_details_pb2.RetryInfo(retry_delay=delay)]


def _shorten(text: str, most_bytes: int) -> str:
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= most_bytes else encoded[: most_bytes - 3].decode(errors="ignore") + "…"


def _nothing(_: Exception) -> list[Message]:
    return []


class _Row(NamedTuple):
    raised: type[BaseException] | tuple[type[BaseException], ...]
    code: grpc.StatusCode
    reason: str
    details: Callable[[Exception], list[Message]]
    message: str | None  # None: the error's own words, which are meant for the caller


_STORE_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
_STATE_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)

# The first row that fits decides.
TABLE: tuple[_Row, ...] = (
    _Row(InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", _bad_request, None),
    _Row(
        DecodeError,
        grpc.StatusCode.INVALID_ARGUMENT,
        "UNDECODABLE",
        _nothing,
        "a request is not a message of the type that it should be",
    ),
    _Row(NotFoundError, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", _resource, None),
    _Row(ConflictError, grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT", _resource, None),
    _Row(OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", _retry, None),
    _Row(AwayError, grpc.StatusCode.UNAVAILABLE, "AWAY", _retry, None),
    _Row(
        (psycopg.errors.QueryCanceled, TimeoutError),
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "DEADLINE",
        _nothing,
        "the answer took too long",
    ),
    _Row(_STORE_AWAY, grpc.StatusCode.UNAVAILABLE, "DATABASE_AWAY", _retry, "the database is away"),
    _Row(_STATE_AWAY, grpc.StatusCode.UNAVAILABLE, "STATE_STORE_AWAY", _retry, "the state store is away"),
)


def to_status(error: Exception, request_id: str) -> status_pb2.Status | None:
    """Return the status that `error` becomes, or None for an error that is not in the table: a bug."""
    for row in TABLE:
        if isinstance(error, row.raised):
            info = error_details_pb2.ErrorInfo(
                reason=row.reason, domain=ERROR_DOMAIN, metadata={"request_id": request_id}
            )
            return _status(row.code, row.message or str(error), [*row.details(error), info])
    return None


def internal_status(request_id: str) -> status_pb2.Status:
    """Return the status of an error that is not in the table; it says nothing of what happened inside."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN, metadata={"request_id": request_id})
    return _status(grpc.StatusCode.INTERNAL, f"internal error; the log has it under request id {request_id}", [info])


def _status(code: grpc.StatusCode, message: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message=_shorten(message, _MAX_MESSAGE_BYTES), details=packed)
