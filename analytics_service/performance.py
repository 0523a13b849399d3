"""A vehicle's performance: what it was given, what that cost at the meter, and what lies between."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Correlation(Enum):
    """How a vehicle's readings are paired with a meter's."""

    EXCLUSIVE_MINUTES = "exclusive"
    ASSIGNED_METER = "assigned"


@dataclass(frozen=True)
class MeterUse:
    """What a vehicle's readings, its meter's, or both add up to; `meter_id` is None where there is no one meter.

    Sums are over what the correlation keeps: energies in kWh, state of charge in percent, temperature in degrees
    Celsius. Minutes are (meter, UTC minute) pairs.
    """

    meter_id: str | None
    readings: int
    readings_without_meter: int
    readings_kept: int
    minutes_kept: int
    minutes_shared: int
    minutes_without_meter_data: int
    kwh_consumed_ac: float
    kwh_delivered_dc: float
    sum_soc: float
    sum_battery_temp: float


@dataclass(frozen=True)
class Performance:
    """What the uses of all its meters add up to for a vehicle. Units as in MeterUse; None: nothing to divide by."""

    kwh_consumed_ac: float
    kwh_delivered_dc: float
    mean_soc: float | None
    mean_battery_temp: float | None
    readings_kept: int
    readings: int
    readings_without_meter: int
    minutes_kept: int
    minutes_shared: int
    minutes_without_meter_data: int
    meter_ids: tuple[str, ...]

    @property
    def kwh_lost(self) -> float:
        """AC minus DC energy, in kWh."""
        return self.kwh_consumed_ac - self.kwh_delivered_dc

    @property
    def efficiency(self) -> float | None:
        """DC divided by AC energy; None when AC is 0."""
        return _ratio(self.kwh_delivered_dc, self.kwh_consumed_ac)


def of_uses(uses: Iterable[MeterUse]) -> Performance | None:
    """Return what the uses of a vehicle add up to, or None when nothing of them is kept."""
    uses = list(uses)
    readings_kept = sum(use.readings_kept for use in uses)
    minutes_kept = sum(use.minutes_kept for use in uses)
    if not readings_kept and not minutes_kept:
        return None
    return Performance(
        kwh_consumed_ac=sum(use.kwh_consumed_ac for use in uses),
        kwh_delivered_dc=sum(use.kwh_delivered_dc for use in uses),
        mean_soc=_ratio(sum(use.sum_soc for use in uses), readings_kept),
        mean_battery_temp=_ratio(sum(use.sum_battery_temp for use in uses), readings_kept),
        readings_kept=readings_kept,
        readings=sum(use.readings for use in uses),
        readings_without_meter=sum(use.readings_without_meter for use in uses),
        minutes_kept=minutes_kept,
        minutes_shared=sum(use.minutes_shared for use in uses),
        minutes_without_meter_data=sum(use.minutes_without_meter_data for use in uses),
        meter_ids=tuple(sorted({use.meter_id for use in uses if use.meter_id is not None and use.minutes_kept})),
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
