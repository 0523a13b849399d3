"""The client's calls, against a scripted server."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc_testing
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from wattstream.api.analytics.v1 import analytics_pb2
from wattstream.api.ingest.v1 import fleet_pb2, ingest_pb2
from wattstream.api.state.v1 import state_pb2
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.client import BatchOutcome, Client, FieldViolation, Limits, Retry, ServiceError

SERVICES = [
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"],
    fleet_pb2.DESCRIPTOR.services_by_name["FleetService"],
    state_pb2.DESCRIPTOR.services_by_name["StateService"],
    analytics_pb2.DESCRIPTOR.services_by_name["AnalyticsService"],
]
INGEST, FLEET, STATE, ANALYTICS = (service.methods_by_name for service in SERVICES)
OK = (grpc.StatusCode.OK, "")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
READING = Reading(meter=MeterReading(meter_id="M1"))


@pytest.fixture
def channel() -> Any:
    return grpc_testing.channel(SERVICES, grpc_testing.strict_real_time())


@pytest.fixture
def client(channel: Any) -> Client:
    return Client(channel, channel, channel)


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def status_details(code: grpc.StatusCode, message: str, *details: Any) -> tuple[tuple[str, bytes], ...]:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def test_ingest_sends_the_readings_and_returns_what_became_of_them(
    client: Client, channel: Any, background: ThreadPoolExecutor
) -> None:
    call = background.submit(client.ingest, [READING])
    _, request, rpc = channel.take_unary_unary(INGEST["IngestReadings"])
    rpc.terminate(ingest_pb2.IngestReadingsResponse(stored=1), (), *OK)

    assert list(request.readings) == [READING]
    assert call.result().stored == 1


def test_upload_sends_every_batch_as_a_message(client: Client, channel: Any, background: ThreadPoolExecutor) -> None:
    call = background.submit(client.upload, [[READING], [READING, READING]])
    _, rpc = channel.take_stream_unary(INGEST["UploadReadings"])
    sizes = [len(rpc.take_request().readings), len(rpc.take_request().readings)]
    rpc.requests_closed()
    rpc.terminate(ingest_pb2.UploadReadingsResponse(batches=2, stored=3), (), *OK)

    assert sizes == [1, 2]
    assert call.result().stored == 3


def test_a_sender_sends_numbered_batches_and_half_closes_after_the_last_acknowledgement(
    client: Client, channel: Any, background: ThreadPoolExecutor
) -> None:
    sender = client.sender(limits=Limits(batch_readings=2, linger_s=0))
    future = sender.send_batch([READING] * 3)
    _, rpc = channel.take_stream_stream(INGEST["StreamReadings"])
    requests = [ingest_pb2.StreamReadingsRequest.FromString(rpc.take_request()) for _ in range(2)]
    acks = [ingest_pb2.BatchAck(batch_id=1, stored=2), ingest_pb2.BatchAck(batch_id=2, duplicates=1)]
    rpc.send_response(ingest_pb2.StreamReadingsResponse(acks=acks))
    closing = background.submit(sender.close)
    rpc.requests_closed()
    rpc.terminate((), *OK)
    closing.result()

    assert [(request.batch_id, len(request.readings)) for request in requests] == [(1, 2), (2, 1)]
    assert future.result() == BatchOutcome(3, {}, 1)


def test_assign_sends_both_ends_and_returns_the_assignment(
    client: Client, channel: Any, background: ThreadPoolExecutor
) -> None:
    start = datetime(2026, 2, 10, 14, 47, 0, 123456, tzinfo=UTC)
    call = background.submit(client.assign, "V1", "M1", start)
    _, request, rpc = channel.take_unary_unary(FLEET["AssignMeter"])
    answer = fleet_pb2.AssignMeterResponse(assignment=fleet_pb2.MeterAssignment(assignment_id=7))
    rpc.terminate(answer, (), *OK)

    assert request.valid_from.ToDatetime(tzinfo=UTC) == start
    assert not request.HasField("valid_until")
    assert call.result().assignment_id == 7


def test_devices_follows_the_pages(client: Client, channel: Any, background: ThreadPoolExecutor) -> None:
    call: Future[list[Any]] = background.submit(lambda: list(client.devices()))
    tokens = []
    for device_id, following in (("M1", "more"), ("V1", "")):
        _, request, rpc = channel.take_unary_unary(FLEET["ListDevices"])
        tokens.append(request.page_token)
        page = fleet_pb2.ListDevicesResponse(devices=[fleet_pb2.Device(device_id=device_id)], next_page_token=following)
        rpc.terminate(page, (), *OK)

    assert [device.device_id for device in call.result()] == ["M1", "V1"]
    assert tokens == ["", "more"]


def test_performance_leaves_the_window_out_where_none_is_given(
    client: Client, channel: Any, background: ThreadPoolExecutor
) -> None:
    call = background.submit(client.performance, "V1")
    _, request, rpc = channel.take_unary_unary(ANALYTICS["GetVehiclePerformance"])
    found = analytics_pb2.VehiclePerformance(vehicle_id="V1", kwh_lost=0.5)
    rpc.terminate(analytics_pb2.GetVehiclePerformanceResponse(performance=found), (), *OK)

    assert not request.HasField("window")
    assert call.result() == found


def test_a_time_without_an_offset_is_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(ValueError, match="offset"):
        client.performance("V1", datetime(2026, 2, 10))


def test_an_error_carries_what_its_details_say(client: Client, channel: Any, background: ThreadPoolExecutor) -> None:
    call = background.submit(client.vehicle_state, "")
    _, _, rpc = channel.take_unary_unary(STATE["GetVehicleState"])
    violation = error_details_pb2.BadRequest.FieldViolation(field="vehicle_id", description="is required")
    details = status_details(
        grpc.StatusCode.INVALID_ARGUMENT,
        "vehicle_id: is required",
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", metadata={"request_id": "r-1"}),
    )
    rpc.terminate(
        state_pb2.GetVehicleStateResponse(), details, grpc.StatusCode.INVALID_ARGUMENT, "vehicle_id: is required"
    )

    with pytest.raises(ServiceError, match="vehicle_id: is required") as raised:
        call.result()
    error = raised.value
    assert (error.code, error.reason, error.request_id) == ("INVALID_ARGUMENT", "INVALID_REQUEST", "r-1")
    assert error.violations == (FieldViolation("vehicle_id", "is required"),)
    assert error.retry_after_s == 1.5


def test_details_that_contradict_the_status_are_left_out(
    client: Client, channel: Any, background: ThreadPoolExecutor
) -> None:
    call = background.submit(client.meter_state, "M1")
    _, _, rpc = channel.take_unary_unary(STATE["GetMeterState"])
    details = status_details(grpc.StatusCode.NOT_FOUND, "other", error_details_pb2.ErrorInfo(reason="OTHER"))
    rpc.terminate(state_pb2.GetMeterStateResponse(), details, grpc.StatusCode.UNAVAILABLE, "away")

    with pytest.raises(ServiceError, match="away") as raised:
        call.result()
    assert (raised.value.code, raised.value.reason, raised.value.transient) == ("UNAVAILABLE", "", True)


def test_watch_asks_again_when_the_service_ends_the_call(
    client: Client, channel: Any, background: ThreadPoolExecutor
) -> None:
    watching = client.watch(vehicle_ids=["V1"], retry=Retry(initial_s=0.001))
    call = background.submit(lambda: [next(watching).snapshot, next(watching).snapshot])
    for snapshot in (True, False):
        _, request, rpc = channel.take_unary_stream(STATE["WatchStates"])
        rpc.send_response(state_pb2.WatchStatesResponse(snapshot=snapshot))
        rpc.terminate((), *OK)

    assert list(request.vehicle_ids) == ["V1"]
    assert call.result() == [True, False]
    watching.close()  # type: ignore[attr-defined] # a generator


def test_watch_raises_what_cannot_get_better(client: Client, channel: Any, background: ThreadPoolExecutor) -> None:
    call = background.submit(lambda: list(client.watch()))
    _, _, rpc = channel.take_unary_stream(STATE["WatchStates"])
    rpc.terminate((), grpc.StatusCode.INVALID_ARGUMENT, "too many ids")

    with pytest.raises(ServiceError, match="too many ids"):
        call.result()


class Silent(grpc.GenericRpcHandler):
    """Answers nothing until it is told to."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.done.wait())


@pytest.fixture
def silent_address() -> Iterator[str]:
    silent = Silent()
    server = grpc.server(ThreadPoolExecutor(16), handlers=[silent])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    silent.done.set()
    server.stop(None).wait()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.ingest([READING]),
        lambda client: client.register([]),
        lambda client: list(client.devices()),
        lambda client: list(client.assignments()),
        lambda client: client.assign("V1", "M1", NOW),
        lambda client: client.end_assignment(1, NOW),
        lambda client: client.vehicle_state("V1"),
        lambda client: client.meter_state("M1"),
        lambda client: client.performance("V1"),
        lambda client: client.performances(["V1"]),
    ],
)
def test_every_unary_call_has_a_deadline(silent_address: str, call: Callable[[Client], object]) -> None:
    with (
        Client(silent_address, silent_address, silent_address, timeout_s=0.05) as client,
        pytest.raises(ServiceError) as raised,
    ):
        call(client)
    assert raised.value.code == "DEADLINE_EXCEEDED"
