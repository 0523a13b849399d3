"""`wattstream state`: the newest reading of a device."""

from collections.abc import Iterator

import click

from wattstream.api.state.v1.state_pb2 import MeterState, VehicleState
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import aligned, time, to_json
from wattstream.client import Client


@click.command("state", epilog=EPILOG)
@click.argument("kind", type=click.Choice(["vehicle", "meter"]))
@click.argument("device", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@with_client("state")
def command(client: Client, kind: str, device: str, as_json: bool) -> None:
    """Show the newest reading of a vehicle or meter, and whether it reports."""
    state = client.vehicle_state(device) if kind == "vehicle" else client.meter_state(device)
    click.echo(to_json(state) if as_json else aligned(_rows(state)))


def _rows(state: VehicleState | MeterState) -> Iterator[tuple[str, str]]:
    if isinstance(state, VehicleState):
        yield "vehicle", state.vehicle_id
    else:
        yield "meter", state.meter_id
    yield "reports", "yes" if state.online else "no: offline"
    yield "recorded", time(state.recorded_at)
    yield "received", time(state.received_at)
    if isinstance(state, VehicleState):
        yield "SoC", f"{state.soc:.2f} %"
        yield "DC in the interval", f"{state.kwh_delivered_dc:.4f} kWh"
        yield "battery temperature", f"{state.battery_temp:.2f} °C"
        yield "charging behind", state.meter_id or "no meter named"
    else:
        yield "AC in the interval", f"{state.kwh_consumed_ac:.4f} kWh"
        yield "voltage", f"{state.voltage:.1f} V"
