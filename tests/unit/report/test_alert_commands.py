"""The commands about alerts, rules and meters, against a service whose answers are made up."""

import json
from datetime import timedelta
from typing import Any

from click.testing import CliRunner, Result

from wattstream.api.analytics.v1 import alerts_pb2, analytics_pb2
from wattstream.cli import main
from wattstream.client.times import timestamp


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_alerts_are_filtered_and_shown_in_words(analytics: Any) -> None:
    done = run("alerts", "--open", "--vehicle", "V1", "--unacknowledged", "--since", "2026-03-10T00:00Z")
    assert done.stdout == (
        "alert 7  open  V1 at M1  2026-03-10 06:00 to 2026-03-10 09:00 UTC\n    70.0%, threshold 85%, cost 4.950 kWh\n"
    )
    [asked] = analytics.asked
    assert asked.filter == alerts_pb2.AlertFilter(state=1, vehicle_id="V1", unacknowledged_only=True)
    assert asked.since.ToJsonString() == "2026-03-10T00:00:00Z"


def test_alerts_are_shown_by_a_local_clock(analytics: Any) -> None:
    assert "07:00 to 2026-03-10 10:00 Europe/Zurich" in run("alerts", "--time-zone", "Europe/Zurich").stdout


def test_alerts_as_json_are_one_a_line_up_to_the_limit(analytics: Any) -> None:
    analytics.alerts = [analytics.samples.alert(one) for one in (9, 8, 7)]
    shown = [json.loads(line) for line in run("alerts", "--json", "--limit", "2").stdout.splitlines()]
    assert [one["alert_id"] for one in shown] == ["9", "8"]


def test_no_alerts_are_said_to_be_none_but_not_in_json(analytics: Any) -> None:
    analytics.alerts = []
    assert run("alerts").stdout == "No alerts.\n"
    assert run("alerts", "--json").stdout == ""


def test_a_watch_shows_alerts_as_they_come_and_goes_on_where_it_was(analytics: Any) -> None:
    done = run("alerts", "--watch", "--meter", "M1", "--json")
    assert json.loads(done.stdout)["alert_id"] == "7"
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "Error: enough")
    assert [one.resume_token for one in analytics.asked] == ["", "r"]
    assert analytics.asked[0].filter.meter_id == "M1"


def test_an_acknowledgement_says_what_was_noted(analytics: Any) -> None:
    done = run("acknowledge", "12", "--by", "Ada", "--note", "fan replaced")
    assert "alert 12  open" in done.stdout
    assert "acknowledged by Ada: fan replaced" in done.stdout
    assert json.loads(run("acknowledge", "12", "--json").stdout)["alert_id"] == "12"


def test_rules_are_shown_with_units(analytics: Any) -> None:
    analytics.rules.append(alerts_pb2.EfficiencyRule(meter_id="M1", threshold=0.8, hysteresis=0.05, window_hours=12))
    lines = run("rules").stdout.splitlines()
    assert lines[1].split() == ["the", "fleet", "85.0%", "87.0%", "15", "24", "h"]
    assert lines[2].split() == ["meter", "M1", "80.0%", "85.0%", "0", "12", "h"]
    assert [json.loads(line)["meter_id"] for line in run("rules", "--json").stdout.splitlines()] == ["", "M1"]


def test_setting_a_part_of_a_rule_keeps_the_rest(analytics: Any) -> None:
    analytics.rules[0].threshold = 0.9
    run("rules", "--meter", "M1", "--hours", "48")
    [asked] = analytics.asked
    assert asked.rule == alerts_pb2.EfficiencyRule(
        meter_id="M1", threshold=0.9, hysteresis=0.02, least_minutes=15, window_hours=48
    )
    run("rules", "--threshold", "0.8")
    assert (analytics.asked[1].rule.meter_id, analytics.asked[1].rule.threshold) == ("", 0.8)


def test_the_rule_of_a_meter_is_shown_or_deleted(analytics: Any) -> None:
    assert "the fleet" in run("rules", "--meter", "M1").stdout
    assert run("rules", "--meter", "M1", "--delete").exit_code == 0
    assert analytics.asked[0].meter_id == "M1"


def test_a_meter_is_shown_with_its_stays_and_what_is_unexplained(analytics: Any) -> None:
    day = analytics.samples.day
    stays = [
        analytics_pb2.MeterStay(
            vehicle_id=f"V{hours}",
            start=timestamp(day + timedelta(hours=hours)),
            end=timestamp(day + timedelta(hours=hours + 5)),
            minutes=300,
            minutes_shared=20,
            kwh_consumed_ac=40.0,
            kwh_delivered_dc=36.0,
        )
        for hours in (3, 21)
    ]
    window = analytics_pb2.TimeWindow(start=timestamp(day), end=timestamp(day + timedelta(days=1)))
    analytics.use = analytics_pb2.QueryMeterUseResponse(
        window=window, kwh_consumed_ac=100.0, kwh_exclusive=80.0, kwh_shared=15.0, kwh_unexplained=5.0, stays=stays
    )
    lines = run("meter", "M1").stdout.splitlines()
    assert "unexplained         5.0000 kWh (5.0%)" in lines
    assert lines[-2].split() == [
        "V3",
        "2026-03-10",
        "03:00",
        "08:00",
        "280",
        "min",
        "20",
        "min",
        "40.0000",
        "36.0000",
        "90.0%",
    ]
    assert "2026-03-11 02:00" in lines[-1]
    assert "V3" not in run("meter", "M1", "--limit", "1").stdout
    assert len(json.loads(run("meter", "M1", "--json").stdout)["stays"]) == 2
