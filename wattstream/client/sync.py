"""The synchronous calls of all three services."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from wattstream.api.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from wattstream.api.ingest.v1.fleet_pb2 import (
    AssignMeterRequest,
    Device,
    EndAssignmentRequest,
    ListAssignmentsRequest,
    ListDevicesRequest,
    MeterAssignment,
    RegisterDevicesRequest,
    RegisterDevicesResponse,
)
from wattstream.api.ingest.v1.fleet_pb2_grpc import FleetServiceStub
from wattstream.api.ingest.v1.ingest_pb2 import (
    IngestReadingsRequest,
    IngestReadingsResponse,
    UploadReadingsRequest,
    UploadReadingsResponse,
)
from wattstream.api.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from wattstream.api.state.v1.state_pb2 import (
    GetMeterStateRequest,
    GetVehicleStateRequest,
    MeterState,
    VehicleState,
    WatchStatesRequest,
    WatchStatesResponse,
)
from wattstream.api.state.v1.state_pb2_grpc import StateServiceStub
from wattstream.api.telemetry.v1.telemetry_pb2 import DeviceKind, Reading
from wattstream.client.alerts import AlertCalls
from wattstream.client.analytics import AnalyticsCalls
from wattstream.client.channels import ANALYTICS, INGEST, STATE, options
from wattstream.client.errors import ServiceError, from_rpc_error, service_errors
from wattstream.client.outbox import Limits
from wattstream.client.outcomes import Rejection
from wattstream.client.pages import pages
from wattstream.client.retry import FOREVER, Attempts, Retry
from wattstream.client.sender import Sender
from wattstream.client.spool import Spool
from wattstream.client.times import timestamp

__all__ = ["ANALYTICS", "INGEST", "STATE", "Client", "timestamp"]


class Client(AnalyticsCalls, AlertCalls):
    """Speaks to the ingest, state and analytics services.

    An address is host:port; a channel that the caller opened, and will close, does as well. Nothing is connected before
    the first call. Every method raises ServiceError; times must carry an offset.
    """

    def __init__(
        self,
        ingest: str | grpc.Channel = INGEST,
        state: str | grpc.Channel = STATE,
        analytics: str | grpc.Channel = ANALYTICS,
        *,
        timeout_s: float = 30.0,
    ) -> None:
        self._opened = ExitStack()
        self._timeout_s = timeout_s
        self._ingest_channel = self._channel(ingest)
        self._ingest = IngestServiceStub(self._ingest_channel)
        self._fleet = FleetServiceStub(self._ingest_channel)
        self._state = StateServiceStub(self._channel(state))
        self._analytics = AnalyticsServiceStub(self._channel(analytics))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that the client opened; calls that are open end."""
        self._opened.close()

    # Readings

    def ingest(self, readings: Iterable[Reading]) -> IngestReadingsResponse:
        """Store 1 to 10,000 readings and return after the commit. Safe to repeat."""
        with service_errors():
            return self._ingest.IngestReadings(IngestReadingsRequest(readings=readings), timeout=self._timeout_s)

    def upload(self, batches: Iterable[Sequence[Reading]], *, timeout_s: float | None = None) -> UploadReadingsResponse:
        """Store all batches and return one summary after the last commit; when it fails, send all of it again."""
        requests = (UploadReadingsRequest(readings=batch) for batch in batches)
        with service_errors():
            return self._ingest.UploadReadings(requests, timeout=timeout_s)

    def sender(
        self,
        *,
        limits: Limits | None = None,
        spool: Spool | None = None,
        retry: Retry = FOREVER,
        on_rejected: Callable[[Reading, Rejection], None] | None = None,
        on_dropped: Callable[[int], None] | None = None,
    ) -> Sender:
        """Return a sender over this client's connection, to be closed before the client is; see Sender."""
        return Sender(
            self._ingest_channel,
            limits=limits,
            spool=spool,
            retry=retry,
            on_rejected=on_rejected,
            on_dropped=on_dropped,
        )

    # The fleet

    def register(self, devices: Iterable[Device]) -> RegisterDevicesResponse:
        """Register 1 to 10,000 devices. Safe to repeat."""
        with service_errors():
            return self._fleet.RegisterDevices(RegisterDevicesRequest(devices=devices), timeout=self._timeout_s)

    def devices(self, kind: "DeviceKind.ValueType" = DeviceKind.DEVICE_KIND_UNSPECIFIED) -> Iterator[Device]:
        """Yield all devices of a kind, or of every kind, by kind and id."""
        request = ListDevicesRequest(kind=kind)
        for page in pages(self._fleet.ListDevices, request, self._timeout_s):
            yield from page.devices

    def assign(
        self, vehicle_id: str, meter_id: str, valid_from: datetime, valid_until: datetime | None = None
    ) -> MeterAssignment:
        """Assign a meter to a vehicle for [valid_from, valid_until). Safe to repeat."""
        request = AssignMeterRequest(
            vehicle_id=vehicle_id,
            meter_id=meter_id,
            valid_from=timestamp(valid_from),
            valid_until=timestamp(valid_until),
        )
        with service_errors():
            return self._fleet.AssignMeter(request, timeout=self._timeout_s).assignment

    def end_assignment(self, assignment_id: int, valid_until: datetime) -> MeterAssignment:
        """End an assignment, or move its end. Safe to repeat."""
        request = EndAssignmentRequest(assignment_id=assignment_id, valid_until=timestamp(valid_until))
        with service_errors():
            return self._fleet.EndAssignment(request, timeout=self._timeout_s).assignment

    def assignments(
        self, *, vehicle_id: str = "", meter_id: str = "", valid_at: datetime | None = None
    ) -> Iterator[MeterAssignment]:
        """Yield the assignments of a vehicle, of a meter, at an instant, or all; by vehicle, then start."""
        request = ListAssignmentsRequest(vehicle_id=vehicle_id, meter_id=meter_id, valid_at=timestamp(valid_at))
        for page in pages(self._fleet.ListAssignments, request, self._timeout_s):
            yield from page.assignments

    # Live state

    def vehicle_state(self, vehicle_id: str) -> VehicleState:
        """Return the newest reading of a vehicle."""
        with service_errors():
            request = GetVehicleStateRequest(vehicle_id=vehicle_id)
            return self._state.GetVehicleState(request, timeout=self._timeout_s).state

    def meter_state(self, meter_id: str) -> MeterState:
        """Return the newest reading of a meter."""
        with service_errors():
            return self._state.GetMeterState(GetMeterStateRequest(meter_id=meter_id), timeout=self._timeout_s).state

    def watch(
        self,
        *,
        kind: "DeviceKind.ValueType" = DeviceKind.DEVICE_KIND_UNSPECIFIED,
        vehicle_ids: Iterable[str] = (),
        meter_ids: Iterable[str] = (),
        retry: Retry | None = None,
    ) -> Iterator[WatchStatesResponse]:
        """Yield the states asked for, first a snapshot, then changes; after a loss of connection, a snapshot again."""
        request = WatchStatesRequest(kind=kind, vehicle_ids=vehicle_ids, meter_ids=meter_ids)
        attempts = Attempts(retry or Retry())
        while True:
            call = self._state.WatchStates(request)
            try:
                for response in call:
                    attempts.progressed()
                    yield response
                lost = ServiceError("UNAVAILABLE", "the service ended the watch")
            except grpc.RpcError as error:
                lost = from_rpc_error(error)
            finally:
                call.cancel()
            time.sleep(attempts.failed(lost))

    def _channel(self, at: str | grpc.Channel) -> grpc.Channel:
        if not isinstance(at, str):
            return at
        return self._opened.enter_context(grpc.insecure_channel(at, options(at)))
