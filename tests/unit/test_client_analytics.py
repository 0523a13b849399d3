"""The client's calls about series, rankings, the fleet, meters, alerts and rules, against a server in this process."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from wattstream.api.analytics.v1 import alerts_pb2, analytics_pb2, analytics_pb2_grpc
from wattstream.client import Client, Retry, ServiceError

START, END = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)
SOON = Retry(initial_s=0.001)


class Scripted(grpc.GenericRpcHandler):
    """Keeps every request, and answers a method with what is put down for it, one after the other."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.answers: dict[str, list[Any]] = {}

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        method = analytics_pb2.DESCRIPTOR.services_by_name["AnalyticsService"].methods_by_name[name]
        decode = getattr(
            alerts_pb2 if hasattr(alerts_pb2, method.input_type.name) else analytics_pb2, method.input_type.name
        ).FromString
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(name), decode, bytes)
        return grpc.unary_unary_rpc_method_handler(self._answer(name), decode, bytes)

    def _answer(self, name: str) -> Any:
        def answer(request: Any, context: Any) -> bytes:
            self.requests.append(request)
            return self.answers[name].pop(0).SerializeToString()

        return answer

    def _stream(self, name: str) -> Any:
        def answer(request: Any, context: Any) -> Iterator[bytes]:
            self.requests.append(request)
            messages, code = self.answers[name].pop(0)
            yield from (message.SerializeToString() for message in messages)
            if code is not None:
                context.abort(code, "ended by the script")

        return answer


@pytest.fixture
def server() -> Iterator[Any]:
    scripted = Scripted()
    running = grpc.server(ThreadPoolExecutor(4), handlers=[scripted])
    scripted.port = running.add_insecure_port("127.0.0.1:0")  # type: ignore[attr-defined]
    running.start()
    yield scripted
    running.stop(None).wait()


@pytest.fixture
def client(server: Any) -> Iterator[Client]:
    with Client(analytics=f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture
def silent_address() -> Iterator[str]:
    """Yield the address of a server that takes calls and answers none."""
    done = threading.Event()

    class Silent(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"" * done.wait())

    running = grpc.server(ThreadPoolExecutor(2), handlers=[Silent()])
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    yield f"127.0.0.1:{port}"
    done.set()
    running.stop(None).wait()


def test_every_call_of_the_service_has_a_method() -> None:
    called = {
        "GetVehiclePerformance": Client.performance,
        "BatchGetVehiclePerformance": Client.performances,
        "QueryPerformanceSeries": Client.series,
        "ListVehiclePerformance": Client.ranking,
        "GetFleetSummary": Client.fleet_summary,
        "QueryMeterUse": Client.meter_use,
        "ListEfficiencyAlerts": Client.alerts,
        "WatchEfficiencyAlerts": Client.watch_alerts,
        "AcknowledgeEfficiencyAlert": Client.acknowledge,
        "SetEfficiencyRule": Client.set_rule,
        "ListEfficiencyRules": Client.rules,
        "DeleteEfficiencyRule": Client.delete_rule,
    }
    methods = vars(analytics_pb2_grpc.AnalyticsServiceServicer)
    assert set(called) == {name for name in methods if name[0].isupper()}


def test_a_series_is_asked_for_with_its_window_granularity_and_zone(server: Any, client: Client) -> None:
    answer = analytics_pb2.QueryPerformanceSeriesResponse(time_zone="Europe/Zurich")
    server.answers["QueryPerformanceSeries"] = [answer]
    series = client.series("V1", START, END, granularity=analytics_pb2.GRANULARITY_DAY, time_zone="Europe/Zurich")
    [request] = server.requests
    assert series == answer
    assert (request.vehicle_id, request.granularity, request.time_zone) == ("V1", 5, "Europe/Zurich")
    assert request.window.start.ToDatetime(tzinfo=UTC) == START


def test_a_ranking_goes_from_page_to_page_and_asks_for_the_same(server: Any, client: Client) -> None:
    pages = [(["V1", "V2"], "more"), (["V3"], "")]
    server.answers["ListVehiclePerformance"] = [
        analytics_pb2.ListVehiclePerformanceResponse(
            performances=[analytics_pb2.VehiclePerformance(vehicle_id=one) for one in ids], next_page_token=token
        )
        for ids, token in pages
    ]
    ranking = client.ranking(order_by=analytics_pb2.VEHICLE_ORDER_KWH_LOST, efficiency_below=0.0, meter_ids=["M1"])
    assert [one.vehicle_id for one in ranking] == ["V1", "V2", "V3"]
    assert [request.page_token for request in server.requests] == ["", "more"]
    assert all(request.order_by == 2 and list(request.meter_ids) == ["M1"] for request in server.requests)
    assert server.requests[0].HasField("efficiency_below")


def test_a_ranking_asks_for_a_page_only_when_it_is_needed(server: Any, client: Client) -> None:
    page = analytics_pb2.ListVehiclePerformanceResponse(
        performances=[analytics_pb2.VehiclePerformance(vehicle_id="V1")], next_page_token="more"
    )
    server.answers["ListVehiclePerformance"] = [page]
    assert next(client.ranking()).vehicle_id == "V1"
    assert len(server.requests) == 1


def test_alerts_follow_the_pages_within_their_time(server: Any, client: Client) -> None:
    server.answers["ListEfficiencyAlerts"] = [
        alerts_pb2.ListEfficiencyAlertsResponse(
            alerts=[alerts_pb2.EfficiencyAlert(alert_id=one)], next_page_token=token
        )
        for one, token in ((2, "more"), (1, ""))
    ]
    filter_ = alerts_pb2.AlertFilter(vehicle_id="V1")
    assert [one.alert_id for one in client.alerts(filter_, since=START, until=END)] == [2, 1]
    first, second = server.requests
    assert first.filter == second.filter == filter_
    assert (first.since.ToDatetime(tzinfo=UTC), first.until.ToDatetime(tzinfo=UTC)) == (START, END)


def watched(token: str, *ids: int) -> alerts_pb2.WatchEfficiencyAlertsResponse:
    return alerts_pb2.WatchEfficiencyAlertsResponse(
        alerts=[alerts_pb2.EfficiencyAlert(alert_id=one) for one in ids], resume_token=token
    )


def test_a_watch_goes_on_from_the_last_token_after_the_connection_is_lost(server: Any, client: Client) -> None:
    server.answers["WatchEfficiencyAlerts"] = [
        ([watched("a", 1), watched("b")], grpc.StatusCode.UNAVAILABLE),
        ([], grpc.StatusCode.UNAVAILABLE),
        ([watched("c", 2)], None),
        ([], grpc.StatusCode.INVALID_ARGUMENT),
    ]
    seen: list[int] = []
    watching = client.watch_alerts(resume_token="first", retry=SOON)
    with pytest.raises(ServiceError, match="ended by the script"):
        seen.extend(one.alert_id for response in watching for one in response.alerts)
    assert seen == [1, 2]
    assert [request.resume_token for request in server.requests] == ["first", "b", "b", "c"]


def test_a_watch_of_a_service_that_was_never_there_gives_up_soon() -> None:
    retry = Retry(first_contact_s=0.05, initial_s=0.001)
    with Client(analytics="127.0.0.1:1") as client, pytest.raises(ServiceError) as raised:
        next(client.watch_alerts(retry=retry))
    assert raised.value.code == "UNAVAILABLE"


def test_rules_are_set_listed_and_deleted(server: Any, client: Client) -> None:
    rule = alerts_pb2.EfficiencyRule(meter_id="M1", threshold=0.8)
    server.answers["SetEfficiencyRule"] = [alerts_pb2.SetEfficiencyRuleResponse(rule=rule)]
    server.answers["ListEfficiencyRules"] = [alerts_pb2.ListEfficiencyRulesResponse(rules=[rule])]
    server.answers["DeleteEfficiencyRule"] = [alerts_pb2.DeleteEfficiencyRuleResponse()]
    assert client.set_rule(rule) == rule
    assert client.rules() == [rule]
    client.delete_rule("M1")
    assert (server.requests[0].rule, server.requests[2].meter_id) == (rule, "M1")


def test_an_acknowledgement_carries_who_and_what(server: Any, client: Client) -> None:
    alert = alerts_pb2.EfficiencyAlert(alert_id=7, note="fan replaced")
    server.answers["AcknowledgeEfficiencyAlert"] = [alerts_pb2.AcknowledgeEfficiencyAlertResponse(alert=alert)]
    assert client.acknowledge(7, "Ada", "fan replaced") == alert
    [request] = server.requests
    assert (request.alert_id, request.acknowledged_by, request.note) == (7, "Ada", "fan replaced")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.series("V1"),
        lambda client: list(client.ranking()),
        lambda client: client.fleet_summary(),
        lambda client: client.meter_use("M1"),
        lambda client: list(client.alerts()),
        lambda client: client.acknowledge(1),
        lambda client: client.rules(),
        lambda client: client.set_rule(alerts_pb2.EfficiencyRule()),
        lambda client: client.delete_rule("M1"),
    ],
)
def test_every_unary_call_has_a_deadline(silent_address: str, call: Callable[[Client], object]) -> None:
    with Client(analytics=silent_address, timeout_s=0.05) as client, pytest.raises(ServiceError) as raised:
        call(client)
    assert raised.value.code == "DEADLINE_EXCEEDED"
