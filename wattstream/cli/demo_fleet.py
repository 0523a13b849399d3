"""The fleet that the demo plays, and what is known of it: fed and watched in threads of their own."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from wattstream.api.analytics.v1.analytics_pb2 import VehiclePerformance
from wattstream.api.state.v1.state_pb2 import VehicleState
from wattstream.cli import pacing
from wattstream.cli.output import to_datetime
from wattstream.client import Client, Retry, ServiceError
from wattstream.simulator import readings

VEHICLES, METERS = 12, 8
SPEED = 60.0
WINDOW = timedelta(hours=6)
_AGO = timedelta(hours=30)
_JOIN_S = 10.0


class DemoFleet:
    """A simulated fleet that plays the last day at 60 times the speed of time, with its first hours played at once.

    Attributes:
        vehicle_ids: its vehicles.
        states: the newest state of each, as the state service tells it.
        acknowledged: how many readings have been acknowledged so far.
        trouble: what stopped it, or "".
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # A fleet of its own for each demo: another's readings of the same minutes would be duplicates.
        seed = int(time.time()) % 1_000_000
        self._start = datetime.now(UTC) - _AGO
        self._readings = readings(vehicles=VEHICLES, meters=METERS, seed=seed, start=self._start)
        self._clock = pacing.clock(self._start + WINDOW, SPEED)
        self._stopping = threading.Event()
        self.vehicle_ids = [f"sim{seed}-vehicle-{number + 1:04}" for number in range(VEHICLES)]
        self.states: dict[str, VehicleState] = {}
        self.acknowledged = 0
        self.trouble = ""

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Play for as long as the block lasts; on leaving, everything sent has been acknowledged."""
        feed = threading.Thread(target=self._guarded, args=(self._feed,), daemon=True)
        watch = threading.Thread(target=self._guarded, args=(self._watch,), daemon=True)
        feed.start()
        watch.start()
        try:
            yield
        finally:
            self._stopping.set()
            await asyncio.to_thread(feed.join, _JOIN_S)

    def performances(self) -> dict[str, VehiclePerformance]:
        """Return each vehicle's performance over the last six hours played; not of those that did not charge."""
        newest = max((to_datetime(state.recorded_at) for state in self.states.values()), default=None)
        if newest is None:
            return {}
        end = newest + timedelta(minutes=1)
        answer = self._client.performances(self.vehicle_ids, end - WINDOW, end)
        return {performance.vehicle_id: performance for performance in answer.performances}

    def _feed(self) -> None:
        with self._client.sender(retry=Retry()) as sender:
            for batch in pacing.due(self._readings, self._clock, self._stopping.is_set):
                sender.send_batch(batch)
                self.acknowledged = sender.statistics().stored
            sender.flush()
            self.acknowledged = sender.statistics().stored

    def _watch(self) -> None:
        for response in self._client.watch(vehicle_ids=self.vehicle_ids):
            for state in response.states:
                self.states[state.vehicle.vehicle_id] = state.vehicle

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (ServiceError, ValueError) as error:  # ValueError: the channel is closed, which is how a watch ends
            if not self._stopping.is_set():
                self.trouble = str(error)
