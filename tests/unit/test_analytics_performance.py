"""What is derived from the sums of a performance."""

import pytest

from analytics_service.performance import Performance

CHARGED = Performance(
    readings=9,
    readings_without_meter=2,
    readings_kept=4,
    minutes_kept=3,
    kwh_consumed_ac=10.0,
    kwh_delivered_dc=9.0,
    sum_soc=80.0,
    sum_battery_temp=120.0,
    meter_ids=("M1",),
)


def test_ratios_are_of_what_is_kept():
    assert (CHARGED.efficiency, CHARGED.mean_soc, CHARGED.mean_battery_temp) == (0.9, 20.0, 30.0)
    assert CHARGED.kwh_lost == 1.0


def test_there_is_no_efficiency_without_ac_energy():
    assert Performance(readings_kept=1, minutes_kept=1, kwh_delivered_dc=1.0).efficiency is None


def test_there_is_no_mean_without_a_reading_that_is_kept():
    metered = Performance(minutes_kept=5, kwh_consumed_ac=1.0)
    assert (metered.mean_soc, metered.mean_battery_temp) == (None, None)


@pytest.mark.parametrize(
    ("performance", "is_empty"),
    [
        (Performance(), True),
        (Performance(readings=7, readings_without_meter=7), True),
        (Performance(minutes_kept=1), False),
        (Performance(readings_kept=1), False),
    ],
)
def test_nothing_kept_is_told_from_nothing_charged(performance: Performance, is_empty: bool):
    assert performance.is_empty is is_empty
