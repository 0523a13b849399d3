"""`wattstream simulate`: the readings of a simulated fleet, live or replayed at any speed."""

import itertools
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.cli import pacing
from wattstream.cli.connection import EPILOG, describe, with_client
from wattstream.cli.progress import Display
from wattstream.cli.tally import Tally
from wattstream.cli.times import duration_option, time_option, utc
from wattstream.client import BatchOutcome, Client, Limits, Retry
from wattstream.simulator import readings


@click.command("simulate", epilog=EPILOG)
@click.option("--vehicles", type=click.IntRange(0, 1_000_000), default=100, show_default=True)
@click.option("--meters", type=click.IntRange(0, 1_000_000), default=60, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Names the fleet and its fate.")
@click.option("--minutes", type=click.IntRange(1), help="How much simulated time to play.  [default: no end]")
@click.option("--duration", type=duration_option, metavar="DURATION", help="How long to run, such as 30s or 2h.")
@click.option(
    "--speed",
    type=click.FloatRange(0.0),
    default=1.0,
    show_default=True,
    help="Simulated seconds a second; 0 is as fast as it goes.",
)
@click.option("--start", type=time_option, metavar="TIME", help="Simulated time to begin at.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@with_client("ingest")
def command(  # noqa: PLR0913, PLR0917 - one an option
    client: Client,
    vehicles: int,
    meters: int,
    seed: int,
    minutes: int | None,
    duration: timedelta | None,
    speed: float,
    start: datetime | None,
    as_json: bool,
) -> None:
    """Send the readings of a simulated fleet, a reading a minute of each vehicle and meter.

    By default it is live: it begins now, in real time, and goes on until Ctrl-C. At a higher speed it plays history: it
    begins so that the simulated time asked for ends now (24 hours ago, where neither --minutes nor --duration says how
    much), and goes on live when it gets there. No reading lies in the future.

    The same --seed and --start give the same readings, whatever the speed. The vehicles are called sim1-vehicle-0001
    and so on, the meters sim1-meter-0001, where 1 is the seed.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    if start is not None and start > now:
        raise click.UsageError("--start lies in the future")
    start = start or pacing.begin(now, speed, minutes, duration)
    simulated = readings(vehicles=vehicles, meters=meters, seed=seed, start=start)
    if minutes is not None:
        simulated = itertools.islice(simulated, minutes * (vehicles + meters))
    run = Run(start)
    try:
        click.echo(
            f"Simulating {vehicles} vehicles, {meters} meters of fleet sim{seed} from {utc(start)} UTC on", err=True
        )
        run.send(client, pacing.due(simulated, pacing.clock(start, speed), _over(duration)))
    finally:
        fleet = {"seed": seed, "vehicles": vehicles, "meters": meters}
        click.echo(json.dumps(fleet | run.as_json()) if as_json else str(run))
    if run.refusal:
        raise click.ClickException(f"some readings were rejected: {run.refusal}")


class Run:
    """What has become of a simulation: how far it is acknowledged, and why a reading was refused, if one was."""

    def __init__(self, start: datetime) -> None:
        self.refusal = ""
        self._start = self._last = start
        self._tally = Tally()

    def send(self, client: Client, batches: Iterable[list[Reading]]) -> None:
        """Send all batches and follow their acknowledgements."""
        with Display(None) as display:
            retry = Retry(on_wait=lambda error, _: display.note(describe(error)))
            with client.sender(limits=Limits(linger_s=0.0), retry=retry) as sender:
                waiting: deque[tuple[Future[BatchOutcome], datetime]] = deque()
                for batch in batches:
                    if batch:
                        waiting.append((sender.send_batch(batch), pacing.recorded_at(batch[-1])))
                    while waiting and waiting[0][0].done():
                        self._add(*waiting.popleft())
                    self._tally.follow(sender.statistics())
                    display.show(self._tally)
                for future, last in waiting:
                    self._add(future, last)
                self._tally.follow(sender.statistics())

    def _add(self, sent: Future[BatchOutcome], last: datetime) -> None:
        for rejection in sent.result().rejections.values():
            self.refusal = self.refusal or rejection.message
        self._last = last

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name, for programs."""
        return {"start": self._start.isoformat(), "last": self._last.isoformat(), **self._tally.as_json()}

    def __str__(self) -> str:
        return f"{self._tally}; simulated until {utc(self._last)} UTC"


def _over(duration: timedelta | None) -> Callable[[], bool]:
    if duration is None:
        return lambda: False
    ends = time.monotonic() + duration.total_seconds()
    return lambda: time.monotonic() >= ends
