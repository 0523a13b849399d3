"""Reports for a terminal: a picture of lines that fit its width. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
from rich.text import Text

from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyAlert
from wattstream.api.analytics.v1.analytics_pb2 import GetFleetSummaryResponse, QueryPerformanceSeriesResponse
from wattstream.report import chart, lines, words
from wattstream.report.buckets import Column, columns
from wattstream.report.clock import instant
from wattstream.report.content import FleetReport, VehicleReport, window_of, zone_of

_POWER_ROWS, _EFFICIENCY_ROWS = 10, 6
_LANES = 4
_ID_WIDTH = 24


def vehicle(report: VehicleReport, width: int, *, colour: bool) -> Iterator[Text]:
    """Yield the lines about one vehicle."""
    yield from _heading(words.vehicle_heading(report), words.vehicle_figures(report), width)
    yield from _series(report.series, report.alerts, report.threshold, width, colour=colour, vehicle=True)
    if report.alerts:
        yield Text()
        yield from lines.alerts(report.alerts, zone_of(report.series))


def fleet(report: FleetReport, width: int, *, colour: bool) -> Iterator[Text]:
    """Yield the lines about the fleet."""
    yield from _heading(words.fleet_heading(report), words.fleet_figures(report), width)
    yield from _series(report.series, (), report.threshold, width, colour=colour, vehicle=False)
    yield Text()
    yield from _histogram(report.summary, report.threshold, width)
    if report.ranking:
        yield Text()
        yield Text(words.ORDERS[report.order].capitalize())
    for one in report.ranking:
        low = words.is_low(one, report.threshold)
        line = Text(f"{words.short(one.vehicle_id, _ID_WIDTH):<{_ID_WIDTH}}  ")
        yield line.append(words.ranked(one), lines.BAD if low else "")


def _heading(heading: tuple[str, str], figures: Sequence[words.Figure], width: int) -> Iterator[Text]:
    title, below = heading
    yield Text(title, "bold")
    yield Text(below, lines.FAINT)
    line = Text()
    for figure in figures:
        piece = Text().append(figure.label + " ", lines.FAINT).append(figure.value, lines.BAD if figure.bad else "bold")
        if line and len(line) + 3 + len(piece) > width:
            yield line
            line = Text()
        line = line.append("   ").append_text(piece) if line else piece
    yield line
    yield Text()


def _series(  # noqa: PLR0913 - what is drawn, and how
    series: QueryPerformanceSeriesResponse,
    alerts: Sequence[EfficiencyAlert],
    threshold: float,
    width: int,
    *,
    colour: bool,
    vehicle: bool,
) -> Iterator[Text]:
    room = max(20, width - chart.MARGIN)
    drawn = columns(series, room)
    if not drawn.kept.any():
        yield Text(words.nothing(drawn.silent), "bold")
        return
    times = max(1, room // len(drawn.kept))
    start, end = window_of(series)
    zone = zone_of(series)

    def wide(values: Column) -> Column:
        return chart.widened(values, times)

    legend = (
        Text(drawn.heading + "   ").append("█", lines.DC).append(" DC  ").append("▒" if not colour else "█", lines.LOST)
    )
    yield legend.append(" lost  (together: AC)")
    yield from chart.stacked(wide(drawn.dc), wide(drawn.ac), _POWER_ROWS, colour=colour)
    yield Text()
    yield Text("Efficiency, DC / AC   ").append("▼", lines.BAD).append(" below the threshold")
    lowest, highest = chart.axis_range(drawn.efficiency, threshold)
    yield from chart.points(wide(drawn.efficiency), lowest, highest, _EFFICIENCY_ROWS, threshold)
    if vehicle:
        yield Text()
        low, high = _span(drawn.temperature)
        yield Text(f"State of charge {_range(drawn.soc)} %, battery temperature {_range(drawn.temperature)} °C")
        yield chart.bars(wide(drawn.soc), 0.0, 100.0, "SoC")
        yield chart.bars(wide(drawn.temperature), low, high, "°C")
    for alert in alerts[:_LANES]:
        yield chart.lane(
            _share(instant(alert.since), start, end),
            _share(instant(alert.until), start, end),
            len(drawn.kept) * times,
            f"#{alert.alert_id}",
        )
    yield from chart.time_axis(start, end, zone, len(drawn.kept) * times)


def _histogram(summary: GetFleetSummaryResponse, threshold: float, width: int) -> Iterator[Text]:
    yield Text(f"Vehicles by efficiency   threshold {threshold:.0%}")
    most = max((one.vehicles for one in summary.efficiency_histogram), default=0)
    for one in summary.efficiency_histogram:
        bad = words.bin_below(one, threshold)
        line = Text(f"{words.bin_name(one):>9} {one.vehicles:>7,} ")
        yield line.append_text(chart.share_bar(one.vehicles, most, width - 20, lines.BAD if bad else lines.DC))


def _share(at: datetime, start: datetime, end: datetime) -> float:
    return (at - start) / (end - start)


def _span(values: Column) -> tuple[float, float]:
    there = values[np.isfinite(values)]
    return (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)


def _range(values: Column) -> str:
    low, high = _span(values)
    return f"{low:.0f} to {high:.0f}"
