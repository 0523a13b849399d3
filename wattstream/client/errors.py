"""The one error that the client raises, read from a gRPC status and the google.rpc details that it carries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class FieldViolation(NamedTuple):
    """A field of the request that cannot be used, and what would be right."""

    field: str
    message: str


class ServiceError(Exception):
    """A call failed.

    Attributes:
        code: name of the gRPC status, such as "NOT_FOUND".
        message: why, for people.
        violations: the fields at fault, where the request was.
        retry_after_s: how long the service asks to wait before coming again, in seconds; None where it does not say.
        reason: why, for programs; empty where the service itself has not answered.
        request_id: what the service's log has the call under.
    """

    def __init__(  # noqa: PLR0913 - keyword-only, one a part of the answer
        self,
        code: str,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
        reason: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.violations = violations
        self.retry_after_s = retry_after_s
        self.reason = reason
        self.request_id = request_id

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later.

        RESOURCE_EXHAUSTED without a time to come again is a limit, such as that on a message's size, not overload.
        """
        if self.code == "RESOURCE_EXHAUSTED":
            return self.retry_after_s is not None
        return self.code in ("UNAVAILABLE", "CANCELLED")


def from_rpc_error(error: grpc.RpcError) -> ServiceError:
    """Return what `error` says."""
    call = cast(grpc.Call, error)
    violations: list[FieldViolation] = []
    retry_after_s, reason, request_id = None, "", ""
    for detail in _details(call):
        if isinstance(detail, error_details_pb2.BadRequest):
            violations += [FieldViolation(v.field, v.description) for v in detail.field_violations]
        elif isinstance(detail, error_details_pb2.RetryInfo):
            retry_after_s = detail.retry_delay.ToNanoseconds() / 1e9
        elif isinstance(detail, error_details_pb2.ErrorInfo):
            reason, request_id = detail.reason, detail.metadata.get("request_id", "")
    return ServiceError(
        call.code().name,
        call.details() or call.code().name,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
        reason=reason,
        request_id=request_id,
    )


def _details(call: grpc.Call) -> list[object]:
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # details of another status than the call's, which a proxy may leave behind
        return []
    unpacked: list[object] = []
    for packed in status.details if status else ():
        for kind in (error_details_pb2.BadRequest, error_details_pb2.RetryInfo, error_details_pb2.ErrorInfo):
            detail = kind()
            if packed.Unpack(detail):
                unpacked.append(detail)
    return unpacked


@contextmanager
def service_errors() -> Iterator[None]:
    """Turn the gRPC errors of the calls made inside into ServiceError."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
