"""Performance: what a vehicle, or a fleet, was given, what that cost at the meter, and what lies between."""

from dataclasses import dataclass
from enum import Enum


class Correlation(Enum):
    """How a vehicle's readings are paired with a meter's."""

    EXCLUSIVE_MINUTES = "exclusive"
    ASSIGNED_METER = "assigned"


@dataclass(frozen=True)
class Performance:
    """What readings add up to, over what the correlation keeps.

    Energies in kWh, sums of states of charge in percent, of temperatures in degrees Celsius. Minutes are (meter, UTC
    minute) pairs.
    """

    readings: int = 0
    readings_without_meter: int = 0
    readings_kept: int = 0
    minutes_kept: int = 0
    minutes_shared: int = 0
    minutes_without_meter_data: int = 0
    kwh_consumed_ac: float = 0.0
    kwh_delivered_dc: float = 0.0
    sum_soc: float = 0.0
    sum_battery_temp: float = 0.0
    meter_ids: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept: no data is not 0 kWh."""
        return not self.readings_kept and not self.minutes_kept

    @property
    def kwh_lost(self) -> float:
        """AC minus DC energy, in kWh."""
        return self.kwh_consumed_ac - self.kwh_delivered_dc

    @property
    def efficiency(self) -> float | None:
        """DC divided by AC energy; None when AC is 0."""
        return _ratio(self.kwh_delivered_dc, self.kwh_consumed_ac)

    @property
    def mean_soc(self) -> float | None:
        """Mean state of charge in percent; None when no reading is kept."""
        return _ratio(self.sum_soc, self.readings_kept)

    @property
    def mean_battery_temp(self) -> float | None:
        """Mean battery temperature in degrees Celsius; None when no reading is kept."""
        return _ratio(self.sum_battery_temp, self.readings_kept)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
