"""What is said about figures: key figures, windows, alerts, in words and units. Pure."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, tzinfo
from math import nan
from typing import NamedTuple

from wattstream.api.analytics.v1.alerts_pb2 import AlertState, AlertSubject, EfficiencyAlert
from wattstream.api.analytics.v1.analytics_pb2 import (
    EfficiencyBin,
    GetFleetSummaryResponse,
    VehicleOrder,
    VehiclePerformance,
)
from wattstream.report.clock import instant
from wattstream.report.content import FleetReport, VehicleReport, window_of, zone_of
from wattstream.report.totals import total

STATES = {
    AlertState.ALERT_STATE_OPEN: "open",
    AlertState.ALERT_STATE_CLOSED: "closed",
    AlertState.ALERT_STATE_WITHDRAWN: "withdrawn",
}
ORDERS = {
    VehicleOrder.VEHICLE_ORDER_EFFICIENCY: "the least efficient vehicles",
    VehicleOrder.VEHICLE_ORDER_KWH_LOST: "the vehicles that lose most",
    VehicleOrder.VEHICLE_ORDER_KWH_CONSUMED_AC: "the vehicles that consume most",
    VehicleOrder.VEHICLE_ORDER_KWH_DELIVERED_DC: "the vehicles that get most",
}

RANKED: dict[int, Callable[[VehiclePerformance], float]] = {
    VehicleOrder.VEHICLE_ORDER_EFFICIENCY: lambda one: one.efficiency if one.HasField("efficiency") else nan,
    VehicleOrder.VEHICLE_ORDER_KWH_LOST: lambda one: one.kwh_lost,
    VehicleOrder.VEHICLE_ORDER_KWH_CONSUMED_AC: lambda one: one.kwh_consumed_ac,
    VehicleOrder.VEHICLE_ORDER_KWH_DELIVERED_DC: lambda one: one.kwh_delivered_dc,
}


class Figure(NamedTuple):
    """A key figure: its name, its value with the unit, and whether it is one to worry about."""

    label: str
    value: str
    bad: bool = False


def kwh(value: float) -> str:
    """Return an energy with as many digits as matter: 0.2694 kWh, 13.67 kWh, 1,234 kWh."""
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4
    return f"{value:,.{digits}f} kWh"


def percent(efficiency: float | None) -> str:
    """Return an efficiency in percent."""
    return "none" if efficiency is None else f"{efficiency:.1%}"


def is_low(performance: VehiclePerformance, threshold: float) -> bool:
    """Return whether a vehicle is to be marked."""
    return performance.HasField("efficiency") and performance.efficiency < threshold


def ranked(performance: VehiclePerformance) -> str:
    """Return a vehicle's figures in a few words."""
    efficiency = performance.efficiency if performance.HasField("efficiency") else None
    lost = kwh(performance.kwh_lost).removesuffix(" kWh")
    return f"{percent(efficiency)}, lost {lost} of {kwh(performance.kwh_consumed_ac)}"


def short(text: str, most: int) -> str:
    """Return a text with its middle left out where it is longer than `most`: ids differ at their ends."""
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def nothing(silent: Iterable[bool]) -> str:
    """Return why there is nothing to draw."""
    if all(silent):
        return "No readings in this window."
    return "There are readings in this window, but no minute of them is kept."


def window(start: datetime, end: datetime, zone: tzinfo) -> str:
    """Return a window by the clock of a zone, and the zone's name."""
    first, last = start.astimezone(zone), end.astimezone(zone)
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}, {zone}"


def vehicle_heading(report: VehicleReport) -> tuple[str, str]:
    """Return the title and the line below it."""
    meters = ", ".join(report.meter_ids[:3]) + (", ..." if len(report.meter_ids) > 3 else "")
    when = window(*window_of(report.series), zone_of(report.series))
    return f"Vehicle {report.vehicle_id}", "; ".join(filter(None, [when, report.paired, meters and f"at {meters}"]))


def vehicle_figures(report: VehicleReport) -> list[Figure]:
    """Return the key figures of a vehicle."""
    whole = total(report.series.buckets)
    figures = []
    if whole.HasField("kwh_consumed_ac"):
        efficiency = whole.efficiency if whole.HasField("efficiency") else None
        figures = _energies(whole.kwh_consumed_ac, whole.kwh_delivered_dc, whole.kwh_lost, efficiency, report.threshold)
    return [
        *figures,
        Figure("minutes kept", f"{whole.minutes_kept:,}"),
        Figure("minutes shared", f"{whole.minutes_shared:,}"),
        Figure("without meter", f"{whole.minutes_without_meter_data:,}"),
    ]


def fleet_heading(report: FleetReport) -> tuple[str, str]:
    """Return the title and the line below it."""
    start, end = instant(report.summary.window.start), instant(report.summary.window.end)
    return "The fleet", window(start, end, zone_of(report.series))


def fleet_figures(report: FleetReport) -> list[Figure]:
    """Return the key figures of the fleet."""
    summary = report.summary
    efficiency = summary.efficiency if summary.HasField("efficiency") else None
    more = "+" if report.alerts_truncated else ""
    return [
        *_energies(summary.kwh_consumed_ac, summary.kwh_delivered_dc, summary.kwh_lost, efficiency, report.threshold),
        Figure("vehicles reporting", _reporting(summary.vehicles_reporting, summary.vehicles_silent)),
        Figure("meters reporting", _reporting(summary.meters_reporting, summary.meters_silent)),
        Figure("open alerts", f"{len(report.alerts)}{more}", bad=bool(report.alerts)),
    ]


def quality(summary: GetFleetSummaryResponse) -> Iterator[tuple[str, str]]:
    """Yield what is to be known about the data: a name, and the figure in words."""
    found = summary.quality
    left_out = summary.kwh_metered_ac - summary.kwh_consumed_ac
    yield "AC paired", f"{kwh(summary.kwh_consumed_ac)} of {kwh(summary.kwh_metered_ac)}; {kwh(left_out)} left out"
    yield "DC paired", f"{kwh(summary.kwh_delivered_dc)} of {kwh(summary.kwh_reported_dc)}"
    yield (
        "minutes",
        f"{found.minutes_kept:,} kept, {found.minutes_shared:,} shared, "
        f"{found.minutes_without_meter_data:,} without meter data",
    )
    yield "readings", f"{found.readings_without_meter:,} of vehicles belong to no meter"
    if found.vehicles_above_one:
        yield "above 100%", f"vehicles whose meter or pairing must be wrong: {found.vehicles_above_one:,}"
    if found.HasField("meter_gaps"):  # not known for long windows
        hours, longest = found.meter_gap_hours, found.longest_meter_gap_hours
        yield "gaps of meters", f"{found.meter_gaps:,}, {hours:,} h together, the longest {longest:,} h"


def bin_name(bin_: EfficiencyBin) -> str:
    """Return the range of a bin of the histogram, in percent."""
    if not bin_.HasField("from"):
        return f"< {bin_.below:.0%}"
    low = getattr(bin_, "from")
    return f"{low * 100:.0f}-{bin_.below:.0%}" if bin_.HasField("below") else f"≥ {low:.0%}"


def bin_below(bin_: EfficiencyBin, threshold: float) -> bool:
    """Return whether all of a bin is below the threshold."""
    return bin_.HasField("below") and bin_.below <= threshold + 1e-9


def subject(alert: EfficiencyAlert) -> str:
    """Return what an alert is about."""
    if alert.subject == AlertSubject.ALERT_SUBJECT_PAIR:
        return f"{alert.vehicle_id} at {alert.meter_id}"
    return alert.vehicle_id or f"meter {alert.meter_id}"


def drop(alert: EfficiencyAlert) -> str:
    """Return how deep a drop is and what it cost."""
    return f"{percent(alert.efficiency)}, threshold {alert.threshold:.0%}, cost {kwh(alert.kwh_lost_below_threshold)}"


def span(alert: EfficiencyAlert, zone: tzinfo) -> str:
    """Return from when until when the drop is, by the clock of a zone."""
    since, until = (instant(stamp).astimezone(zone) for stamp in (alert.since, alert.until))
    return f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"


def is_open(alert: EfficiencyAlert) -> bool:
    """Return whether the drop goes on, as far as is known."""
    return alert.state == AlertState.ALERT_STATE_OPEN


def seen(alert: EfficiencyAlert) -> str:
    """Return who has acknowledged an alert and what they noted; empty where nobody has."""
    if not alert.HasField("acknowledged_at"):
        return ""
    who = printable(alert.acknowledged_by)
    note = printable(alert.note)
    return "acknowledged" + (f" by {who}" if who else "") + (f": {note}" if note else "")


def printable(text: str) -> str:
    """Return free text without what would move the cursor or colour the terminal."""
    return "".join(one if one.isprintable() else " " for one in text)


def _reporting(reporting: int, silent: int) -> str:
    return f"{reporting:,} of {reporting + silent:,}"


def _energies(ac: float, dc: float, lost: float, efficiency: float | None, threshold: float) -> list[Figure]:
    return [
        Figure("AC at the meter", kwh(ac)),
        Figure("DC in the battery", kwh(dc)),
        Figure("lost", kwh(lost)),
        Figure("efficiency", percent(efficiency), bad=efficiency is not None and efficiency < threshold),
    ]
