"""One message at a time: stored, and answered after its commit, or refused when that would take long."""

import asyncio
import time
from typing import Protocol

from ingest_service.batches import Message, Verdict
from ingest_service.config import IngestConfig
from ingest_service.framing import UNARY
from ingest_service.intake import Intake
from ingest_service.limits import PeerLimits
from ingest_service.validation import Limits
from wattstream.errors import AwayError, OverloadedError, bad_field

_FULL = "too many readings are waiting to be stored"


class Database(Protocol):
    """What is known of the database."""

    @property
    def away(self) -> bool:
        """Whether it was away when last it was needed."""


class Ingestion:
    """Takes messages that cannot wait for room."""

    def __init__(
        self, intake: Intake, limits: PeerLimits, database: Database, wait_s: float, most_readings: int
    ) -> None:
        self._intake = intake
        self._limits = limits
        self._database = database
        self._wait_s = wait_s
        self._most_readings = most_readings
        self._promised: set[asyncio.Future[Verdict]] = set()

    async def take(self, data: bytes, peer: str) -> Verdict:
        """Store the readings of an IngestReadingsRequest, given as its bytes; wait for their commit, but not for long.

        Raises:
            InvalidRequestError: it holds no reading, or too many.
            AwayError: the database is away; the readings may be stored or not.
            OverloadedError: there is no room, or the commit did not come in time; likewise. Or the peer has sent more
                than it may; then they are not stored.
        """
        self._limits.check(peer)
        if self._database.away:
            raise AwayError("the database is away")
        verdict = await self._stored(data, peer)
        if verdict.refusal:
            raise bad_field("readings", verdict.refusal)
        if not verdict.readings:
            raise bad_field("readings", f"is empty; must hold 1 to {self._most_readings} readings")
        return verdict

    def give_up(self) -> None:
        """End all waiting; whether the readings will be stored nobody is told."""
        for promise in list(self._promised):
            promise.cancel()

    async def _stored(self, data: bytes, peer: str) -> Verdict:
        promise: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._promised.add(promise)

        def settle(told: Verdict | Exception) -> None:
            if promise.done():
                return
            if isinstance(told, Exception):
                promise.set_exception(told)
            else:
                promise.set_result(told)

        try:
            if not self._intake.put_now(Message(data, UNARY, now_us(), settle)):
                raise OverloadedError(_FULL)
            self._limits.spend(peer, data, UNARY)
            async with asyncio.timeout(self._wait_s):
                return await promise
        except TimeoutError:
            if self._database.away:
                raise AwayError("the database is away") from None
            raise OverloadedError(_FULL) from None
        finally:
            self._promised.discard(promise)


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
