"""Whole pictures: of a vehicle, and of the fleet."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wattstream.api.analytics.v1.analytics_pb2 import GetFleetSummaryResponse, VehicleOrder
from wattstream.report import panels, style, words
from wattstream.report.buckets import Columns, columns
from wattstream.report.content import FleetReport, VehicleReport, window_of, zone_of

_WIDTH = 11.0
_LEFT, _RIGHT = 0.062, 0.985
_HEADING = 1.35  # inches
_LINE = 0.2  # inches a note
_ALERTS = 8
_TITLE, _AXIS = 0.42, 0.7  # above each panel, and below the last


def vehicle(report: VehicleReport, *, heading: bool) -> Figure:
    """Draw a vehicle; with a heading of title and key figures where the picture stands alone."""
    drawn = columns(report.series)
    if not drawn.kept.any():
        return _nothing(words.vehicle_heading(report), words.vehicle_figures(report), drawn, heading=heading)
    start, end = window_of(report.series)
    alerts = 0.2 + 0.36 * min(len(report.alerts), panels.LANES) if report.alerts else 0.0
    figure, axes = _stack([2.6, 1.6, *([alerts] if alerts else []), 0.8, 0.8], heading=heading)
    panels.energy(axes[0], drawn)
    panels.efficiency(axes[1], drawn, report.threshold)
    if alerts:
        panels.lanes(axes[2], report.alerts, start, end)
    panels.line(axes[-2], drawn, drawn.soc, "State of charge, %", (0.0, 100.0))
    panels.line(axes[-1], drawn, drawn.temperature, "Battery temperature, °C")
    panels.time_axis(axes, start, end, zone_of(report.series))
    for one in axes[:2]:
        panels.shade(one, report.alerts, start, end)
    if heading:
        _head(figure, words.vehicle_heading(report), words.vehicle_figures(report))
    return figure


def fleet(report: FleetReport, *, heading: bool) -> Figure:
    """Draw the fleet: its series, the histogram of efficiency, and the first vehicles of the ranking."""
    drawn = columns(report.series)
    if not drawn.kept.any():
        return _nothing(words.fleet_heading(report), words.fleet_figures(report), drawn, heading=heading)
    start, end = window_of(report.series)
    notes = _notes(report) if heading else []
    figure, axes = _stack(
        [2.2, 1.3, 0.25 * max(len(report.ranking), 9) + 0.3], heading=heading, gap=0.5, notes=len(notes)
    )
    panels.energy(axes[0], drawn)
    panels.efficiency(axes[1], drawn, report.threshold)
    panels.time_axis(axes[:2], start, end, zone_of(report.series))
    box = axes[2].get_position()
    axes[2].remove()
    _histogram(figure.add_axes((box.x0, box.y0, 0.38, box.height)), report.summary, report.threshold)
    _ranking(figure.add_axes((0.57, box.y0, 0.225, box.height)), report)
    for row, (name, text) in enumerate(reversed(notes)):
        y = (0.15 + _LINE * row) / figure.get_figheight()
        figure.text(_LEFT, y, name, fontsize=8.5, color=style.FAINT)
        figure.text(0.2, y, text, fontsize=8.5)
    if heading:
        _head(figure, words.fleet_heading(report), words.fleet_figures(report))
    return figure


def _notes(report: FleetReport) -> list[tuple[str, str]]:
    """Return what a page has tables for: open alerts, and how good the data are."""
    zone = zone_of(report.series)
    alerts = [
        (f"alert {one.alert_id}", f"{words.subject(one)}, {words.span(one, zone)}: {words.drop(one)}")
        for one in report.alerts[:_ALERTS]
    ]
    left = len(report.alerts) - len(alerts)
    more = [("", f"and {left}{'+' if report.alerts_truncated else ''} more open alerts")] if left else []
    return [*alerts, *more, *words.quality(report.summary)]


def _stack(heights: Sequence[float], *, heading: bool, gap: float = 0.0, notes: int = 0) -> tuple[Figure, list[Axes]]:
    """Return panels of so many inches below one another; `gap` is further room above the last, `notes` lines below."""
    above = _HEADING if heading else 0.0
    whole = above + sum(heights) + _TITLE * len(heights) + _AXIS + gap + notes * _LINE
    figure = Figure(figsize=(_WIDTH, whole))
    axes, top = [], whole - above
    for place, height in enumerate(heights):
        top -= _TITLE + height + (gap if place == len(heights) - 1 else 0.0)
        axes.append(figure.add_axes((_LEFT, top / whole, _RIGHT - _LEFT, height / whole)))
    return figure, axes


def _head(figure: Figure, heading: tuple[str, str], figures: Sequence[words.Figure]) -> None:
    """Write the title, the window and the key figures across the top."""
    inches = figure.get_figheight()

    def at(from_top: float) -> float:
        return 1 - from_top / inches

    title, below = (
        text if len(text) <= most else text[: most - 1] + "…" for text, most in zip(heading, (80, 130), strict=True)
    )
    figure.text(_LEFT, at(0.38), title, fontsize=15, fontweight="bold")
    figure.text(_LEFT, at(0.62), below, fontsize=9, color=style.FAINT)
    step = (_RIGHT - _LEFT) / len(figures)
    for place, one in enumerate(figures):
        x = _LEFT + place * step
        figure.text(x, at(0.96), one.label, fontsize=8.5, color=style.FAINT)
        colour = style.BAD if one.bad else style.INK
        figure.text(x, at(1.2), one.value, fontsize=13, fontweight="bold", color=colour)


def _nothing(texts: tuple[str, str], figures: Sequence[words.Figure], drawn: Columns, *, heading: bool) -> Figure:
    """Say that there is nothing to draw, and why."""
    figure = Figure(figsize=(_WIDTH, 2.0 + (_HEADING if heading else 0.0)))
    figure.text(0.5, 1.0 / figure.get_figheight(), words.nothing(drawn.silent), ha="center", fontsize=13, gid="nothing")
    if heading:
        _head(figure, texts, figures)
    return figure


def _histogram(axes: Axes, summary: GetFleetSummaryResponse, threshold: float) -> None:
    bins = summary.efficiency_histogram
    counts = [one.vehicles for one in bins]
    colours = [style.BAD if words.bin_below(one, threshold) else style.DC for one in bins]
    bars = axes.bar(range(len(bins)), counts, width=0.86, color=colours, gid="histogram")
    axes.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=8.5, padding=2)
    axes.set_xticks(range(len(bins)), [words.bin_name(one) for one in bins], rotation=45, fontsize=8)
    below = sum(one.vehicles for one in bins if words.bin_below(one, threshold))
    edge = sum(words.bin_below(one, threshold) for one in bins) - 0.5
    axes.axvline(edge, color=style.BAD, linewidth=1.0, linestyle=(0, (5, 3)), gid="threshold")
    axes.set_ylim(0, max([*counts, 1]) * 1.18)
    axes.locator_params(axis="y", nbins=5, integer=True)
    style.titled(axes, f"Vehicles by efficiency: {below:,} of {sum(counts):,} below {threshold:.0%}")
    style.bare(axes, grid="y")


def _ranking(axes: Axes, report: FleetReport) -> None:
    title, value = words.ORDERS[report.order], words.RANKED[report.order]
    by_efficiency = report.order == VehicleOrder.VEHICLE_ORDER_EFFICIENCY
    values = np.array([value(one) for one in report.ranking], dtype=np.float64)
    rows = range(len(values))
    colours = [style.BAD if words.is_low(one, report.threshold) else style.DC for one in report.ranking]
    if by_efficiency:
        axes.hlines(rows, 0, values, color=style.GRID, linewidth=2)
        axes.scatter(values, rows, c=colours, s=36, zorder=3, gid="ranking")
        axes.axvline(report.threshold, color=style.BAD, linewidth=1.0, linestyle=(0, (5, 3)))
        axes.set_xlim(
            max(0.0, min([*values[np.isfinite(values)], 0.8]) - 0.05), max([1.0, *values[np.isfinite(values)]])
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    else:
        axes.barh(rows, values, color=colours, height=0.6, gid="ranking")
    axes.set_yticks(rows, [words.short(one.vehicle_id, 18) for one in report.ranking], color=style.INK)
    for row, one in zip(rows, report.ranking, strict=True):
        axes.text(1.01, row, words.ranked(one), transform=axes.get_yaxis_transform(), fontsize=8, va="center")
    axes.set_ylim(max(len(values), 1) - 0.4, -0.6)
    style.titled(axes, title[0].upper() + title[1:])
    style.bare(axes, grid="x")
