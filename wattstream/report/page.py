"""Reports as one page of HTML that needs nothing else: no script, no network; in light and in dark."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import tzinfo
from html import escape
from string import Template

from wattstream import resources
from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyAlert
from wattstream.api.analytics.v1.analytics_pb2 import PerformanceBucket, VehiclePerformance
from wattstream.report import render, style, words
from wattstream.report.clock import instant
from wattstream.report.content import FleetReport, VehicleReport, zone_of
from wattstream.report.totals import Measured

_FOOTER = (
    "AC is the energy at the meter in the minutes kept, DC what the battery got in them, efficiency is DC / AC. Minutes"
    " in which several vehicles shared a meter, or the meter has no reading, are left out. Blank is no data, not zero."
)


def vehicle(report: VehicleReport) -> str:
    """Return the page about a vehicle: key figures, picture, alerts, and every bucket as a table."""
    zone = zone_of(report.series)
    sections = [_alerts(report.alerts, zone), _buckets(report.series.buckets, zone)]
    return _page(words.vehicle_heading(report), words.vehicle_figures(report), render.svg(report), sections)


def fleet(report: FleetReport) -> str:
    """Return the page about the fleet: key figures, picture, open alerts, ranking, quality of the data."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in words.quality(report.summary))
    sections = [
        _alerts(report.alerts, zone_of(report.series), "Open alerts", truncated=report.alerts_truncated),
        _ranking(words.ORDERS[report.order], report.ranking, report.threshold),
        f'<h2>The data</h2><dl class="list">{rows}</dl>',
    ]
    return _page(words.fleet_heading(report), words.fleet_figures(report), render.svg(report), sections)


def _page(heading: tuple[str, str], figures: Sequence[words.Figure], picture: str, sections: Sequence[str]) -> str:
    light, dark = (" ".join(f"--{name}: {pair[place]};" for name, pair in style.COLOURS.items()) for place in (0, 1))
    return Template(resources.read("wattstream.report", "page.html")).substitute(
        title=escape(heading[0]),
        below=escape(heading[1]),
        light=light,
        dark=dark,
        figures="".join(
            f"<div><dt>{escape(one.label)}</dt><dd{_bad(one.bad)}>{escape(one.value)}</dd></div>" for one in figures
        ),
        picture=picture,
        sections="\n".join(sections),
        footer=_FOOTER,
    )


def _alerts(alerts: Sequence[EfficiencyAlert], zone: tzinfo, title: str = "Alerts", *, truncated: bool = False) -> str:
    if not alerts:
        return f"<h2>{title}</h2><p>None.</p>"
    rows = [
        (
            str(one.alert_id),
            words.STATES.get(one.state, ""),
            words.subject(one),
            words.span(one, zone),
            words.drop(one),
            words.seen(one),
        )
        for one in alerts
    ]
    names = ("alert", "state", "about", f"time, {zone}", "drop", "")
    more = "<p>There are more: these are the newest.</p>" if truncated else ""
    return f"<h2>{title}</h2>{_table(names, rows, numbers={0})}{more}"


def _ranking(title: str, ranking: Sequence[VehiclePerformance], threshold: float) -> str:
    names = ("vehicle", "efficiency", "AC kWh", "DC kWh", "lost kWh", "minutes kept", "meters")
    rows = [
        (
            one.vehicle_id,
            words.percent(one.efficiency if one.HasField("efficiency") else None),
            f"{one.kwh_consumed_ac:,.2f}",
            f"{one.kwh_delivered_dc:,.2f}",
            f"{one.kwh_lost:,.2f}",
            f"{one.minutes_kept:,}",
            ", ".join(one.meter_ids),
        )
        for one in ranking
    ]
    marked = {place for place, one in enumerate(ranking) if words.is_low(one, threshold)}
    table = _table(names, rows, numbers={1, 2, 3, 4, 5}, marked=marked)
    return f"<h2>{escape(title[0].upper() + title[1:])}</h2>{table}"


def _buckets(buckets: Iterable[PerformanceBucket], zone: tzinfo) -> str:
    names = (
        f"from, {zone}",
        "AC kWh",
        "DC kWh",
        "lost kWh",
        "efficiency",
        "SoC %",
        "°C",
        "kept",
        "shared",
        "no meter data",
    )
    table = _table(names, (list(_bucket(one, zone)) for one in buckets), numbers=range(1, len(names)))
    return f"<h2>Figures</h2><details><summary>Every bucket</summary>{table}</details>"


def _bucket(bucket: PerformanceBucket, zone: tzinfo) -> Iterator[str]:
    yield f"{instant(bucket.start).astimezone(zone):%Y-%m-%d %H:%M}"
    energies: tuple[Measured, ...] = ("kwh_consumed_ac", "kwh_delivered_dc", "kwh_lost")
    for name in energies:
        yield f"{getattr(bucket, name):,.4f}" if bucket.HasField(name) else ""
    yield words.percent(bucket.efficiency) if bucket.HasField("efficiency") else ""
    yield f"{bucket.mean_soc:.1f}" if bucket.HasField("mean_soc") else ""
    yield f"{bucket.mean_battery_temp:.1f}" if bucket.HasField("mean_battery_temp") else ""
    yield f"{bucket.minutes_kept:,}"
    yield f"{bucket.minutes_shared:,}"
    yield f"{bucket.minutes_without_meter_data:,}"


def _table(
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Collection[int],
    marked: Collection[int] = (),
) -> str:
    """Return a table; columns of `numbers` stand at the right, the efficiency of `marked` rows stands out."""

    def cell(tag: str, place: int, text: str, *, bad: bool = False) -> str:
        kinds = ("n " if place in numbers else "") + ("bad" if bad else "")
        return f'<{tag} class="{kinds.strip()}">{escape(text)}</{tag}>' if kinds else f"<{tag}>{escape(text)}</{tag}>"

    head = "".join(cell("th", place, name) for place, name in enumerate(names))
    body = "".join(
        "<tr>"
        + "".join(cell("td", place, text, bad=row in marked and place == 1) for place, text in enumerate(texts))
        + "</tr>"
        for row, texts in enumerate(rows)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _bad(bad: bool) -> str:
    return ' class="bad"' if bad else ""
