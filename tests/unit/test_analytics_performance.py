import dataclasses

import pytest

from analytics_service.performance import MeterUse, of_uses

NOTHING = MeterUse(None, 0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)
AT_M1 = MeterUse("M1", 5, 0, 4, 3, 1, 1, 10.0, 9.0, 80.0, 120.0)
AT_M2 = MeterUse("M2", 3, 0, 2, 2, 0, 0, 2.0, 1.0, 40.0, 60.0)


def test_uses_of_several_meters_add_up_and_means_are_over_kept_readings():
    answer = of_uses([AT_M2, AT_M1, dataclasses.replace(NOTHING, readings=7, readings_without_meter=7)])

    assert answer is not None
    assert (answer.kwh_consumed_ac, answer.kwh_delivered_dc, answer.kwh_lost) == (12.0, 10.0, 2.0)
    assert answer.efficiency == pytest.approx(10 / 12)
    assert (answer.mean_soc, answer.mean_battery_temp) == (20.0, 30.0)
    assert (answer.readings, answer.readings_kept, answer.readings_without_meter) == (15, 6, 7)
    assert (answer.minutes_kept, answer.minutes_shared, answer.minutes_without_meter_data) == (5, 1, 1)
    assert answer.meter_ids == ("M1", "M2")


@pytest.mark.parametrize(
    "uses",
    [
        [],
        [dataclasses.replace(NOTHING, readings=7, readings_without_meter=7)],
        [dataclasses.replace(AT_M1, readings_kept=0, minutes_kept=0)],
    ],
    ids=["no readings", "none that belongs to a meter", "none that is kept"],
)
def test_there_is_no_performance_when_nothing_is_kept(uses: list[MeterUse]):
    assert of_uses(uses) is None


def test_efficiency_is_unset_when_no_energy_was_consumed():
    answer = of_uses([dataclasses.replace(AT_M1, kwh_consumed_ac=0.0)])
    assert answer is not None
    assert answer.efficiency is None
    assert answer.kwh_lost == -9.0


def test_means_are_unset_when_only_the_meter_has_readings():
    answer = of_uses([dataclasses.replace(NOTHING, meter_id="M1", minutes_kept=2, kwh_consumed_ac=1.5)])
    assert answer is not None
    assert (answer.mean_soc, answer.mean_battery_temp) == (None, None)
    assert (answer.kwh_consumed_ac, answer.efficiency) == (1.5, 0.0)


def test_a_meter_of_which_nothing_is_kept_is_not_named():
    answer = of_uses([AT_M1, dataclasses.replace(AT_M2, readings_kept=0, minutes_kept=0)])
    assert answer is not None
    assert answer.meter_ids == ("M1",)
