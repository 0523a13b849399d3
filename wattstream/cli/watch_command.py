"""`wattstream watch`: the newest readings as they change."""

import sys

import click

from wattstream.api.state.v1.state_pb2 import DeviceState
from wattstream.api.telemetry.v1.telemetry_pb2 import DeviceKind
from wattstream.cli.connection import EPILOG, describe, with_client
from wattstream.cli.output import to_datetime, to_json
from wattstream.cli.times import utc
from wattstream.client import Client, Retry

_KINDS = {"vehicle": DeviceKind.DEVICE_KIND_VEHICLE, "meter": DeviceKind.DEVICE_KIND_METER}


@click.command("watch", epilog=EPILOG)
@click.option("--vehicle", "vehicles", multiple=True, metavar="ID", help="Watch this vehicle; may be repeated.")
@click.option("--meter", "meters", multiple=True, metavar="ID", help="Watch this meter; may be repeated.")
@click.option("--kind", type=click.Choice(list(_KINDS)), help="Watch all devices of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, one a state.")
@with_client("state")
def command(
    client: Client, vehicles: tuple[str, ...], meters: tuple[str, ...], kind: str | None, as_json: bool
) -> None:
    """Show the newest reading of each device, then every change, until Ctrl-C; of all devices where none is named.

    When the service restarts, the watch goes on with it, and shows every device once more.
    """
    if kind and (vehicles or meters):
        raise click.UsageError("give --kind, or devices, not both")
    states = client.watch(
        kind=_KINDS[kind] if kind else DeviceKind.DEVICE_KIND_UNSPECIFIED,
        vehicle_ids=vehicles,
        meter_ids=meters,
        retry=Retry(on_wait=lambda error, _: click.echo(describe(error), err=True)),
    )
    for response in states:
        for state in response.states:
            click.echo(to_json(state, indent=None) if as_json else _line(state))
        if response.skipped:
            click.echo(f"({response.skipped} values were overtaken by newer ones)", err=True)
        sys.stdout.flush()


def _line(state: DeviceState) -> str:
    if state.HasField("vehicle"):
        vehicle = state.vehicle
        return (
            f"{utc(to_datetime(vehicle.recorded_at)):<19}  vehicle  {vehicle.vehicle_id:<20}  "
            f"SoC {vehicle.soc:6.2f} %  DC {vehicle.kwh_delivered_dc:8.4f} kWh  {vehicle.battery_temp:5.1f} °C  "
            f"{vehicle.meter_id}"
        ).rstrip()
    meter = state.meter
    return (
        f"{utc(to_datetime(meter.recorded_at)):<19}  meter    {meter.meter_id:<20}  "
        f"AC {meter.kwh_consumed_ac:8.4f} kWh  {meter.voltage:6.1f} V"
    )
