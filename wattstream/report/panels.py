"""The panels of a picture over time: energy with what is lost, efficiency, one line, alerts, the axis."""

from collections.abc import Sequence
from datetime import datetime, tzinfo

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from wattstream.api.analytics.v1.alerts_pb2 import EfficiencyAlert
from wattstream.report import chart, style, words
from wattstream.report.buckets import Column, Columns, lone
from wattstream.report.clock import clock_changes, instant, ticks

LANES = 6
_TICKS = 12
_DETAILED_DAYS = 8  # up to so many, a change of the clocks is worth a mark


def energy(axes: Axes, drawn: Columns) -> None:
    """Draw AC as a line of steps; below it DC, and between them what is lost. Buckets without data are blank."""
    x = drawn.seconds
    low, high = np.minimum(drawn.ac, drawn.dc), np.maximum(drawn.ac, drawn.dc)
    axes.stairs(low, x, fill=True, color=style.DC, gid="dc", linewidth=0)
    lost = np.where(drawn.ac >= drawn.dc, high, np.nan)
    axes.stairs(
        lost, x, baseline=np.where(np.isnan(lost), 0.0, low), fill=True, color=style.LOST, gid="lost", linewidth=0
    )
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.INK, linewidth=1.2, label="AC at the meter"),
        Patch(color=style.DC, label="DC in the battery"),
        Patch(color=style.LOST, label="lost"),
    ]
    if (drawn.dc > drawn.ac).any():
        gained = np.where(drawn.dc > drawn.ac, high, np.nan)
        axes.stairs(
            gained, x, baseline=np.where(np.isnan(gained), 0.0, low), fill=True, facecolor=style.TINT,
            edgecolor=style.BAD, hatch="////", gid="gained", linewidth=0,
        )  # fmt: skip
        handles.append(
            Patch(facecolor=style.TINT, edgecolor=style.BAD, hatch="////", label="DC above AC: wrong meter or pairing")
        )
    axes.stairs(drawn.ac, x, baseline=None, color=style.INK, linewidth=1.0, gid="ac")
    axes.set_ylim(0, chart.ceiling(float(np.nanmax(high, initial=0.0)) * 1.02))
    _legend(axes, handles)
    style.titled(axes, drawn.heading)
    style.bare(axes)


def efficiency(axes: Axes, drawn: Columns, threshold: float) -> None:
    """Draw efficiency with the threshold; values below it are marked, those off the scale stand at its edge."""
    x, values = _middles(drawn), drawn.efficiency
    lowest, highest = chart.axis_range(values, threshold)
    shown = np.clip(values, lowest, highest)
    axes.axhline(threshold, color=style.BAD, linewidth=1.0, linestyle=(0, (5, 3)), gid="threshold")
    axes.plot(x, shown, color=style.INK, linewidth=0.9, gid="efficiency")
    fine = np.where(values < threshold, np.nan, shown)
    axes.plot(x, fine, color=style.INK, linestyle="", marker="o", markersize=_size(len(x)), gid="fine")
    axes.plot(x, np.where(lone(fine), fine, np.nan), color=style.INK, linestyle="", marker="o", markersize=3.5)
    low = np.where(values < threshold, shown, np.nan)
    axes.plot(x, low, color=style.BAD, linestyle="", marker="v", markersize=_size(len(x)) + 2, gid="below")
    margin = (highest - lowest) * 0.06
    axes.set_ylim(lowest - margin, highest + margin)
    steps = 0.05 if highest - lowest <= 0.31 else 0.1 if highest - lowest <= 0.61 else 0.2
    grid = np.arange(np.ceil(lowest / steps - 1e-9), np.floor(highest / steps + 1e-9) + 1) * steps
    axes.set_yticks(grid, [f"{value:.0%}" for value in grid])
    handles = [
        Line2D([], [], color=style.BAD, linestyle=(0, (5, 3)), linewidth=1.0, label=f"threshold {threshold:.0%}")
    ]
    if np.isfinite(low).any():
        handles.append(
            Line2D([], [], color=style.BAD, marker="v", markersize=5, linestyle="", label="below the threshold")
        )
    _legend(axes, handles)
    style.titled(axes, "Efficiency, DC / AC")
    style.bare(axes)


def line(axes: Axes, drawn: Columns, values: Column, title: str, span: tuple[float, float] | None = None) -> None:
    """Draw one figure over time; `span` is the axis, else it goes from the lowest value to the highest."""
    x = _middles(drawn)
    axes.plot(x, values, color=style.FAINT, linewidth=1.2, gid=title.partition(",")[0])
    axes.plot(x, np.where(lone(values), values, np.nan), color=style.FAINT, linestyle="", marker="o", markersize=3)
    if span is None:
        there = values[np.isfinite(values)]
        low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 10.0)
        pad = max(0.1 * (high - low), 2.5 - (high - low) / 2)
        span = (low - pad, high + pad)
    axes.set_ylim(*span)
    axes.locator_params(axis="y", nbins=4)
    style.titled(axes, title)
    style.bare(axes)


def lanes(axes: Axes, alerts: Sequence[EfficiencyAlert], start: datetime, end: datetime) -> None:
    """Draw a bar an alert, one below the other, each with what it is about."""
    shown = list(alerts[:LANES])
    for row, alert in enumerate(shown):
        first, last = _within(alert, start, end)
        face = style.BAD if words.is_open(alert) else style.GROUND
        axes.barh(
            row,
            last - first,
            left=first,
            height=0.34,
            facecolor=face,
            edgecolor=style.BAD,
            gid=f"alert-{alert.alert_id}",
        )
        late = (first + last) / 2 > (start.timestamp() + end.timestamp()) / 2
        state = words.STATES.get(alert.state, "")
        text = f"alert {alert.alert_id}, {state}: {words.subject(alert)}, {words.drop(alert)}"
        axes.text(last if late else first, row - 0.26, text, ha="right" if late else "left", va="bottom", fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.85)
    axes.set_yticks([])
    more = len(alerts) - len(shown)
    style.titled(axes, "Alerts" + (f" (and {more} more)" if more else ""))
    style.bare(axes, grid="x")


def shade(axes: Axes, alerts: Sequence[EfficiencyAlert], start: datetime, end: datetime) -> None:
    """Tint the time of alerts."""
    for first, last in _union([_within(alert, start, end) for alert in alerts]):
        axes.axvspan(first, last, color=style.TINT, linewidth=0, zorder=0, gid="alert-span")


def time_axis(panels: Sequence[Axes], start: datetime, end: datetime, zone: tzinfo) -> None:
    """Give all panels the same axis of time, written below the last."""
    edge = end - (end - start) * 0.01  # a text there would not fit
    marks = [mark for mark in ticks(start, end, zone, _TICKS) if mark.at < edge]
    for axes in panels:
        axes.set_xlim(start.timestamp(), end.timestamp())
        axes.set_xticks([mark.at.timestamp() for mark in marks], [""] * len(marks))
        axes.tick_params(axis="x", labelbottom=False)
    bottom = panels[-1]
    bottom.set_xticks([mark.at.timestamp() for mark in marks], [f"{mark.text}\n{mark.below}" for mark in marks])
    bottom.tick_params(axis="x", labelbottom=True)
    bottom.set_xlabel(f"time: {zone}", loc="right", labelpad=2)
    if (end - start).days < _DETAILED_DAYS:
        for at, by in clock_changes(start, end, zone):
            _clock_change(panels, at.timestamp(), by.total_seconds() / 3600)


def _clock_change(panels: Sequence[Axes], at: float, hours: float) -> None:
    for axes in panels:
        axes.axvline(at, color=style.FAINT, linewidth=0.9, linestyle=":", gid="clock-change")
    top = panels[0]
    text = f"clocks {hours:+g} h"
    top.annotate(
        text, (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -9), textcoords="offset points", fontsize=8
    )


def _legend(axes: Axes, handles: Sequence[Line2D | Patch]) -> None:
    axes.legend(
        handles=list(handles), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(handles), frameon=False,
        borderaxespad=0.1, borderpad=0.1, handlelength=1.4, columnspacing=1.4, fontsize=8.5,
    )  # fmt: skip


def _middles(drawn: Columns) -> Column:
    x = drawn.seconds
    return (x[:-1] + x[1:]) / 2


def _size(points: int) -> float:
    return 3.0 if points <= 120 else 2.0 if points <= 500 else 1.2


def _within(alert: EfficiencyAlert, start: datetime, end: datetime) -> tuple[float, float]:
    first, last = instant(alert.since).timestamp(), instant(alert.until).timestamp()
    return max(first, start.timestamp()), min(last, end.timestamp())


def _union(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans that do not overlap: tints must not add up."""
    joined: list[tuple[float, float]] = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
