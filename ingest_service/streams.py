"""Streams of batches: taken in ahead of their commits, acknowledged in order after them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from ingest_service.ingestion import InFlight, Ingestion, Readings
from ingest_service.verdicts import Verdict
from wattstream.errors import AwayError

SHUTTING_DOWN = "the server is shutting down; connect again and resend what has no acknowledgement"


@dataclass(frozen=True)
class NamedBatch:
    """A batch as it stands in a stream, under the name that its sender gave it."""

    batch_id: int
    readings: Readings


@dataclass(frozen=True)
class Acknowledgement:
    """A batch of a stream that is settled; `refusal` says why it cannot be stored as a whole, if that is so."""

    batch_id: int
    readings: int
    verdict: Verdict
    refusal: str = ""


@dataclass(frozen=True)
class _Entry:
    batch_id: int
    readings: int
    in_flight: InFlight | None
    refusal: str

    def done(self) -> bool:
        return self.in_flight is None or self.in_flight.done()

    async def acknowledgement(self) -> Acknowledgement:
        verdict = Verdict(0, 0, []) if self.in_flight is None else await self.in_flight.verdict()
        return Acknowledgement(self.batch_id, self.readings, verdict, self.refusal)


class Streams:
    """All open streams.

    A stream reads ahead of its acknowledgements by a window of batches, and stops reading while the writer has no room:
    then gRPC's flow control holds the sender.
    """

    def __init__(self, ingestion: Ingestion, window_batches: int) -> None:
        self._ingestion = ingestion
        self._window = window_batches
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False

    def drain(self) -> None:
        """Let every stream end after the acknowledgement of what it has taken in."""
        self._draining = True
        for reader in self._readers:
            reader.cancel()

    async def acknowledge(self, batches: AsyncIterator[NamedBatch]) -> AsyncGenerator[list[Acknowledgement]]:
        """Take in the batches of one stream and yield acknowledgements in their order, several where several are due.

        Raises:
            AwayError: the service is shutting down; all that was taken in has been acknowledged.
        """
        if self._draining:
            raise AwayError(SHUTTING_DOWN)
        taken: deque[_Entry] = deque()
        changed = asyncio.Event()
        slots = asyncio.Semaphore(self._window)
        reader = asyncio.create_task(self._read(batches, taken, changed, slots))
        reader.add_done_callback(lambda _: changed.set())
        self._readers.add(reader)
        try:
            while taken or not reader.done():
                if not taken:
                    await changed.wait()
                    changed.clear()
                    continue
                acknowledgements: list[Acknowledgement] = []
                # One that lists rejections is the last of its response, which so stays below what clients accept.
                while not acknowledgements or (
                    taken and taken[0].done() and not acknowledgements[-1].verdict.rejections
                ):
                    acknowledgements.append(await taken.popleft().acknowledgement())
                    slots.release()
                yield acknowledgements
            if reader.cancelled():
                raise AwayError(SHUTTING_DOWN)
            await reader
        finally:
            self._readers.discard(reader)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(
        self,
        batches: AsyncIterator[NamedBatch],
        taken: "deque[_Entry]",
        changed: asyncio.Event,
        slots: asyncio.Semaphore,
    ) -> None:
        async for batch in batches:
            await slots.acquire()
            refusal = self._ingestion.refusal(batch.readings)
            in_flight = None if refusal else await self._ingestion.take(batch.readings)
            taken.append(_Entry(batch.batch_id, len(batch.readings), in_flight, refusal))
            changed.set()
