"""The way in that all calls share: decode, judge, store, and say what became of each reading."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ingest_service.config import IngestConfig
from ingest_service.decoding import decode
from ingest_service.registry import Registry
from ingest_service.validation import Judged, Limits, judge
from ingest_service.verdicts import Verdict, nothing_stored, verdict
from ingest_service.writer import BatchOutcome, Writer
from wattstream.api.telemetry.v1 import telemetry_pb2
from wattstream.errors import AwayError, OverloadedError, bad_field

Readings = Sequence[telemetry_pb2.Reading]


@dataclass(frozen=True)
class InFlight:
    """A batch whose commit may still be awaited.

    Attributes:
        readings: how many readings were sent in it.
        judged: what is acceptable in it, and what is not.
        outcome: set after its commit; None where nothing in it is acceptable.
    """

    readings: int
    judged: Judged
    outcome: "asyncio.Future[BatchOutcome] | None"

    def done(self) -> bool:
        """Tell whether the verdict is there."""
        return self.outcome is None or self.outcome.done()

    async def verdict(self) -> Verdict:
        """Wait for the commit, and return what became of the batch."""
        return nothing_stored(self.judged) if self.outcome is None else verdict(self.judged, await self.outcome)


class Ingestion:
    """Takes batches in, for calls that wait for room and for calls that cannot."""

    def __init__(self, config: IngestConfig, registry: Registry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer
        self._limits = limits_of(config)
        self._max_batch = config.max_batch_readings
        self._unary_wait_s = config.unary_wait_s

    def refusal(self, readings: Readings) -> str:
        """Return why a batch cannot be taken as a whole, or "" if it can."""
        if len(readings) <= self._max_batch:
            return ""
        return f"holds {len(readings)} readings; at most {self._max_batch} are accepted in one message"

    async def take(self, readings: Readings) -> InFlight:
        """Take a batch in, waiting for room."""
        judged = self._judge(readings)
        outcome = await self._writer.submit(judged.batch) if len(judged.batch) else None
        return InFlight(len(readings), judged, outcome)

    async def take_now(self, readings: Readings) -> Verdict:
        """Take a batch in and wait for its commit, but not for long.

        Raises:
            InvalidRequestError: it holds no reading, or too many.
            AwayError: the database is away; the readings may be stored or not.
            OverloadedError: there is no room, or the commit did not come in time; likewise.
        """
        if not readings:
            raise bad_field("readings", f"is empty; must hold 1 to {self._max_batch} readings")
        if refusal := self.refusal(readings):
            raise bad_field("readings", refusal)
        judged = self._judge(readings)
        outcome = self._writer.submit_now(judged.batch) if len(judged.batch) else None
        try:
            async with asyncio.timeout(self._unary_wait_s):
                return await InFlight(len(readings), judged, outcome).verdict()
        except TimeoutError:
            if self._writer.away:
                raise AwayError("the database is away") from None
            raise OverloadedError("too many readings are waiting to be stored") from None

    def _judge(self, readings: Readings) -> Judged:
        return judge(decode(readings), self._registry.keys, self._limits, now_us())


def limits_of(config: IngestConfig) -> Limits:
    """Return what a reading may hold under `config`."""
    return Limits(
        ranges={
            "kwh_consumed_ac": (0, config.max_kwh, "kWh"),
            "voltage": (0, config.max_voltage_v, "V"),
            "soc": (0, 100, "percent"),
            "kwh_delivered_dc": (0, config.max_kwh, "kWh"),
            "battery_temp": (config.min_battery_temp_c, config.max_battery_temp_c, "degrees Celsius"),
        },
        max_future_s=config.max_future_s,
        retention_days=config.retention_days,
    )


def now_us() -> int:
    """Return the server's clock, in microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
