"""Hands changes to those who watch: a snapshot first, then changes, with never more than one a device in hand."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from state_service import changes
from state_service.merge import is_newer
from state_service.states import Selection, State
from wattstream import logs
from wattstream.errors import AwayError, OverloadedError

_MESSAGE_STATES = 500
_BACKOFF_S = 0.1, 2.0
_CONNECT_S = 2.0

log = logs.get()


@dataclass(frozen=True)
class Update:
    """What a watcher is told at a time; `skipped` values were overtaken since the update before."""

    states: list[State]
    snapshot: bool = False
    complete: bool = False
    skipped: int = 0


@dataclass(eq=False)
class Watcher:
    """One who watches: for each device the newest change not sent yet, and when the one sent last was recorded.

    Its memory grows with the number of devices watched, never with the number of changes.
    """

    selection: Selection
    needs_snapshot: bool = True
    pending: dict[str, State] = field(default_factory=dict)
    sent_us: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, states: Iterable[State]) -> None:
        """Take in changes, in any order; what is not newer than what was sent is none."""
        for state in states:
            if state.key not in self.selection or not self._is_news(state):
                continue
            waiting = self.pending.get(state.key)
            self.skipped += waiting is not None and waiting.recorded_at_us != state.recorded_at_us
            if is_newer(state, waiting):
                self.pending[state.key] = state
        if self.pending:
            self.wake.set()

    def start_snapshot(self) -> None:
        """Forget what a snapshot that is read from now on will hold, or hold something newer of."""
        self.needs_snapshot = False
        self.pending.clear()
        self.sent_us.clear()

    def send(self, states: Iterable[State]) -> list[State]:
        """Note that states are being sent, and return those of them that are news."""
        news = [state for state in states if self._is_news(state)]
        self.sent_us.update((state.key, state.recorded_at_us) for state in news)
        return news

    def take(self) -> Update:
        """Return the next changes to send, the longest waiting first, at most 500."""
        keys = [key for key, _ in zip(self.pending, range(_MESSAGE_STATES), strict=False)]
        states = self.send([self.pending.pop(key) for key in keys])
        skipped = self.skipped
        if states:
            self.skipped = 0
        return Update(states, skipped=skipped)

    def _is_news(self, state: State) -> bool:
        return state.recorded_at_us > self.sent_us.get(state.key, -1)


class Feed:
    """All watchers of this process, fed by one subscription.

    Args:
        subscribe: opens the subscription; see changes.subscribe.
        snapshot: reads the states of a selection.
        max_watchers: how many may watch at a time.
    """

    def __init__(
        self,
        subscribe: Callable[[], AsyncGenerator[str | bytes]],
        snapshot: Callable[[Selection], AsyncIterator[list[State]]],
        max_watchers: int,
    ) -> None:
        self._subscribe = subscribe
        self._snapshot = snapshot
        self._max_watchers = max_watchers
        self._watchers: set[Watcher] = set()
        self._subscribed = asyncio.Event()
        self._store_id = ""
        self._draining = False

    async def run(self) -> None:
        """Keep the subscription, for ever; after a loss, every watcher gets a new snapshot."""
        delay_s = _BACKOFF_S[0]
        while True:
            try:
                async with aclosing(self._subscribe()) as messages:
                    async for message in messages:
                        delay_s = _BACKOFF_S[0]
                        self._receive(message)
            except Exception as error:  # noqa: BLE001 - whatever it was, the subscription has to begin anew
                if self._subscribed.is_set():
                    log.warning("subscription lost", error=type(error).__name__, reason=str(error))
            self._subscribed.clear()
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _BACKOFF_S[1])

    def drain(self) -> None:
        """End every watch, and let no new one begin."""
        self._draining = True
        for watcher in self._watchers:
            watcher.wake.set()

    async def watch(self, selection: Selection) -> AsyncIterator[Update]:
        """Yield a snapshot of the selection, then changes, until the caller goes or the service shuts down.

        The watcher is fed before the snapshot is read: no change falls between the two.

        Raises:
            OverloadedError: too many watch already.
            AwayError: the store is away, or the service shuts down.
        """
        await self._wait_for_subscription()
        with self._enter(selection) as watcher:
            while True:
                self._refuse_if_draining()
                if watcher.needs_snapshot and self._subscribed.is_set():
                    async for update in self._send_snapshot(watcher):
                        yield update
                elif watcher.pending:
                    update = watcher.take()
                    if update.states:
                        yield update
                else:
                    watcher.wake.clear()
                    await watcher.wake.wait()

    async def _send_snapshot(self, watcher: Watcher) -> AsyncIterator[Update]:
        watcher.start_snapshot()
        async for states in self._snapshot(watcher.selection):
            self._refuse_if_draining()
            yield Update(watcher.send(states), snapshot=True)
        yield Update([], snapshot=True, complete=True)

    def _receive(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._subscribed.set()
            self._start_anew(message)
        elif self._watchers:
            change = changes.decode(message)
            # The store was emptied: what fills it now need not be newer than what was sent before.
            if change.store_id != self._store_id:
                self._start_anew(change.store_id)
            for watcher in self._watchers:
                watcher.offer(change.states)

    def _start_anew(self, store_id: str) -> None:
        self._store_id = store_id
        for watcher in self._watchers:
            watcher.needs_snapshot = True
            watcher.wake.set()

    async def _wait_for_subscription(self) -> None:
        self._refuse_if_draining()
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._subscribed.wait()
        except TimeoutError:
            raise AwayError("the state store is away") from None

    @contextmanager
    def _enter(self, selection: Selection) -> Iterator[Watcher]:
        if len(self._watchers) >= self._max_watchers:
            raise OverloadedError(f"{self._max_watchers} watch already, which is the limit")
        watcher = Watcher(selection)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def _refuse_if_draining(self) -> None:
        if self._draining:
            raise AwayError("the server is shutting down; watch again")
