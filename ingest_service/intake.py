"""Where messages wait to be stored: bounded in bytes, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from ingest_service.batches import Batch, Message

# Enough for numpy to be fast, and little enough for the event loop not to notice.
_BATCH_BYTES = 256 * 1024
# Enough for the next group. Decoded, readings may take many times their bytes: most of what waits stays bytes.
_BATCHES_AHEAD = 8
_OVERHEAD_BYTES = 600  # what a message costs beside its own bytes, about


class Intake:
    """Messages that wait. They are decoded in batches: a few ahead, the others when they are taken.

    Args:
        prepare: decodes and judges messages.
        most_bytes: how much may wait, or be under way to the database; one message always may.

    Attributes:
        prepare: as given.
    """

    def __init__(self, prepare: Callable[[Sequence[Message]], Batch], most_bytes: int) -> None:
        self.prepare = prepare
        self._most_bytes = most_bytes
        self._newest: list[Message] = []
        self._newest_bytes = 0
        self._raw: deque[list[Message]] = deque()  # each enough for a batch, and older than the newest
        self._batches: deque[Batch] = deque()  # older than the raw
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._freed = asyncio.Event()
        self._turn = asyncio.Lock()

    def put_now(self, message: Message) -> bool:
        """Take a message in if there is room for it, and no other waits for room; tell whether that was so."""
        if self._turn.locked() or not self._fits(message):
            return False
        self._put(message)
        return True

    async def put(self, message: Message) -> None:
        """Take a message in as soon as there is room for it; first come, first served."""
        if not self.put_now(message):
            async with self._turn:
                while not self._fits(message):
                    self._freed.clear()
                    await self._freed.wait()
                self._put(message)

    def _put(self, message: Message) -> None:
        self._newest.append(message)
        size = len(message.data)
        self._newest_bytes += size
        self._bytes += size + _OVERHEAD_BYTES
        if self._newest_bytes >= _BATCH_BYTES:
            self._close_newest()
            if len(self._batches) < _BATCHES_AHEAD:
                self._decode_oldest()
            self._changed.set()
        self._arrived.set()

    def is_busy(self) -> bool:
        """Tell whether messages wait."""
        return bool(self._newest or self._raw or self._batches)

    async def arrival(self) -> None:
        """Return when messages wait."""
        await self._arrived.wait()

    def has_batch(self) -> bool:
        """Tell whether messages for a whole batch wait."""
        return bool(self._raw or self._batches)

    async def gather(self, most_s: float) -> None:
        """Return when messages for a whole batch wait, or after `most_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while most_s > 0 and not self.has_batch():
                    await self.change()

    async def change(self) -> None:
        """Return when messages for another batch have come, or batches have been released."""
        self._changed.clear()
        await self._changed.wait()

    def take(self, readings: int) -> list[Batch]:
        """Take batches of at least so many readings, or all that wait."""
        taken: list[Batch] = []
        while readings > 0 and self.is_busy():
            if not self._batches:
                if not self._raw:
                    self._close_newest()
                self._decode_oldest()
            taken.append(self._batches.popleft())
            readings -= sum(framed.readings for framed in taken[-1].framed)
        if not self.is_busy():
            self._arrived.clear()
        return taken

    def release(self, batches: Sequence[Batch]) -> None:
        """Make the room of batches free again."""
        self._bytes -= sum(len(message.data) + _OVERHEAD_BYTES for batch in batches for message in batch.messages)
        self._freed.set()
        self._changed.set()

    def _fits(self, message: Message) -> bool:
        return self._bytes == 0 or self._bytes + len(message.data) + _OVERHEAD_BYTES <= self._most_bytes

    def _close_newest(self) -> None:
        self._raw.append(self._newest)
        self._newest, self._newest_bytes = [], 0

    def _decode_oldest(self) -> None:
        self._batches.append(self.prepare(self._raw.popleft()))
