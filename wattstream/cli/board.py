"""What the demo shows: the vehicles' live state beside what became of their energy. Pure."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from wattstream.api.analytics.v1.analytics_pb2 import VehiclePerformance
from wattstream.api.state.v1.state_pb2 import VehicleState
from wattstream.cli.output import to_datetime

THRESHOLD = 0.85
_BAR = 6


def board(
    states: Mapping[str, VehicleState], performances: Mapping[str, VehiclePerformance], window_hours: float
) -> Table:
    """Return the vehicles by id: live state on the left, energy of the last hours on the right."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for heading in ("vehicle", "UTC", "SoC", "", "kW", "°C", "behind"):
        table.add_column(heading, justify="right" if heading in ("SoC", "kW", "°C") else "left", no_wrap=True)
    for heading in (f"AC kWh {window_hours:g} h", "DC kWh", "lost", "DC/AC"):
        table.add_column(heading, justify="right", no_wrap=True)
    for vehicle_id in sorted(states):
        table.add_row(*_live(states[vehicle_id]), *_energy(performances.get(vehicle_id)))
    return table


def summary(performances: Mapping[str, VehiclePerformance]) -> str:
    """Return the fleet's totals in one line."""
    ac = sum(p.kwh_consumed_ac for p in performances.values())
    dc = sum(p.kwh_delivered_dc for p in performances.values())
    low = sum(p.HasField("efficiency") and p.efficiency < THRESHOLD for p in performances.values())
    efficiency = f"{dc / ac:.1%}" if ac else "-"
    return (
        f"fleet: {ac:.1f} kWh AC, {dc:.1f} kWh DC, {ac - dc:.1f} kWh lost, efficiency {efficiency}; "
        f"{low} of {len(performances)} vehicles below {THRESHOLD:.0%}"
    )


def _live(state: VehicleState) -> list[str | Text]:
    full = round(state.soc / 100 * _BAR)
    return [
        _short(state.vehicle_id),
        to_datetime(state.recorded_at).strftime("%H:%M"),
        f"{state.soc:.0f} %",
        Text("█" * full, style="green") + Text("░" * (_BAR - full), style="dim"),
        f"{state.kwh_delivered_dc * 60:.1f}" if state.kwh_delivered_dc else "",
        f"{state.battery_temp:.0f}",
        _short(state.meter_id),
    ]


def _short(device_id: str) -> str:
    """Leave out the fleet's name, which is the same on every line."""
    return device_id.partition("-")[2]


def _energy(performance: VehiclePerformance | None) -> list[str | Text]:
    if performance is None:
        return ["", "", "", ""]
    ratio = performance.efficiency
    shown = Text(f"{ratio:.1%}" if performance.HasField("efficiency") else "-")
    shown.stylize("bold red" if ratio < THRESHOLD else "green")
    energies = (performance.kwh_consumed_ac, performance.kwh_delivered_dc, performance.kwh_lost)
    return [*(f"{kwh:.2f}" for kwh in energies), shown]
