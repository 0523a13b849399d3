"""The client commands, against scripted servers."""

import json
import threading
from typing import Any

import grpc
import grpc_testing
import pytest
from click.testing import CliRunner, Result
from google.protobuf.timestamp_pb2 import Timestamp

from wattstream.api.analytics.v1 import analytics_pb2
from wattstream.api.ingest.v1 import fleet_pb2, ingest_pb2
from wattstream.api.state.v1 import state_pb2
from wattstream.cli import connection, main
from wattstream.client import Client

SERVICES = [
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"],
    fleet_pb2.DESCRIPTOR.services_by_name["FleetService"],
    state_pb2.DESCRIPTOR.services_by_name["StateService"],
    analytics_pb2.DESCRIPTOR.services_by_name["AnalyticsService"],
]
INGEST, FLEET, STATE, ANALYTICS = (service.methods_by_name for service in SERVICES)
OK = (grpc.StatusCode.OK, "")


class Running:
    """A command that runs in a thread of its own."""

    def __init__(self, *args: str, text: str | None = None) -> None:
        self._result: Result | None = None
        self._thread = threading.Thread(target=self._invoke, args=(list(args), text), daemon=True)
        self._thread.start()

    def _invoke(self, args: list[str], text: str | None) -> None:
        self._result = CliRunner().invoke(main, args, input=text)

    def result(self) -> Result:
        self._thread.join(20)
        assert self._result is not None, "the command does not end"
        return self._result


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Any:
    scripted = grpc_testing.channel(SERVICES, grpc_testing.strict_real_time())
    monkeypatch.setattr(connection, "Client", lambda *addresses: Client(scripted, scripted, scripted))
    return scripted


def performance(**values: Any) -> analytics_pb2.GetVehiclePerformanceResponse:
    return analytics_pb2.GetVehiclePerformanceResponse(
        performance=analytics_pb2.VehiclePerformance(
            vehicle_id="V1", correlation="CORRELATION_EXCLUSIVE_MINUTES", **values
        )
    )


def answer_performance(channel: Any, response: Any) -> Any:
    _, request, rpc = channel.take_unary_unary(ANALYTICS["GetVehiclePerformance"])
    rpc.terminate(response, (), *OK)
    return request


def test_performance_shows_the_figures_with_units_and_the_counts_that_explain_them(channel: Any) -> None:
    running = Running("performance", "V1")
    answer_performance(
        channel,
        performance(
            kwh_consumed_ac=2.7202,
            kwh_delivered_dc=2.4508,
            kwh_lost=0.2694,
            efficiency=0.900963,
            mean_soc=22.282,
            readings=7,
            readings_kept=5,
            minutes_kept=5,
            minutes_shared=2,
            meter_ids=["M1"],
        ),
    )
    shown = running.result().output
    assert "2.7202 kWh (M1)" in shown
    assert "90.10%" in shown
    assert "22.28 %" in shown
    assert "5 of 7 kept" in shown
    assert "2 shared with another vehicle" in shown
    assert "battery temperature" not in shown


def test_performance_says_that_there_is_no_efficiency_without_ac_energy(channel: Any) -> None:
    running = Running("performance", "V1")
    answer_performance(channel, performance())
    assert "none: no AC energy" in running.result().output


def test_performance_asks_for_the_window_and_correlation_given(channel: Any) -> None:
    window = ("--start", "2026-02-10T14:47Z", "--end", "2026-02-10T15:57+01:00")
    running = Running("performance", "V1", *window, "--correlation", "assigned", "--json")
    request = answer_performance(channel, performance())
    assert (request.window.start.ToJsonString(), request.window.end.ToJsonString()) == (
        "2026-02-10T14:47:00Z",
        "2026-02-10T14:57:00Z",
    )
    assert request.correlation == analytics_pb2.CORRELATION_ASSIGNED_METER
    assert json.loads(running.result().stdout)["minutes_shared"] == "0"


def test_performance_asks_for_the_last_hours(channel: Any) -> None:
    running = Running("performance", "V1", "--last", "6h")
    request = answer_performance(channel, performance())
    assert request.window.end.seconds - request.window.start.seconds == 6 * 3600
    assert running.result().exit_code == 0


def test_what_is_not_found_is_one_line_and_exit_code_1(channel: Any) -> None:
    running = Running("performance", "V3")
    _, _, rpc = channel.take_unary_unary(ANALYTICS["GetVehiclePerformance"])
    message = "No charging data found in last 24 hours"
    rpc.terminate(analytics_pb2.GetVehiclePerformanceResponse(), (), grpc.StatusCode.NOT_FOUND, message)
    result = running.result()
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")


def test_a_service_out_of_reach_is_one_line_and_exit_code_3() -> None:
    result = CliRunner().invoke(main, ["state", "vehicle", "V1", "--state", "127.0.0.1:1"])
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: cannot reach the service")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [
        ["performance", "V1", "--start", "2026-02-10T14:47"],
        ["performance", "V1", "--last", "24"],
        ["performance", "V1", "--last", "24h", "--start", "2026-02-10T14:47Z"],
        ["performance", "V1", "--analytics", "nowhere"],
        ["performance"],
        ["state", "charger", "C1"],
        ["watch", "--kind", "meter", "--vehicle", "V1"],
        ["import", "there-is-no-such-file.csv"],
        ["simulate", "--start", "2999-01-01T00:00Z"],
        ["simulate", "--speed", "-1"],
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["seed", "import", "simulate", "performance", "state", "watch"])
def test_help_tells_the_exit_codes(command: str) -> None:
    assert "Exit codes: 0 done; 1 failed" in " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())


def test_state_shows_a_vehicle_with_units(channel: Any) -> None:
    running = Running("state", "vehicle", "V1")
    _, request, rpc = channel.take_unary_unary(STATE["GetVehicleState"])
    state = state_pb2.VehicleState(
        vehicle_id="V1",
        recorded_at=Timestamp(seconds=1770734820),
        soc=24.08,
        kwh_delivered_dc=0.5986,
        battery_temp=30.5,
    )
    rpc.terminate(state_pb2.GetVehicleStateResponse(state=state), (), *OK)
    shown = running.result().output
    assert request.vehicle_id == "V1"
    for part in ("24.08 %", "0.5986 kWh", "30.50 °C", "2026-02-10 14:47 UTC", "offline"):
        assert part in shown


def test_state_prints_a_meter_as_json(channel: Any) -> None:
    running = Running("state", "meter", "M1", "--json")
    _, _, rpc = channel.take_unary_unary(STATE["GetMeterState"])
    rpc.terminate(state_pb2.GetMeterStateResponse(state=state_pb2.MeterState(meter_id="M1", voltage=400.0)), (), *OK)
    shown = json.loads(running.result().stdout)
    assert (shown["meter_id"], shown["voltage"], shown["online"]) == ("M1", 400.0, False)


def test_watch_prints_one_json_object_a_state(channel: Any) -> None:
    running = Running("watch", "--meter", "M1", "--json")
    _, request, rpc = channel.take_unary_stream(STATE["WatchStates"])
    states = [state_pb2.DeviceState(meter=state_pb2.MeterState(meter_id=one)) for one in ("M1", "M2")]
    rpc.send_response(state_pb2.WatchStatesResponse(states=states, snapshot=True))
    rpc.send_response(state_pb2.WatchStatesResponse(states=states[:1], skipped=3))
    rpc.terminate((), *OK)
    _, _, again = channel.take_unary_stream(STATE["WatchStates"])
    again.terminate((), grpc.StatusCode.INVALID_ARGUMENT, "enough")

    result = running.result()
    assert list(request.meter_ids) == ["M1"]
    assert [json.loads(line)["meter"]["meter_id"] for line in result.stdout.splitlines()] == ["M1", "M2", "M1"]
    assert "3 values were overtaken" in result.stderr
    assert result.exit_code == 1


def test_seed_registers_stores_and_assigns(channel: Any) -> None:
    running = Running("seed")
    _, devices, rpc = channel.take_unary_unary(FLEET["RegisterDevices"])
    rpc.terminate(fleet_pb2.RegisterDevicesResponse(registered=3), (), *OK)
    _, readings, rpc = channel.take_unary_unary(INGEST["IngestReadings"])
    rpc.terminate(ingest_pb2.IngestReadingsResponse(stored=20), (), *OK)
    stays = []
    for _ in range(2):
        _, request, rpc = channel.take_unary_unary(FLEET["AssignMeter"])
        stays.append((request.vehicle_id, request.valid_from.ToJsonString(), request.valid_until.ToJsonString()))
        rpc.terminate(fleet_pb2.AssignMeterResponse(), (), *OK)

    result = running.result()
    assert [device.device_id for device in devices.devices] == ["M1", "V1", "V2"]
    assert sum(r.meter.kwh_consumed_ac for r in readings.readings) == pytest.approx(2.7202 + 2.8575)
    assert stays == [
        ("V1", "2026-02-10T14:47:00Z", "2026-02-10T14:52:00Z"),
        ("V2", "2026-02-10T14:52:00Z", "2026-02-10T14:57:00Z"),
    ]
    assert "20 readings stored, 0 duplicates" in result.output
    assert "wattstream performance V1 --start 2026-02-10T14:47Z --end 2026-02-10T14:57Z" in result.output
