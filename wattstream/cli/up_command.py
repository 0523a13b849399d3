"""`wattstream up`: everything on this machine."""

import asyncio
import json
import os
from pathlib import Path

import click

from wattstream import embedded, logs

_PORT = click.IntRange(1, 65535)


@click.command(
    epilog="Exit codes: 0 stopped by SIGINT, SIGTERM or SIGHUP; 1 something does not start, or the data folder is in"
    " use; 2 wrong usage."
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WATTSTREAM_DATA_DIR",
    show_envvar=True,
    help="Where the data lies.  [default: ~/.local/share/wattstream; as root /var/lib/wattstream/default]",
)
@click.option("--ingest-port", type=_PORT, help="Port of the ingest service.  [default: 50051, or a free one]")
@click.option("--state-port", type=_PORT, help="Port of the state service.  [default: 50052, or a free one]")
@click.option("--analytics-port", type=_PORT, help="Port of the analytics service.  [default: 50053, or a free one]")
def command(data_dir: Path | None, ingest_port: int | None, state_port: int | None, analytics_port: int | None) -> None:
    """Run everything on this machine: PostgreSQL, Valkey and the three services.

    When all are ready, one line of JSON on standard output says where they are. Ctrl-C stops them in order; the data
    stays. With WATTSTREAM_POSTGRES_DSN or WATTSTREAM_REDIS_URL set, those servers are used.
    """
    logs.configure("up", "info")
    ports = {"ingest": ingest_port, "state": state_port, "analytics": analytics_port}
    try:
        embedded.run(_up(data_dir or embedded.default_data_dir(os.environ), ports))
    except embedded.EmbeddedError as error:
        raise click.ClickException(str(error)) from None


async def _up(data_dir: Path, ports: dict[str, int | None]) -> None:
    async with embedded.instance(data_dir, ports=ports) as instance:
        click.echo(json.dumps(instance.addresses()))
        await asyncio.Event().wait()
