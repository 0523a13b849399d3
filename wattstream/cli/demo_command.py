"""`wattstream demo`: everything on this machine, with a fleet to look at."""

import asyncio
import os
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from wattstream import embedded, logs
from wattstream.api.analytics.v1.analytics_pb2 import VehiclePerformance
from wattstream.cli.board import board, summary
from wattstream.cli.demo_fleet import SPEED, WINDOW, DemoFleet
from wattstream.cli.seed_command import load
from wattstream.cli.times import duration_option
from wattstream.client import Client, ServiceError
from wattstream.instances import Instance

_REFRESH_S = 1.0
_LINE_EVERY_S = 5.0
_WINDOW_H = WINDOW.total_seconds() / 3600


@click.command("demo", epilog="Exit codes: 0 stopped; 1 something does not start; 2 wrong usage.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WATTSTREAM_DATA_DIR",
    show_envvar=True,
    help="Where the data lies.  [default: that of `wattstream up`]",
)
@click.option("--duration", type=duration_option, metavar="DURATION", help="Stop by itself, after 30s, say.")
def command(data_dir: Path | None, duration: timedelta | None) -> None:
    """Run everything on this machine, with a simulated fleet to look at, until Ctrl-C.

    Loads the small fleet of `wattstream seed`, then plays a day of twelve vehicles at 60 times the speed of time, and
    shows their live state and what becomes of their energy. The data stays.
    """
    logs.configure("demo", "error")
    console = Console()
    try:
        embedded.run(_demo(console, data_dir or embedded.default_data_dir(os.environ), duration))
    except embedded.EmbeddedError as error:
        raise click.ClickException(str(error)) from None
    console.print("Stopped; the data stays.")


async def _demo(console: Console, data_dir: Path, duration: timedelta | None) -> None:
    console.print(f"Starting PostgreSQL, Valkey and the three services on {data_dir} ...", soft_wrap=True)
    async with embedded.instance(data_dir) as instance:
        console.print(_welcome(instance), soft_wrap=True, highlight=False)
        with Client(instance.ingest, instance.state, instance.analytics) as client:
            await asyncio.to_thread(load, client)
            fleet = DemoFleet(client)
            try:
                async with fleet.playing():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(duration.total_seconds() if duration else None):
                            await _show(console, fleet)
            finally:
                console.print(f"{fleet.acknowledged} readings were stored and acknowledged.", highlight=False)


async def _show(console: Console, fleet: DemoFleet) -> None:
    """Show the fleet, in place on a terminal, elsewhere a line now and then, until cancelled or stuck."""
    with Live(console=console, auto_refresh=False) if console.is_terminal else nullcontext() as live:
        while not fleet.trouble:
            performances = await _performances(fleet)
            line = f"{fleet.acknowledged} readings acknowledged; {summary(performances)}"
            if live is None:
                console.print(line, soft_wrap=True, highlight=False)
            else:
                live.update(Group(board(fleet.states, performances, _WINDOW_H), Text(line)), refresh=True)
            await asyncio.sleep(_REFRESH_S if live else _LINE_EVERY_S)
    raise click.ClickException(fleet.trouble)


async def _performances(fleet: DemoFleet) -> dict[str, VehiclePerformance]:
    """Return what is known; nothing for a moment in which a service is away."""
    try:
        return await asyncio.to_thread(fleet.performances)
    except ServiceError:
        return {}


def _welcome(instance: Instance) -> str:
    return f"""
ingest     {instance.ingest}
state      {instance.state}
analytics  {instance.analytics}

Try, in another terminal:
  grpcurl -plaintext -d '{{"vehicle_id": "V1"}}' {instance.state} wattstream.api.state.v1.StateService/GetVehicleState
  wattstream performance V1 --start 2026-02-10T14:47Z --end 2026-02-10T14:57Z
  wattstream fleet --plot

A simulated fleet plays its last day at {SPEED:g} times the speed of time:
"""
