"""Reports as SVG, PNG and HTML: what must be in them."""

import re
import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="pictures need the extra `report`")

from wattstream.report import page, render, style

HOSTILE = "<script>alert('$x^2$')</script>&\"</svg>"


def group(svg: str, gid: str) -> ET.Element:
    found = [one for one in ET.fromstring(svg).iter() if one.get("id") == gid]
    assert found, f"nothing is called {gid}"
    return found[0]


def picture(html: str) -> str:
    """Return the picture in a page."""
    return html[html.index("<svg") : html.index("</svg>") + len("</svg>")]


def moves(svg: str, gid: str) -> int:
    """Return how many times the pen is set down in a group."""
    return sum(one.get("d", "").count("M") for one in group(svg, gid).iter())


def markers(svg: str, gid: str) -> int:
    """Return how many marks a group has."""
    return sum(one.tag.endswith("use") for one in group(svg, gid).iter())


def with_gaps(i: int) -> tuple[float, float] | None:
    return None if 50 <= i < 60 or 100 <= i < 101 else (8.0, 0.9)


def faulty(i: int) -> tuple[float, float]:
    return (8.0, 0.7 if 72 <= i < 108 else 0.9)


@pytest.fixture(scope="module")
def calm(samples: Any) -> str:
    """Return the picture of a day without gaps, faults and alerts."""
    return render.svg(samples.vehicle(samples.series(lambda i: (8.0, 0.9))))


@pytest.fixture(scope="module")
def troubled(samples: Any) -> str:
    """Return the page of a day with a fault, about which there is an alert."""
    return page.vehicle(samples.vehicle(samples.series(faulty), [samples.alert()]))


@pytest.fixture(scope="module")
def fleet(samples: Any) -> str:
    """Return the page of the fleet."""
    return page.fleet(samples.fleet())


def test_a_gap_breaks_what_is_drawn(samples: Any, calm: str) -> None:
    broken = render.svg(samples.vehicle(samples.series(with_gaps)))
    for gid in ("ac", "dc", "lost", "efficiency", "State of charge", "Battery temperature"):
        assert moves(broken, gid) == moves(calm, gid) + 2, gid


def test_the_threshold_is_drawn_and_what_is_below_it_is_marked(troubled: str) -> None:
    svg = picture(troubled)
    assert group(svg, "threshold") is not None
    assert markers(svg, "below") == 36
    assert markers(svg, "fine") == 288 - 36
    assert "threshold 85%" in svg


def test_alerts_are_shaded_once_and_named_each(samples: Any, calm: str) -> None:
    later = samples.alert(8, since=samples.day + timedelta(hours=8), until=samples.day + timedelta(hours=10))
    svg = render.svg(samples.vehicle(samples.series(faulty), [samples.alert(7), later]))
    assert "alert 7, open: V1 at M1, 70.0%, threshold 85%, cost 4.950 kWh" in svg
    assert group(svg, "alert-8") is not None
    assert svg.count('id="alert-span"') == 2  # one each in energy and efficiency: they overlap
    assert "alert-span" not in calm


def test_an_alert_that_reaches_beyond_the_window_is_drawn_within_it(samples: Any) -> None:
    longer = samples.alert(since=samples.day - timedelta(days=30), until=samples.day + timedelta(days=30))
    within = samples.alert(since=samples.day, until=samples.day + timedelta(days=1))
    assert render.svg(samples.vehicle(alerts=[longer])) == render.svg(samples.vehicle(alerts=[within]))


def test_energy_that_only_a_wrong_pairing_explains_stands_out(samples: Any, calm: str) -> None:
    svg = render.svg(samples.vehicle(samples.series(lambda i: (8.0, 1.1 if i < 20 else 0.9))))
    assert group(svg, "gained") is not None
    assert "wrong meter or pairing" in svg
    assert "wrong meter" not in calm


def test_axes_say_their_units_and_time_zone_and_where_clocks_change(samples: Any) -> None:
    start = samples.day.replace(day=28, hour=23)
    series = samples.series(start=start, end=start + timedelta(hours=23), time_zone="Europe/Zurich")
    svg = render.svg(samples.vehicle(series))
    for text in ("Power, kW, mean per 5 minutes", "State of charge, %", "°C", "time: Europe/Zurich", "clocks +1 h"):
        assert text in svg


def test_what_is_empty_says_why(samples: Any) -> None:
    empty = samples.series(lambda i: None)
    assert "No readings in this window" in render.svg(samples.vehicle(empty))
    empty.buckets[5].readings = 1
    assert "no minute of them is kept" in page.vehicle(samples.vehicle(empty))


def test_ids_and_notes_are_escaped(samples: Any) -> None:
    alert = samples.alert(acknowledged_by=HOSTILE, note=HOSTILE, vehicle_id=HOSTILE)
    alert.acknowledged_at.FromSeconds(1)
    pages = [
        page.vehicle(samples.vehicle(alerts=[alert], vehicle_id=HOSTILE, meter_ids=[HOSTILE])),
        page.fleet(samples.fleet(alerts=[alert], ranking=[samples.performance(HOSTILE)])),
    ]
    for html in pages:
        assert "<script" not in html
        assert html.count("</svg>") == 1
        assert html.count("&lt;script&gt;") >= 4


def test_a_page_needs_nothing_but_itself(troubled: str, fleet: str) -> None:
    for html in (troubled, fleet):
        assert "http:" not in html
        assert "https:" not in html
        assert not re.search(r"(?i)<(script|link|img|iframe|object|embed)\b|@import|src=", html)
        assert not re.search(r"url\((?!#)|href=\"(?!#)", html)
        assert "default-src 'none'" in html


def test_a_page_has_its_colours_for_light_and_dark_and_the_picture_uses_them(troubled: str) -> None:
    head, drawn = troubled.split("<svg", 1)
    for name, (light, dark) in style.COLOURS.items():
        assert f"--{name}: {light};" in head
        assert f"--{name}: {dark};" in head
    for name in ("ink", "faint", "grid", "dc", "lost", "bad", "tint"):
        assert f"var(--{name})" in drawn
    assert not re.search(r"(fill|stroke): #", drawn)


def test_a_page_has_key_figures_and_every_bucket(samples: Any) -> None:
    html = page.vehicle(samples.vehicle(samples.series(with_gaps)))
    assert "<dt>efficiency</dt><dd>90.0%</dd>" in html
    assert "2026-03-10 00:00 to 2026-03-11 00:00, UTC; exclusive minutes; at M1" in html
    assert html.count("<tr>") == 288 + 1
    assert "<td>2026-03-10 23:55</td>" in html


def test_the_page_of_the_fleet_marks_bins_and_vehicles_below_the_threshold(fleet: str) -> None:
    bars = [one for one in ET.fromstring(picture(fleet)).iter() if one.get("id") == "histogram"]
    colours = [next(path.get("style", "") for path in bar.iter() if path.get("d")) for bar in bars]
    assert ["bad" in colour for colour in colours] == [True] * 8 + [False] * 4
    assert "6 of 197 below 85%" in fleet
    assert '<td class="n bad">58.0%</td>' in fleet
    assert '<td class="n">86.0%</td>' in fleet
    assert "vehicles whose meter or pairing must be wrong: 1" in fleet


@pytest.mark.parametrize("order", [1, 2])
def test_the_fleet_is_drawn_in_every_order_with_vehicles_that_have_no_efficiency(samples: Any, order: int) -> None:
    ranking = [samples.performance("V1", 30.0, 0.8), samples.performance("V2", 0.0, None)]
    assert "none, lost 0.0000 of 0.0000 kWh" in render.svg(samples.fleet(order=order, ranking=ranking))


def test_a_fleet_without_vehicles_is_drawn(samples: Any) -> None:
    assert "0 of 0 below" in render.svg(samples.fleet(ranking=[], summary=samples.summary([0] * 12)))


def test_a_picture_is_a_png_of_a_size_for_a_screen(samples: Any) -> None:
    for report in (samples.vehicle(alerts=[samples.alert()]), samples.fleet()):
        png = render.png(report)
        assert png.startswith(b"\x89PNG")
        width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
        assert (width, 1000 < height < 2200) == (1650, True)


def test_the_same_answers_are_the_same_page(samples: Any, fleet: str) -> None:
    assert page.fleet(samples.fleet()) == fleet


def test_the_threshold_stands_at_its_value(samples: Any) -> None:
    svg = render.svg(samples.vehicle(samples.series(lambda i: (8.0, 0.85))))
    heights = {
        gid: {float(y) for path in group(svg, gid).iter() for y in re.findall(r"[ML] \S+ (\S+)", path.get("d", ""))}
        for gid in ("threshold", "efficiency")
    }
    assert len(heights["threshold"]) == 1
    assert max(heights["threshold"]) == pytest.approx(max(heights["efficiency"]), abs=0.01)


def test_a_dollar_in_a_text_is_a_dollar(samples: Any) -> None:
    svg = render.svg(samples.vehicle(alerts=[samples.alert(vehicle_id="$x^2$")]))
    assert re.search(r">[^<]*\$x\^2\$ at M1[^<]*</text>", svg)
