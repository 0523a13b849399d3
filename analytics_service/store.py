"""What vehicles' readings add up to, in a window or bucket by bucket."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from analytics_service.answers import Answers, Places, Question, State
from analytics_service.performance import Correlation, Performance
from analytics_service.plan import Piece, RawHour, plan
from analytics_service.statements import array
from analytics_service.windows import Window

_SUMS = tuple(field.name for field in fields(Performance) if field.name != "meter_ids")


async def performances(
    answers: Answers, vehicle_ids: Sequence[str], window: Window, correlation: Correlation
) -> dict[str, Performance]:
    """Return the performance of those of the vehicles for which anything is kept, by id."""
    rows = await answers.to(_question(vehicle_ids, window, (), correlation))
    found = {row["vehicle_id"]: to_performance(row) for row in rows if row["vehicle_id"] is not None}
    return {vehicle_id: performance for vehicle_id, performance in found.items() if not performance.is_empty}


async def buckets(
    answers: Answers, vehicle_id: str, window: Window, cuts: Sequence[datetime], correlation: Correlation
) -> list[Performance]:
    """Return what a vehicle's readings add up to in each of the buckets into which `cuts` cut the window."""
    rows = await answers.to(_question([vehicle_id], window, cuts, correlation))
    found = {row["bucket"]: to_performance(row) for row in rows if row["vehicle_id"] is not None}
    return [found.get(number + 1, Performance()) for number in range(len(cuts) + 1)]


def to_performance(row: Mapping[str, Any]) -> Performance:
    """Return the performance in a row of an answer."""
    return Performance(**{name: row[name] for name in _SUMS}, meter_ids=tuple(row["meter_ids"] or ()))


def _rollup_places(window: Window, cuts: Sequence[datetime], state: State) -> Places:
    """Plan an answer that takes the same rollups and readings for everybody."""
    return _rollup_places_of(window, tuple(cuts), state.log_from, frozenset(state.stale))


@lru_cache(maxsize=256)  # many ask for the same window, the last 24 hours
def _rollup_places_of(
    window: Window, cuts: tuple[datetime, ...], log_from: datetime, stale: frozenset[datetime]
) -> Places:
    planned = plan(window, log_from, stale, cuts)
    parameters = {
        **piece_parameters(planned.pieces),
        **raw_parameters(planned.raw),
        "starts": array([window.start, *cuts]),
    }
    return Places(parameters, planned.days, planned.takes_rollups_of)


def _question(
    vehicle_ids: Sequence[str], window: Window, cuts: Sequence[datetime], correlation: Correlation
) -> Question:
    parameters = {
        "vehicle_ids": list(vehicle_ids),
        "start": window.start,
        "end": window.end,
        "with_meters": not cuts,
    }
    if correlation is Correlation.EXCLUSIVE_MINUTES:
        return Question("performance", "state", parameters, partial(_rollup_places, window, cuts))
    return Question("assigned", "state_assigned", parameters, partial(_assigned_places, window, cuts), needs_state=True)


def piece_parameters(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return the parameters that tell a statement which rollups to take."""
    return {
        "piece_hours": array(piece.hours for piece in pieces),
        "piece_since": array(piece.since for piece in pieces),
        "piece_until": array(piece.until for piece in pieces),
    }


def raw_parameters(raw: Sequence[RawHour]) -> dict[str, Any]:
    """Return the parameters that tell a statement which readings to take."""
    return {
        "raw_hours": array(hour.hour for hour in raw),
        "raw_since": array(hour.since for hour in raw),
        "raw_until": array(hour.until for hour in raw),
    }


def _assigned_places(window: Window, cuts: Sequence[datetime], state: State) -> Places:
    """Plan an answer by ASSIGNED_METER: of each vehicle's meters, what is taken depends on when they are assigned."""
    whole = _rollup_places(window, cuts, state)
    names = ("vehicle_keys", "meter_keys", "since", "until")
    assigned = [
        (vehicle_key, meter_key, plan(Window(since, until), state.log_from, state.stale, _within(cuts, since, until)))
        for vehicle_key, meter_key, since, until in zip(*(state.row[name] or () for name in names), strict=True)
    ]
    pieces = [(vehicle, meter, piece) for vehicle, meter, planned in assigned for piece in planned.pieces]
    raw = [(vehicle, meter, hour) for vehicle, meter, planned in assigned for hour in planned.raw]
    parameters = {
        **whole.parameters,
        "asked_keys": state.row["asked_keys"],
        "meter_piece_vehicles": array(vehicle for vehicle, _, _ in pieces),
        "meter_piece_meters": array(meter for _, meter, _ in pieces),
        "meter_piece_hours": array(piece.hours for _, _, piece in pieces),
        "meter_piece_since": array(piece.since for _, _, piece in pieces),
        "meter_piece_until": array(piece.until for _, _, piece in pieces),
        "meter_raw_vehicles": array(vehicle for vehicle, _, _ in raw),
        "meter_raw_meters": array(meter for _, meter, _ in raw),
        "meter_raw_since": array(hour.since for _, _, hour in raw),
        "meter_raw_until": array(hour.until for _, _, hour in raw),
    }
    days = whole.days.union(chain.from_iterable(planned.days for _, _, planned in assigned))
    return Places(parameters, days, whole.takes_rollups_of)


def _within(cuts: Sequence[datetime], since: datetime, until: datetime) -> list[datetime]:
    return [cut for cut in cuts if since < cut < until]
