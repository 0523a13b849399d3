"""Batches of messages made into one sorted group, and what became of the group told to each batch again. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ingest_service.batches import DUPLICATE, STORED, Batch, Outcomes
from ingest_service.readings import VEHICLE, Bools, Ints, KeyedRows, Kind

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Group:
    """The readings of one kind of several batches, as one transaction stores them.

    Attributes:
        rows: each identity once, sorted by (key, time).
        origin: for each row, which reading of the batches it is, counted through all batches, (len(rows),).
        outcomes: what is known so far of each reading of the batches: STORED, to be confirmed, for the rows.
    """

    rows: KeyedRows
    origin: Ints
    outcomes: Outcomes

    def settled(self, stored: Bools) -> Outcomes:
        """Return the outcome of each reading, given which rows were new to the database."""
        outcomes = self.outcomes.copy()
        outcomes[self.origin[~stored]] = DUPLICATE
        return outcomes


def group(kind: Kind, batches: Sequence[Batch]) -> Group:
    """Put the acceptable readings of one kind together: where an identity comes twice, the first one counts."""
    columns = [batch.columns[kind] for batch in batches]
    rows = KeyedRows(
        kind,
        np.concatenate([part.key for part in columns]),
        np.concatenate([part.meter_key for part in columns]),
        np.concatenate([part.recorded_at_us for part in columns]),
        np.concatenate([part.values for part in columns]),
        np.concatenate([batch.received_at_us[batch.columns[kind].message] for batch in batches]),
    )
    outcomes = np.concatenate([batch.outcomes[kind] for batch in batches])
    order = np.lexsort((rows.recorded_at_us, rows.key))  # stable: of equals the first to come stays first
    order = order[outcomes[order] == STORED]
    repeats = np.zeros(len(order), np.bool_)
    repeats[1:] = (np.diff(rows.key[order]) == 0) & (np.diff(rows.recorded_at_us[order]) == 0)
    outcomes[order[repeats]] = DUPLICATE
    origin = order[~repeats]
    return Group(rows.take(origin), origin, outcomes)


def split_by_days(groups: Mapping[Kind, Group], most_days: int) -> list[dict[Kind, Bools]]:
    """Return masks over the rows of each kind, each of at most `most_days` UTC days: a transaction locks each partition
    that it touches, and the database's table of locks is bounded.
    """  # noqa: D205 - one sentence
    day_of = {kind: found.rows.recorded_at_us // DAY_US for kind, found in groups.items()}
    days = np.unique(np.concatenate(list(day_of.values())))
    return [
        {kind: np.isin(of, days[start : start + most_days]) for kind, of in day_of.items()}
        for start in range(0, len(days), most_days)
    ]


def matching(rows: KeyedRows, found: Sequence[tuple[int, int]]) -> Bools:
    """Return which rows are among `found`, given as (key, time in microseconds); all of `found` must be rows."""
    stored = np.zeros(len(rows), np.bool_)
    if len(found) == len(rows):
        stored[:] = True
    elif found:
        wanted = np.array(found, np.int64)
        key = np.concatenate([rows.key, wanted[:, 0]])
        time = np.concatenate([rows.recorded_at_us, wanted[:, 1]])
        order = np.lexsort((time, key))  # stable, so each row is followed by its match
        same = (np.diff(key[order]) == 0) & (np.diff(time[order]) == 0)
        stored[order[:-1][same]] = True
    return stored


def hours_named(rows: KeyedRows) -> Ints:
    """Return in which hours vehicles name meters: meter key, hours since 1970 UTC and vehicle key, (n, 3).

    They are in the order of the rows; what follows its like is left out, so that a vehicle that stays behind its meter
    has one an hour.
    """
    named = rows.meter_key > 0
    return _without_repeats(rows.meter_key[named], rows.recorded_at_us[named] // HOUR_US, rows.key[named])


def hours_before(rows: Mapping[Kind, KeyedRows], before_us: int) -> Ints:
    """Return in which hours there are readings from before a time, microseconds since 1970 UTC, each once, (n, 3).

    Of vehicles: vehicle key, key of the meter named or 0, hours since 1970 UTC; of meters 0, meter key, hours.
    """
    found = [np.zeros((0, 3), np.int64)]
    for kind, of_kind in rows.items():
        if of_kind.recorded_at_us.min(initial=before_us) < before_us:
            early = of_kind.recorded_at_us < before_us
            keys, hours = of_kind.key[early], of_kind.recorded_at_us[early] // HOUR_US
            pair = (keys, of_kind.meter_key[early]) if kind is VEHICLE else (np.zeros_like(keys), keys)
            order = np.lexsort((*pair, hours))
            found.append(_without_repeats(pair[0][order], pair[1][order], hours[order]))
    return np.concatenate(found)


def _without_repeats(*columns: Ints) -> Ints:
    """Return columns as a table without the rows that are like the one before."""
    table = np.stack(columns, axis=1)
    changed = np.ones(len(table), np.bool_)
    changed[1:] = (np.diff(table, axis=0) != 0).any(axis=1)
    return table[changed]
