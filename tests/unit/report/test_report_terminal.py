"""Reports in a terminal."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from rich.text import Text

from wattstream.report import chart, lines, terminal


def drawn(report: Any, width: int = 80, *, colour: bool = False) -> list[Text]:
    return list(terminal.vehicle(report, width, colour=colour))


def plain(texts: list[Text]) -> list[str]:
    return [text.plain for text in texts]


@pytest.mark.parametrize("width", [40, 80, 133])
@pytest.mark.parametrize("hours", [0.05, 1, 24, 400 * 24])
def test_charts_fit_the_width(samples: Any, width: int, hours: float) -> None:
    granularity = "GRANULARITY_MINUTE" if hours < 2 else "GRANULARITY_5_MINUTES" if hours < 25 else "GRANULARITY_DAY"
    end = samples.day + timedelta(hours=hours)
    texts = plain(drawn(samples.vehicle(samples.series(end=end, granularity=granularity)), width))
    widths = [len(text) for text in texts if "│" in text or "└" in text] + [len(text) for text in texts[-2:]]
    assert width * 0.6 < max(widths) <= width


def test_a_column_is_dc_then_what_is_lost_and_no_data_is_blank() -> None:
    nan = math.nan
    rows = chart.stacked(np.array([3.0, nan, 0.0, 4.0]), np.array([4.0, nan, 0.0, 4.0]), 4, colour=False)
    assert [row.plain[-4:] for row in rows] == ["▒  █", "█  █", "█  █", "█  █"]
    assert [row.plain[:5].strip() for row in rows] == ["4", "", "2", "0"]


def test_in_colour_a_column_is_exact_to_an_eighth() -> None:
    [row] = chart.stacked(np.array([3.5]), np.array([4.0]), 1, colour=True)
    assert row.plain[-1] == "▇"
    assert [span.style for span in row.spans][-1] == "bright_blue on yellow"


def test_dc_above_ac_stands_out() -> None:
    rows = chart.stacked(np.array([4.0]), np.array([2.0]), 4, colour=True)
    assert [str(row.spans[-1].style) for row in rows] == ["bold red", "bold red", "bright_blue", "bright_blue"]


def test_what_is_below_the_threshold_is_marked_and_the_threshold_is_a_line() -> None:
    rows = chart.points(np.array([0.95, math.nan, 0.75, 0.85]), 0.75, 1.0, 6, 0.85)
    assert [row.plain[-4:] for row in rows] == ["    ", "•   ", "    ", "╌╌╌•", "    ", "  ▼ "]
    assert rows[3].plain.startswith("  85%")


def test_values_off_the_scale_stand_at_its_edge() -> None:
    lowest, highest = chart.axis_range([0.02, 9.0], 0.85)
    assert (lowest, highest) == (0.0, 1.25)
    rows = chart.points(np.array([9.0]), lowest, highest, 6, 0.85)
    assert rows[0].plain[-1] == "•"


@pytest.mark.parametrize(("highest", "top"), [(0.0, 1.0), (math.nan, 1.0), (0.93, 1.0), (11.0, 12.0), (121.0, 150.0)])
def test_the_top_of_an_axis_is_round(highest: float, top: float) -> None:
    assert chart.ceiling(highest) == pytest.approx(top)


def test_key_figures_window_and_alerts_are_said_in_words(samples: Any) -> None:
    text = "\n".join(plain(drawn(samples.vehicle(alerts=[samples.alert()]))))
    for part in (
        "Vehicle V1",
        "2026-03-10 00:00 to 2026-03-11 00:00, UTC; exclusive minutes; at M1",
        "minutes shared 0",
        "#7 │",
        "alert 7  open  V1 at M1  2026-03-10 06:00 to 2026-03-10 09:00 UTC",
        "70.0%, threshold 85%, cost 4.950 kWh",
    ):
        assert part in text


def test_the_mark_of_an_alert_stands_below_its_time() -> None:
    assert chart.lane(0.25, 0.5, 8, "#7").plain == "   #7 │  ━━"
    assert chart.lane(-3.0, 9.0, 4, "#7").plain.endswith("│━━━━")
    assert chart.lane(0.999, 0.9991, 4, "#7").plain.endswith("│   ━")


def test_an_empty_window_is_said_to_be(samples: Any) -> None:
    texts = plain(drawn(samples.vehicle(samples.series(lambda i: None))))
    assert texts[-1] == "No readings in this window."


def test_the_fleet_has_a_histogram_with_its_threshold(samples: Any) -> None:
    texts = plain(list(terminal.fleet(samples.fleet(), 80, colour=False)))
    bars = {text.split()[0]: text.split()[1:] for text in texts if text[8:9] == "%"}
    assert bars["90-95%"] == ["120", "█" * 60]
    assert bars["60-65%"] == ["1", "▌"]
    assert bars["55-60%"] == ["0"]


def test_free_text_moves_no_cursor(samples: Any) -> None:
    alert = samples.alert(note="\x1b[2Jgone\n\r\x07", acknowledged_by="\x9b31mred")
    alert.acknowledged_at.FromSeconds(1)
    text = "".join(plain(list(lines.alerts([alert], samples.day.tzinfo))))
    assert "acknowledged by  31mred:  [2Jgone" in text
    assert text.isprintable()


def test_a_chart_is_not_dimmed_with_its_axis(samples: Any) -> None:
    texts = drawn(samples.vehicle(), colour=True)
    assert [text.plain for text in texts if "█" in text.plain and "dim" in str(text.style)] == []


def test_the_fleet_has_its_worst_vehicles_the_low_ones_marked(samples: Any) -> None:
    texts = list(terminal.fleet(samples.fleet(), 80, colour=True))
    [low] = [text for text in texts if text.plain.startswith("vehicle-0000")]
    [fine] = [text for text in texts if text.plain.startswith("vehicle-0009")]
    assert low.plain.split(maxsplit=1)[1] == "58.0%, lost 5.040 of 12.00 kWh"
    assert ["bold red" in str(text.spans) for text in (low, fine)] == [True, False]
