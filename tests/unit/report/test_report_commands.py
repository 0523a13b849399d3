"""The commands that make pictures, against a service whose answers are made up."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wattstream.cli import main, pictures
from wattstream.report import words

WINDOW = ("--start", "2026-03-10T00:00Z", "--end", "2026-03-11T00:00Z")


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_a_plot_takes_the_place_of_the_figures(analytics: Any) -> None:
    done = run("performance", "V1", *WINDOW, "--plot")
    assert done.exit_code == 0, done.output
    for part in ("Vehicle V1", "Power, kW, mean per hour", "alert 7  open", "10 Mar"):
        assert part in done.stdout
    assert "correlation" not in done.stdout


def test_files_are_written_beside_the_figures(analytics: Any, tmp_path: Path) -> None:
    html, png = tmp_path / "v.html", tmp_path / "v.png"
    done = run("performance", "V1", "--html", str(html), "--png", str(png), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["vehicle_id"] == "V1"
    assert done.stderr == f"Wrote {html}\nWrote {png}\n"
    assert "Vehicle V1" in html.read_text(encoding="utf-8")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_all_questions_of_a_picture_are_about_one_window(analytics: Any) -> None:
    run("performance", "V1", "--plot", "--time-zone", "Europe/Zurich", "--granularity", "15min")
    series, performance, alerts = analytics.asked
    assert (series.granularity, series.time_zone) == (3, "Europe/Zurich")
    assert series.window.end.seconds - series.window.start.seconds == 24 * 3600
    assert performance.window == analytics.series.window
    assert (alerts.since, alerts.until) == (performance.window.start, performance.window.end)
    assert alerts.filter.vehicle_id == "V1"


def test_withdrawn_alerts_are_not_in_pictures(analytics: Any) -> None:
    analytics.alerts = [analytics.samples.alert(8, state="ALERT_STATE_WITHDRAWN")]
    assert "alert 8" not in run("performance", "V1", "--plot").stdout


def test_buckets_are_printed_where_their_length_is_given(analytics: Any) -> None:
    analytics.series = analytics.samples.series(
        lambda i: None if i == 1 else (6.0, 0.9), granularity="GRANULARITY_HOUR"
    )
    lines = run("performance", "V1", *WINDOW, "--granularity", "hour").stdout.splitlines()
    assert lines[0].split()[:4] == ["from,", "UTC", "AC", "kWh"]
    assert lines[1].split() == ["2026-03-10", "00:00", "6.0000", "5.4000", "0.6000", "90.0%", "20.0", "22.0", "60", "0"]
    assert lines[2].split() == ["2026-03-10", "01:00", *["-"] * 6, "0", "0"]
    assert max(len(line) for line in lines) <= 80
    shown = json.loads(run("performance", "V1", *WINDOW, "--granularity", "hour", "--json").stdout)
    assert len(shown["buckets"]) == 24
    assert "kwh_consumed_ac" not in shown["buckets"][1]


def test_of_an_empty_window_there_is_a_picture_and_an_error(analytics: Any, tmp_path: Path) -> None:
    analytics.performance = None
    analytics.series = analytics.samples.series(lambda i: None)
    done = run("performance", "V1", *WINDOW, "--html", str(tmp_path / "v.html"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith("Error: No charging data found in last 24 hours\n")
    assert "No readings in this window" in (tmp_path / "v.html").read_text(encoding="utf-8")


def test_without_the_extra_the_command_says_what_to_install(
    analytics: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    done = run("fleet", "--png", str(tmp_path / "f.png"))
    assert (done.exit_code, analytics.asked) == (1, [])
    assert "pip install 'wattstream[report]'" in done.stderr
    assert run("fleet", "--plot").exit_code == 0


def test_a_file_that_cannot_be_written_is_one_line(analytics: Any, tmp_path: Path) -> None:
    done = run("performance", "V1", "--html", str(tmp_path / "no" / "v.html"))
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: cannot write")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["performance", "V1", "--plot", "--json"], "not both"),
        (["performance", "V1", "--last", "900000d"], "before the year 1"),
        (["performance", "V1", "--granularity", "week"], "is not one of"),
        (["performance", "V1", "--time-zone", "Mars/Olympus"], "is not a time zone"),
        (["fleet", "--time-zone", "../../etc/passwd"], "is not a time zone"),
        (["fleet", "--time-zone", "Europe"], "is not a time zone"),
        (["fleet", "--rank", "colour"], "is not one of"),
        (["alerts", "--watch", "--since", "2026-03-10T00:00Z"], "leave out"),
        (["acknowledge", "first"], "not a valid integer"),
        (["rules", "--delete"], "--delete needs --meter"),
        (["rules", "--threshold", "85"], "not in the range"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(analytics: Any, args: list[str], message: str) -> None:
    done = run(*args)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert analytics.asked == []


def test_the_fleet_is_shown_with_its_worst_vehicles_and_open_alerts(analytics: Any) -> None:
    done = run("fleet", *WINDOW, "--rank", "lost", "--limit", "3", "--min-kwh", "5")
    for part in (
        "AC at the meters     5210.4000 kWh",
        "197 reporting, 3 silent",
        "the vehicles that lose most:",
        "vehicle-2",
        "open alerts:\nalert 7  V1 at M1: 70.0%, threshold 85%, cost 4.950 kWh",
        "4, 9 h together, the longest 5 h",
    ):
        assert part in done.stdout
    assert "vehicle-3" not in done.stdout
    summary, ranking, alerts = analytics.asked
    assert summary.window == ranking.window
    assert (ranking.order_by, ranking.page_size, ranking.min_kwh_consumed_ac) == (2, 3, 5.0)
    assert alerts.filter.state == 1


def test_the_fleet_as_json_is_one_object(analytics: Any) -> None:
    shown = json.loads(run("fleet", "--limit", "2", "--json").stdout)
    assert shown["summary"]["vehicles_reporting"] == "197"
    assert [one["vehicle_id"] for one in shown["vehicles"]] == ["vehicle-0", "vehicle-1"]
    assert shown["open_alerts"][0]["alert_id"] == "7"


def test_the_fleet_is_drawn_over_the_window_of_its_summary(analytics: Any, tmp_path: Path) -> None:
    html = tmp_path / "f.html"
    done = run("fleet", "--plot", "--html", str(html))
    assert done.exit_code == 0, done.output
    assert "Vehicles by efficiency" in done.stdout
    assert "The least efficient vehicles" in html.read_text(encoding="utf-8")
    [series] = [one for one in analytics.asked if hasattr(one, "granularity")]
    assert (series.vehicle_id, series.window) == ("", analytics.samples.summary().window)


def test_gaps_are_left_out_where_they_are_not_known(samples: Any) -> None:
    summary = samples.summary()
    assert "gaps of meters" in dict(words.quality(summary))
    summary.quality.ClearField("meter_gaps")
    assert "gaps of meters" not in dict(words.quality(summary))
