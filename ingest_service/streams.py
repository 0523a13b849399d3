"""Streams of messages: taken in ahead of their commits, told in order after them what became of them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from ingest_service.batches import Message, Verdict
from ingest_service.framing import UPLOAD, Form
from ingest_service.ingestion import now_us
from ingest_service.intake import Intake
from ingest_service.limits import PeerLimits
from wattstream.errors import AwayError

SHUTTING_DOWN = "the server is shutting down; connect again and resend what has no acknowledgement"
# Enough for several groups under way, whatever the number of streams; and for one stream what a few ms of the database
# take, which is as long as it should keep others waiting.
_ALL_WINDOWS_BYTES = 8 * 1024 * 1024
_LEAST_WINDOW_BYTES = 32 * 1024


@dataclass(eq=False)
class _Stream:
    """What is under way of one stream.

    Attributes:
        form: what its messages are.
        peer: whose it is.
        taken: how many messages have been taken in.
        settled: how many of them, from the first on without a gap, are settled.
        early: by number, what is to be told of messages that are settled before others that came before them.
        waiting_bytes: size of the messages whose sender has not been told yet; there is none where it is 0.
        told: what it will be told of those that have been stored: verdicts, or what kept a message from being stored.
        told_bytes: size of those messages.
        changed: set when something here has changed.
    """

    form: Form
    peer: str
    taken: int = 0
    settled: int = 0
    early: dict[int, tuple[Verdict | Exception, int]] = field(default_factory=dict)
    waiting_bytes: int = 0
    told: list[Verdict | Exception] = field(default_factory=list)
    told_bytes: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: bool = False

    def settle(self, number: int, size: int, told: Verdict | Exception) -> None:
        """Note what is to be told of a message, which is told after all that came before it."""
        self.early[number] = told, size
        while self.settled in self.early:
            due, due_bytes = self.early.pop(self.settled)
            self.told.append(due)
            self.told_bytes += due_bytes
            self.settled += 1
            self.changed.set()


class Streams:
    """All open streams.

    A stream reads ahead of its verdicts by a window, and stops reading while there is no room for its next message:
    then gRPC's flow control holds the sender. The more streams there are, the smaller is the window of each, so that
    no commit takes long because of one stream.

    A peer that has sent more than it may is refused: its stream ends, after it was told of all that was taken in, with
    an error that says when to come again. An upload is held instead, by flow control: refused, it would have to send
    all of it again, and so would never come to its end.
    """

    def __init__(self, intake: Intake, limits: PeerLimits, window_bytes: int) -> None:
        self._intake = intake
        self._limits = limits
        self._window_bytes = window_bytes
        self._open: dict[_Stream, asyncio.Task[None]] = {}
        self._draining = False

    def drain(self) -> None:
        """Let every stream end after it was told of all that was taken in."""
        self._draining = True
        for reader in self._open.values():
            reader.cancel()

    def give_up(self) -> None:
        """End every stream; whether what waits will be stored nobody is told."""
        for stream in self._open:
            stream.given_up = True
            stream.changed.set()

    async def verdicts(self, messages: AsyncIterator[bytes], form: Form, peer: str) -> AsyncGenerator[list[Verdict]]:
        """Take in the messages of one stream and yield verdicts in their order, several where several are due.

        Raises:
            AwayError: the service is shutting down; all that was taken in has been told of, unless it was given up.
            OverloadedError: the peer has too many streams, or has sent too much; likewise.
        """
        if self._draining:
            raise AwayError(SHUTTING_DOWN)
        with self._limits.stream(peer):
            async with aclosing(self._verdicts(messages, _Stream(form, peer))) as settled:
                async for due in settled:
                    yield due

    async def _verdicts(self, messages: AsyncIterator[bytes], stream: _Stream) -> AsyncGenerator[list[Verdict]]:
        reader = asyncio.create_task(self._read(messages, stream))
        reader.add_done_callback(lambda _: stream.changed.set())
        self._open[stream] = reader
        try:
            while stream.waiting_bytes or not reader.done():
                await stream.changed.wait()
                stream.changed.clear()
                told, stream.told = stream.told, []
                told_bytes, stream.told_bytes = stream.told_bytes, 0
                for due in _answers(told):
                    yield due
                # Only now: a sender that does not read what it is told must not be read from either.
                stream.waiting_bytes -= told_bytes
                stream.room.set()
                if stream.given_up:
                    break
            if stream.given_up or reader.cancelled():
                raise AwayError(SHUTTING_DOWN)
            await reader
        finally:
            del self._open[stream]
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, messages: AsyncIterator[bytes], stream: _Stream) -> None:
        async for data in messages:
            await self._pay(stream, data)
            size = len(data) + 1  # an empty message counts too
            while stream.waiting_bytes and stream.waiting_bytes + size > self._window():
                stream.room.clear()
                await stream.room.wait()
            message = Message(data, stream.form, now_us(), partial(stream.settle, stream.taken, size))
            stream.taken += 1
            stream.waiting_bytes += size
            if not self._intake.put_now(message):
                await self._put(message, stream, size)

    async def _pay(self, stream: _Stream, data: bytes) -> None:
        if stream.form is not UPLOAD:
            self._limits.check(stream.peer)
        elif wait_s := self._limits.wait_s(stream.peer):
            await asyncio.sleep(wait_s)
        self._limits.spend(stream.peer, data, stream.form)

    def _window(self) -> int:
        return min(self._window_bytes, max(_ALL_WINDOWS_BYTES // len(self._open), _LEAST_WINDOW_BYTES))

    async def _put(self, message: Message, stream: _Stream, size: int) -> None:
        try:
            await self._intake.put(message)
        except asyncio.CancelledError:
            stream.waiting_bytes -= size
            raise


def _answers(told: list[Verdict | Exception]) -> Iterator[list[Verdict]]:
    """Yield verdicts as they are to be sent; one that lists rejections is the last of its answer, which so stays small.

    Raises:
        Exception: a message could not be stored.
    """
    due: list[Verdict] = []
    for verdict in told:
        if isinstance(verdict, Exception):
            if due:
                yield due
            raise verdict
        due.append(verdict)
        if verdict.rejections:
            yield due
            due = []
    if due:
        yield due
