"""Buckets as columns of numbers: what is drawn, with NaN where there is no data. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from wattstream.api.analytics.v1.analytics_pb2 import Granularity, PerformanceBucket, QueryPerformanceSeriesResponse
from wattstream.report.clock import instant
from wattstream.report.totals import Measured, total

Column = NDArray[np.float64]

_NAMES = {
    Granularity.GRANULARITY_MINUTE: (1, "minute"),
    Granularity.GRANULARITY_5_MINUTES: (5, "minute"),
    Granularity.GRANULARITY_15_MINUTES: (15, "minute"),
    Granularity.GRANULARITY_HOUR: (1, "hour"),
    Granularity.GRANULARITY_DAY: (1, "day"),
}


@dataclass(frozen=True)
class Columns:
    """A series, one number a bucket; NaN is no data, which is not 0.

    Attributes:
        edges: the ends of the buckets, one more than there are buckets.
        ac, dc: mean power in kW, or for buckets of days energy in kWh.
        efficiency: DC / AC.
        soc: percent.
        temperature: degrees Celsius.
        kept: something is kept.
        silent: there are no readings at all.
        heading: what ac and dc are, with the unit and the length of a bucket.
    """

    edges: Sequence[datetime]
    ac: Column
    dc: Column
    efficiency: Column
    soc: Column
    temperature: Column
    kept: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    heading: str

    @property
    def seconds(self) -> Column:
        """The edges, in seconds since 1970."""
        return np.array([edge.timestamp() for edge in self.edges], dtype=np.float64)


def columns(series: QueryPerformanceSeriesResponse, most: int | None = None) -> Columns:
    """Return a series as columns; with `most`, as many buckets together as it takes to have no more than that."""
    together = 1 if most is None else max(1, math.ceil(len(series.buckets) / most))
    buckets = [total(series.buckets[i : i + together]) for i in range(0, len(series.buckets), together)]
    by_day = series.granularity == Granularity.GRANULARITY_DAY
    hours = np.array([(b.end.seconds - b.start.seconds) / 3600 for b in buckets], dtype=np.float64)
    per = np.ones_like(hours) if by_day else hours
    return Columns(
        edges=[instant(b.start) for b in buckets] + [instant(buckets[-1].end)] if buckets else [],
        ac=_column(buckets, "kwh_consumed_ac") / per,
        dc=_column(buckets, "kwh_delivered_dc") / per,
        efficiency=_column(buckets, "efficiency"),
        soc=_column(buckets, "mean_soc"),
        temperature=_column(buckets, "mean_battery_temp"),
        kept=np.array([b.HasField("kwh_consumed_ac") for b in buckets], dtype=np.bool_),
        silent=np.array([b.readings == 0 for b in buckets], dtype=np.bool_),
        heading=("Energy, kWh per " if by_day else "Power, kW, mean per ") + length(series.granularity, together),
    )


def length(granularity: "Granularity.ValueType", together: int = 1) -> str:
    """Return how long buckets are, for people: "5 minutes", "hour", "6 days"."""
    count, unit = _NAMES.get(granularity, (1, "bucket"))
    count *= together
    return unit if count == 1 else f"{count} {unit}s"


def lone(values: Column) -> NDArray[np.bool_]:
    """Return where a value has no neighbour, so that no line leads to it."""
    there = np.isfinite(values)
    beside = np.zeros_like(there)
    beside[1:] |= there[:-1]
    beside[:-1] |= there[1:]
    return there & ~beside


def _column(buckets: Sequence[PerformanceBucket], name: Measured) -> Column:
    return np.array([getattr(b, name) if b.HasField(name) else math.nan for b in buckets], dtype=np.float64)
