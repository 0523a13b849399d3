"""Series as columns, and buckets added up."""

import math
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from wattstream.report.buckets import columns, lone
from wattstream.report.totals import total


def gap(i: int) -> tuple[float, float] | None:
    return None if 3 <= i < 6 else (6.0, 0.9)


def test_no_data_is_not_zero(samples: Any) -> None:
    drawn = columns(samples.series(lambda i: (0.0, 0.9) if i == 0 else gap(i)))
    assert drawn.ac[0] == 0.0
    assert math.isnan(drawn.efficiency[0])
    assert np.isnan(drawn.ac[3:6]).all()
    assert list(drawn.kept[:7]) == [True, True, True, False, False, False, True]


def test_short_buckets_are_mean_power_and_days_are_energy(samples: Any) -> None:
    short = columns(samples.series(gap))
    assert short.ac[0] == pytest.approx(6.0)
    assert short.heading == "Power, kW, mean per 5 minutes"
    days = samples.series(gap, end=samples.day + timedelta(days=10), granularity="GRANULARITY_DAY")
    assert columns(days).ac[0] == pytest.approx(6.0 * 24)
    assert columns(days).heading == "Energy, kWh per day"


def test_buckets_are_taken_together_to_fit_and_lose_no_energy(samples: Any) -> None:
    series = samples.series(gap)
    drawn = columns(series, 70)
    assert len(drawn.ac) == 58
    assert drawn.heading == "Power, kW, mean per 25 minutes"
    hours = np.diff(drawn.seconds) / 3600
    assert np.nansum(drawn.ac * hours) == pytest.approx(total(series.buckets).kwh_consumed_ac)


def test_a_total_weighs_means_by_readings_and_leaves_out_what_is_empty(samples: Any) -> None:
    first, second, empty = samples.series(lambda i: (6.0, 0.9) if i < 2 else None).buckets[:3]
    first.mean_soc, second.mean_soc = 20.0, 50.0
    first.readings_kept, second.readings_kept = 1, 2
    whole = total([first, second, empty])
    assert whole.mean_soc == pytest.approx(40.0)
    assert whole.kwh_consumed_ac == pytest.approx(1.0)
    assert whole.efficiency == pytest.approx(0.9)
    assert whole.end == empty.end
    assert not total([empty, empty]).HasField("kwh_consumed_ac")


def test_a_value_between_gaps_is_lone() -> None:
    nan = math.nan
    assert list(lone(np.array([1.0, nan, 1.0, 1.0, nan, nan, 1.0]))) == [True, False, False, False, False, False, True]
