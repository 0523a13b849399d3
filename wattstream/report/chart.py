"""Charts of characters: columns of two parts, points, a line of bars, an axis of time. Pure."""

import math
from collections.abc import Sequence
from datetime import datetime, tzinfo

import numpy as np
from rich.text import Text

from wattstream.report.buckets import Column
from wattstream.report.clock import ticks
from wattstream.report.lines import BAD, DC, FAINT, LOST

MARGIN = 7  # what stands left of a chart
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_TICK_EVERY = 12


def ceiling(highest: float) -> float:
    """Return a round number that is not below `highest`, for the top of an axis."""
    if not math.isfinite(highest) or highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(power * step for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * step >= highest * 0.9999)


def stacked(dc: Column, ac: Column, rows: int, *, colour: bool) -> list[Text]:
    """Return columns in which DC and what is lost make up AC, with an axis from 0; the top line first.

    Where DC is above AC, which only a wrong pairing explains, the excess stands in the colour of what is bad.
    """
    top = ceiling(float(np.nanmax(np.maximum(ac, dc), initial=0.0)))
    low = np.nan_to_num(np.minimum(ac, dc) / top * rows * 8)
    high = np.nan_to_num(np.maximum(ac, dc) / top * rows * 8)
    lines = []
    for row in reversed(range(rows)):
        label = f"{top:g}" if row == rows - 1 else f"{top / 2:g}" if row + 1 == rows // 2 else "0" if row == 0 else ""
        line = _margin(label)
        for i in range(len(ac)):
            part = LOST if ac[i] >= dc[i] else BAD
            line.append_text(_cell(low[i] - row * 8, high[i] - row * 8, part, colour=colour, ground=row == 0))
        lines.append(line)
    return lines


def _cell(low: float, high: float, part: str, *, colour: bool, ground: bool) -> Text:
    """Return one character of a column: eighths that are filled up to `low` with DC, then to `high` with `part`."""
    inner, outer = (min(8, max(0, round(level))) for level in (low, high))
    if ground and high > 0:
        outer = max(outer, 1)
    if not colour:
        return Text("█" if inner >= 4 else "▒" if outer >= 4 else "▁" if ground and outer else " ")
    if inner == 8 or (inner and outer == inner):
        return Text(_EIGHTHS[inner], DC)
    if inner and outer == 8:
        return Text(_EIGHTHS[inner], f"{DC} on {part.removeprefix('bold ')}")
    if inner * 2 > outer:
        return Text(_EIGHTHS[outer], DC)
    return Text(_EIGHTHS[outer], part)


def points(values: Column, lowest: float, highest: float, rows: int, threshold: float) -> list[Text]:
    """Return values in percent as points, with a line at the threshold; those below it are marked."""
    lines = []
    step = (highest - lowest) / (rows - 1)
    row_of = np.full(len(values), -1)
    there = np.isfinite(values)
    row_of[there] = np.clip(np.round((values[there] - lowest) / step), 0, rows - 1)
    line_row = round((threshold - lowest) / step)
    for row in reversed(range(rows)):
        at_line = row == line_row
        label = f"{threshold:.0%}" if at_line else f"{lowest + row * step:.0%}" if row in (0, rows - 1) else ""
        line = _margin(label)
        for value, place in zip(values, row_of, strict=True):
            if place == row:
                line.append("▼" if value < threshold else "•", BAD if value < threshold else "")
            else:
                line.append("╌" if at_line else " ", FAINT)
        lines.append(line)
    return lines


def bars(values: Column, lowest: float, highest: float, label: str) -> Text:
    """Return values as one line of bars."""
    line = _margin(label)
    for value in values:
        share = (value - lowest) / ((highest - lowest) or 1.0)
        line.append(_EIGHTHS[1 + min(7, max(0, round(share * 7)))] if math.isfinite(value) else " ")
    return line


def lane(start: float, end: float, width: int, label: str) -> Text:
    """Return a line that is marked between two shares of its width."""
    first = min(width - 1, max(0, math.floor(start * width)))
    last = max(first + 1, min(width, math.ceil(end * width)))
    return _margin(label).append(" " * first).append("━" * (last - first), BAD)


def time_axis(start: datetime, end: datetime, zone: tzinfo, width: int) -> list[Text]:
    """Return the axis: marks, what is written at them, and dates; no two texts touch."""
    marks, texts, below = ["─"] * width, [" "] * width, [" "] * width
    free = free_below = 0
    for tick in ticks(start, end, zone, max(2, width // _TICK_EVERY)):
        column = min(width - 1, int((tick.at - start) / (end - start) * width))
        at = min(column, width - len(tick.text))
        if at < free:
            continue
        marks[column] = "┬"
        texts[at : at + len(tick.text)] = tick.text
        free = at + len(tick.text) + 1
        at = min(column, width - len(tick.below))
        if at >= free_below:
            below[at : at + len(tick.below)] = tick.below
            free_below = at + len(tick.below) + 1 if tick.below else free_below
    edge = Text(" " * (MARGIN - 1) + "└", FAINT)
    edge.append("".join(marks), FAINT)
    blank = " " * MARGIN
    return [edge, Text(blank + "".join(texts).rstrip()), Text(blank + "".join(below).rstrip(), FAINT)]


def share_bar(count: int, most: int, width: int, style: str) -> Text:
    """Return a bar whose length is a count; at least a sliver where there is one."""
    eighths = round(count / most * width * 8) if most else 0
    eighths = max(eighths, 1 if count else 0)
    return Text("█" * (eighths // 8) + (_PARTS[eighths % 8] if eighths % 8 else ""), style)


_PARTS = " ▏▎▍▌▋▊▉"


def widened(values: Column, times: int) -> Column:
    """Return each value as often as it has columns."""
    return np.repeat(values, times)


def axis_range(efficiency: Sequence[float] | Column, threshold: float) -> tuple[float, float]:
    """Return from where to where an axis of efficiency goes: all there is from 0 to 1.25, in steps of 5 %."""
    finite = [value for value in efficiency if math.isfinite(value)]
    low = min([*finite, threshold - 0.1])
    high = max([*finite, 1.0])
    return max(0.0, math.floor(low * 20) / 20), min(1.25, math.ceil(high * 20 - 1e-9) / 20)


def _margin(label: str) -> Text:
    return Text().append(f"{label:>{MARGIN - 2}} │", FAINT)  # a style of the whole would dim what follows too
