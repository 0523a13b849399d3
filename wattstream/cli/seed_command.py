"""`wattstream seed`: a small fleet whose figures are known."""

from datetime import UTC, datetime, timedelta

import click

from wattstream.api.ingest.v1.fleet_pb2 import Device
from wattstream.api.ingest.v1.ingest_pb2 import IngestReadingsResponse
from wattstream.api.telemetry.v1.telemetry_pb2 import DeviceKind, MeterReading, Reading, VehicleReading
from wattstream.cli.connection import EPILOG, with_client
from wattstream.cli.output import to_json
from wattstream.client import Client
from wattstream.client.sync import timestamp

START = datetime(2026, 2, 10, 14, 47, tzinfo=UTC)
METER_ID = "M1"

_VOLTAGE = 400.0
# Minute by minute from START on: AC kWh at the meter.
_AC_KWH = (0.4796, 0.4457, 0.5210, 0.6093, 0.6646, 0.6258, 0.4910, 0.6636, 0.4867, 0.5904)
# The vehicles behind it, one after the other: DC kWh, SoC in percent, battery temperature in degrees Celsius.
_VEHICLES = {
    "V1": (
        (0.4227, 20.70, 30.1),
        (0.4037, 21.38, 30.2),
        (0.4670, 22.16, 30.3),
        (0.5588, 23.09, 30.4),
        (0.5986, 24.08, 30.5),
    ),
    "V2": (
        (0.5568, 45.93, 30.6),
        (0.4347, 46.65, 30.7),
        (0.5990, 47.65, 30.8),
        (0.4371, 48.38, 30.9),
        (0.5218, 49.25, 31.0),
    ),
}
_STAY_MINUTES = 5


@click.command("seed", epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print what became of the readings as JSON.")
@with_client("ingest")
def command(client: Client, as_json: bool) -> None:
    """Load a small fleet with known figures: vehicles V1 and V2, one after the other at meter M1.

    Running it again changes nothing.
    """
    outcome = load(client)
    if as_json:
        click.echo(to_json(outcome))
    else:
        click.echo(f"{outcome.stored} readings stored, {outcome.duplicates} duplicates; V1, then V2, assigned to M1")
        click.echo("The figures: wattstream performance V1 --start 2026-02-10T14:47Z --end 2026-02-10T14:57Z")
    if outcome.rejected:
        raise click.ClickException(f"{outcome.rejected} readings were rejected: {outcome.rejections[0].message}")


def load(client: Client) -> IngestReadingsResponse:
    """Register the fleet, send its readings and assign its meter; all of that may be there already."""
    client.register(
        [Device(kind=DeviceKind.DEVICE_KIND_METER, device_id=METER_ID)]
        + [Device(kind=DeviceKind.DEVICE_KIND_VEHICLE, device_id=vehicle_id) for vehicle_id in _VEHICLES]
    )
    outcome = client.ingest(readings())
    for vehicle_id, (start, end) in stays().items():
        client.assign(vehicle_id, METER_ID, start, end)
    return outcome


def stays() -> dict[str, tuple[datetime, datetime]]:
    """Return from when until when each vehicle was at the meter."""
    stay = timedelta(minutes=_STAY_MINUTES)
    return {vehicle_id: (START + n * stay, START + (n + 1) * stay) for n, vehicle_id in enumerate(_VEHICLES)}


def readings() -> list[Reading]:
    """Return the fleet's readings, the meter's first."""
    found = [
        Reading(
            meter=MeterReading(
                meter_id=METER_ID, recorded_at=timestamp(_minute(START, n)), kwh_consumed_ac=kwh, voltage=_VOLTAGE
            )
        )
        for n, kwh in enumerate(_AC_KWH)
    ]
    for vehicle_id, (start, _) in stays().items():
        for n, (kwh, soc, battery_temp) in enumerate(_VEHICLES[vehicle_id]):
            reading = VehicleReading(
                vehicle_id=vehicle_id,
                meter_id=METER_ID,
                recorded_at=timestamp(_minute(start, n)),
                soc=soc,
                kwh_delivered_dc=kwh,
                battery_temp=battery_temp,
            )
            found.append(Reading(vehicle=reading))
    return found


def _minute(start: datetime, number: int) -> datetime:
    return start + timedelta(minutes=number)
