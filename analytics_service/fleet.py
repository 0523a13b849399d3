"""The questions about the whole fleet: who is worst, what it adds up to, and how that went on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from functools import partial
from typing import Any

from analytics_service.answers import Answers, Places, Question, State
from analytics_service.performance import Performance
from analytics_service.plan import Piece, plan
from analytics_service.store import piece_parameters, raw_parameters, to_performance
from analytics_service.windows import Window

# Bounds of the bins of a histogram of efficiency; there is one more below and one above.
BINS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
_LONG_AGO = timedelta(hours=2)
GAPS_WITHIN = timedelta(days=7)


class Order(IntEnum):
    """By what vehicles are ranked: efficiency, the lowest first, or energies, the most first."""

    EFFICIENCY = 1
    KWH_LOST = 2
    KWH_CONSUMED_AC = 3
    KWH_DELIVERED_DC = 4


@dataclass(frozen=True)
class Ranking:
    """Which vehicles, in what order. Energies in kWh; None is any meter, or any efficiency."""

    window: Window
    order: Order
    reverse: bool
    min_kwh_consumed_ac: float
    efficiency_below: float | None
    meter_ids: Sequence[str] | None


@dataclass(frozen=True)
class Ranked:
    """A vehicle in a ranking; `place` is where the next page begins after it."""

    vehicle_id: str
    performance: Performance
    place: tuple[float, int]


async def newest_hour(answers: Answers, now: datetime) -> datetime:
    """Return where the newest hours that are rolled up end; the whole hour before `now` if that is long ago."""
    [row] = await answers.look_up("rolled_up", {})
    return row["until"] if now - row["until"] < _LONG_AGO else now


async def ranking(answers: Answers, asked: Ranking, after: tuple[float, int], most: int) -> list[Ranked]:
    """Return at most so many vehicles that follow the place `after`."""
    meter_keys = None
    if asked.meter_ids is not None:
        found = await answers.look_up("meter_keys", {"meter_ids": list(asked.meter_ids)})
        meter_keys = found[0]["meter_keys"] or []
    parameters = {
        "by": int(asked.order),
        "sign": -1.0 if asked.reverse else 1.0,
        "min_kwh": asked.min_kwh_consumed_ac,
        "below": asked.efficiency_below,
        "meter_keys": meter_keys,
        "after_value": after[0],
        "after_key": after[1],
        "most": most,
    }
    rows = await answers.to(_question("ranking", asked.window, parameters))
    return [Ranked(row["vehicle_id"], to_performance(row), (row["value"], row["vehicle_key"])) for row in rows]


async def summary(answers: Answers, window: Window) -> Mapping[str, Any]:
    """Return what fleet_summary.sql answers; gaps are None for a window longer than 7 days."""
    with_gaps = window.length <= GAPS_WITHIN
    [row] = await answers.to(_question("fleet_summary", window, {"bins": list(BINS), "with_gaps": with_gaps}))
    if not with_gaps:
        row.update(meter_gaps=None, meter_gap_hours=None, longest_meter_gap_hours=None)
    return row


async def series(answers: Answers, window: Window, cuts: Sequence[datetime]) -> list[Performance]:
    """Return what the readings of the fleet add up to in each of the buckets into which `cuts` cut the window."""
    rows = await answers.to(_question("fleet_series", window, {"starts": [window.start, *cuts]}, cuts))
    found = {row["bucket"]: to_performance(row) for row in rows}
    return [found.get(number + 1, Performance()) for number in range(len(cuts) + 1)]


def _question(statement: str, window: Window, parameters: Mapping[str, Any], cuts: Sequence[datetime] = ()) -> Question:
    whole = {**parameters, "start": window.start, "end": window.end}
    return Question(statement, "state_fleet", whole, partial(_places, window, cuts), needs_state=True, is_large=True)


def _places(window: Window, cuts: Sequence[datetime], state: State) -> Places:
    split = state.row["split_hours"] or ()
    planned = plan(window, state.log_from, state.stale, cuts, split)
    parameters = {
        **piece_parameters(planned.pieces),
        **raw_parameters(planned.raw),
        **{f"meter_{name}": value for name, value in piece_parameters(_by_hour(window, planned.pieces)).items()},
    }
    return Places(parameters, planned.days | {hour.date() for hour in split}, planned.takes_rollups_of)


def _by_hour(window: Window, pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces by the hour where gaps of hours are looked for."""
    if window.length > GAPS_WITHIN:
        return list(pieces)
    return [Piece(1, piece.since, piece.until) for piece in pieces]
