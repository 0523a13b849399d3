"""Buckets added up. Pure."""

import math
from collections.abc import Sequence
from typing import Literal

from wattstream.api.analytics.v1.analytics_pb2 import PerformanceBucket

Measured = Literal["kwh_consumed_ac", "kwh_delivered_dc", "kwh_lost", "efficiency", "mean_soc", "mean_battery_temp"]

_COUNTS = (
    "readings_kept",
    "readings",
    "readings_without_meter",
    "minutes_kept",
    "minutes_shared",
    "minutes_without_meter_data",
)


def total(buckets: Sequence[PerformanceBucket]) -> PerformanceBucket:
    """Return buckets that follow one another as one; one without energies where none of them has any."""
    if len(buckets) == 1:
        return buckets[0]
    whole = PerformanceBucket(**{name: sum(getattr(b, name) for b in buckets) for name in _COUNTS})
    if buckets:
        whole.start.CopyFrom(buckets[0].start)
        whole.end.CopyFrom(buckets[-1].end)
    kept = [b for b in buckets if b.HasField("kwh_consumed_ac")]
    if kept:
        whole.kwh_consumed_ac = math.fsum(b.kwh_consumed_ac for b in kept)
        whole.kwh_delivered_dc = math.fsum(b.kwh_delivered_dc for b in kept)
        whole.kwh_lost = math.fsum(b.kwh_lost for b in kept)
        if whole.kwh_consumed_ac:
            whole.efficiency = whole.kwh_delivered_dc / whole.kwh_consumed_ac
    means: tuple[Measured, ...] = ("mean_soc", "mean_battery_temp")
    for name in means:
        weighed = [(getattr(b, name), b.readings_kept or b.readings) for b in buckets if b.HasField(name)]
        weight = sum(weight for _, weight in weighed)
        if weight:
            setattr(whole, name, math.fsum(value * weight for value, weight in weighed) / weight)
    return whole
