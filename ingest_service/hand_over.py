"""Hands the newest reading of each device over to the state service, after it is durable.

What waits is one reading a device, however long the state service is away: the newest. When the state service says that
its store is another one than before (it came back empty), or when readings may have become durable unnoticed, every
device's newest reading is handed over again, from history. The state service keeps what is newest, so handing over too
much, twice or out of order is harmless.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import psycopg
from google.protobuf import timestamp_pb2
from psycopg_pool import PoolTimeout

from ingest_service.newest import newest_readings
from ingest_service.readings import KINDS, METER, KeyedRows, Kind, join, newest_by_device
from ingest_service.registry import Registry
from wattstream import logs
from wattstream.api.state.v1 import state_pb2
from wattstream.postgres import Pool

if TYPE_CHECKING:
    from wattstream.api.state.v1.state_pb2_grpc import StateServiceAsyncStub

_READINGS_A_CALL = 5000
_MERGE_AT = 50_000
_RETRY_S = 1.0
# Under load most of the time is left to the readings; what is overtaken meanwhile need not be handed over.
_REST, _LONGEST_REST_S = 9, 3.0

log = logs.get()


@dataclass(frozen=True)
class Timing:
    """How often and how long, in seconds.

    Attributes:
        interval_s: least time between two hand-overs.
        deadline_s: how long one call may take.
        probe_s: how often to ask, when there is nothing to hand over, whether the store is empty.
    """

    interval_s: float
    deadline_s: float
    probe_s: float


class HandOver:
    """Takes stored rows with `offer`; `run` hands them over."""

    def __init__(
        self,
        pool: Pool,
        registry: Registry,
        stub: "StateServiceAsyncStub",
        timing: Timing,
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._stub = stub
        self._timing = timing
        self._waiting: dict[Kind, list[KeyedRows]] = {kind: [] for kind in KINDS}
        self._unmerged = 0
        self._arrived = asyncio.Event()
        self._merge_at = _MERGE_AT
        self._store_id: str | None = None
        self._incomplete = False
        self._failing = False

    def offer(self, stored: list[KeyedRows], is_all: bool) -> None:
        """Take rows that have just become durable; unless `is_all`, there may be others of which nothing is known."""
        for rows in stored:
            self._keep(rows)
        self._incomplete |= not is_all
        self._arrived.set()

    async def run(self) -> None:
        """Hand over what is offered, until cancelled. Without an offer, ask now and then whether the store is empty."""
        while True:
            try:
                async with asyncio.timeout(self._timing.probe_s):
                    await self._arrived.wait()
            except TimeoutError:
                pass
            started = time.monotonic()
            try:
                await self._hand_over_waiting()
            except (grpc.aio.AioRpcError, psycopg.Error, PoolTimeout, TimeoutError) as error:
                if not self._failing:
                    log.warning("hand-over failed; trying again and again", error=_name(error))
                self._failing = True
                await asyncio.sleep(_RETRY_S)
            else:
                if self._failing:
                    log.info("hand-over works again")
                self._failing = False
                took_s = time.monotonic() - started
                await asyncio.sleep(max(self._timing.interval_s, min(_REST * took_s, _LONGEST_REST_S)))

    async def flush(self) -> None:
        """Hand over what waits, once; for shutdown. What is not handed over then is so after the next start.

        Raises:
            grpc.aio.AioRpcError: the state service is away.
        """
        if any(self._waiting.values()):
            await self._apply(self._take())

    async def _hand_over_waiting(self) -> None:
        self._arrived.clear()
        taken = self._take()
        try:
            store_id = await self._apply(taken)
        except BaseException:
            for rows in taken:
                self._keep(rows)
            self._arrived.set()
            raise
        if self._incomplete or store_id != self._store_id:
            await self._hand_over_everything(store_id)

    async def _hand_over_everything(self, store_id: str) -> None:
        log.info("handing over every device's newest reading", store_id=store_id)
        self._incomplete = False
        self._store_id = None
        async for rows in newest_readings(self._pool, self._registry):
            await self._apply([rows])
        self._store_id = store_id

    async def _apply(self, parts: list[KeyedRows]) -> str:
        """Send rows, in calls of bounded size; return which store the state service has."""
        slices: list[KeyedRows | None] = [
            rows.take(slice(start, start + _READINGS_A_CALL))
            for rows in parts
            for start in range(0, len(rows), _READINGS_A_CALL)
        ]
        store_id = ""
        for rows in slices or [None]:
            request = state_pb2.ApplyReadingsRequest(readings=self._messages(rows) if rows else ())
            store_id = (await self._stub.ApplyReadings(request, timeout=self._timing.deadline_s)).store_id
        return store_id

    def _keep(self, rows: KeyedRows) -> None:
        if not len(rows):
            return
        self._waiting[rows.kind].append(rows)
        self._unmerged += len(rows)
        if self._unmerged > self._merge_at:
            merged = self._take()
            for part in merged:
                self._waiting[part.kind].append(part)
            self._unmerged = sum(len(part) for part in merged)
            self._merge_at = _MERGE_AT + 2 * self._unmerged

    def _take(self) -> list[KeyedRows]:
        parts = [newest_by_device(join(rows)) for rows in self._waiting.values() if rows]
        self._waiting = {kind: [] for kind in KINDS}
        self._unmerged = 0
        return parts

    def _messages(self, rows: KeyedRows) -> Iterator[state_pb2.ReceivedReading]:
        fill = _fill_meter if rows.kind is METER else _fill_vehicle
        ids, meter_ids = self._registry.ids[rows.kind], self._registry.ids[METER]
        columns = (rows.key, rows.meter_key, rows.recorded_at_us, rows.values, rows.received_at_us)
        for key, meter_key, recorded_at_us, values, received_at_us in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            message = state_pb2.ReceivedReading()
            message.received_at.FromMicroseconds(received_at_us)
            fill(message, ids[key], meter_ids.get(meter_key, ""), values).FromMicroseconds(recorded_at_us)
            yield message


def _fill_meter(
    message: state_pb2.ReceivedReading, meter_id: str, _: str, values: Sequence[float]
) -> timestamp_pb2.Timestamp:
    reading = message.reading.meter
    reading.meter_id = meter_id
    reading.kwh_consumed_ac, reading.voltage = values
    return reading.recorded_at


def _fill_vehicle(
    message: state_pb2.ReceivedReading, vehicle_id: str, meter_id: str, values: Sequence[float]
) -> timestamp_pb2.Timestamp:
    reading = message.reading.vehicle
    reading.vehicle_id, reading.meter_id = vehicle_id, meter_id
    reading.soc, reading.kwh_delivered_dc, reading.battery_temp = values
    return reading.recorded_at


def _name(error: BaseException) -> str:
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
