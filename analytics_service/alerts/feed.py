"""Tells those who watch of alerts: those that are open first, then each change, in order of revision."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from analytics_service.alerts.changes import Changes, Position
from analytics_service.alerts.messages import Alert
from analytics_service.alerts.selection import Selection
from wattstream import logs
from wattstream.errors import AwayError, OverloadedError, bad_field

# The contract promises a word every 30 seconds.
_HEARTBEAT_S = 20.0
_KEPT = 1_000

log = logs.get()


@dataclass(frozen=True)
class Update:
    """What a watcher is told at a time, and the position that it has then."""

    alerts: list[Alert]
    position: Position
    caught_up: bool


class Feed:
    """All watchers of this process, fed by one who looks for changes while somebody watches.

    The newest changes are kept for all of them together. A watcher that is further behind reads the database, so that
    it costs no more memory than a page, however slow it is.

    Args:
        changes: where they are read.
        poll_s: how often to look for changes.
        max_watchers: how many may watch at a time.
        heartbeat_s: how long to leave a watcher without a word.
        kept: how many of the newest changes are kept.
    """

    def __init__(
        self,
        changes: Changes,
        *,
        poll_s: float,
        max_watchers: int,
        heartbeat_s: float = _HEARTBEAT_S,
        kept: int = _KEPT,
    ) -> None:
        self._changes = changes
        self._poll_s = poll_s
        self._max_watchers = max_watchers
        self._heartbeat_s = heartbeat_s
        self._kept = kept
        self._watchers = 0
        self._watched = asyncio.Event()
        self._news = asyncio.Event()
        self._recent: deque[Alert] = deque()
        self._seen = Position(0)  # how far `recent` goes
        self._floor = 0  # after which revision it begins
        self._away = False
        self._draining = False

    async def run(self) -> None:
        """Look for changes, for ever, while somebody watches."""
        while True:
            await self._watched.wait()
            try:
                await self._begin()
                while self._watched.is_set():
                    await self._poll()
                    self._away = False
                    await asyncio.sleep(self._poll_s)
            except Exception as error:  # noqa: BLE001 - whatever it was, who watches is told once it is over
                if not self._away:
                    log.warning("alerts cannot be read", error=type(error).__name__)
                self._away = True
                await asyncio.sleep(self._poll_s)

    def drain(self) -> None:
        """End every watch, and let no new one begin."""
        self._draining = True
        self._wake()

    async def watch(self, selection: Selection, position: Position | None) -> AsyncIterator[Update]:
        """Yield what there is first, or with a position what has changed since; then changes, until the caller goes.

        Raises:
            InvalidRequestError: the position is ahead of all changes.
            OverloadedError: too many watch already.
            AwayError: the database is away, or the service shuts down.
        """
        self._refuse_if_draining()
        with self._enter():
            position = await self._start(position)
            async for update in self._catch_up(selection, position):
                yield update
                position = update.position
            async for update in self._follow(selection, position):
                yield update

    async def _start(self, position: Position | None) -> Position:
        revision = await self._changes.revision()
        if position is None:
            return Position(0, revision)
        if max(position.told, position.first) > revision:
            raise bad_field("resume_token", "is ahead of all alerts; watch without it")
        return position

    async def _catch_up(self, selection: Selection, position: Position) -> AsyncIterator[Update]:
        while True:
            self._refuse_if_draining()
            chosen = selection.begins_with if position.told < position.first else selection.concerns
            alerts, after = await self._changes.page(position, selection.first_state)
            if after == position:
                yield Update([], position, caught_up=True)
                return
            position = after
            if told := [alert for alert in alerts if chosen(alert)]:
                yield Update(told, position, caught_up=False)

    async def _follow(self, selection: Selection, position: Position) -> AsyncIterator[Update]:
        quiet_until = asyncio.get_running_loop().time() + self._heartbeat_s
        while True:
            self._refuse_if_draining()
            news = self._news
            alerts, position = await self._after(position)
            if told := [alert for alert in alerts if selection.concerns(alert)]:
                yield Update(told, position, caught_up=True)
            elif alerts or await _comes(news, quiet_until):
                continue
            else:
                self._refuse_if_away()
                yield Update([], position, caught_up=True)
            quiet_until = asyncio.get_running_loop().time() + self._heartbeat_s

    async def _after(self, position: Position) -> tuple[list[Alert], Position]:
        if position.told < self._floor:
            return await self._changes.page(position)
        alerts: list[Alert] = []
        for alert in reversed(self._recent):
            if alert.revision <= position.told:
                break
            alerts.append(alert)
        alerts = alerts[: -self._changes.most - 1 : -1]
        return alerts, position.after(alerts, self._changes.most)

    async def _begin(self) -> None:
        """Keep changes from now on; who is behind reads those before."""
        revision = await self._changes.revision()
        self._recent.clear()
        self._seen = Position(revision)
        self._floor = revision
        self._wake()

    async def _poll(self) -> None:
        alerts: list[Alert] | None = None
        while alerts is None or len(alerts) == self._changes.most:
            alerts, self._seen = await self._changes.page(self._seen)
            self._recent.extend(alerts)
            while len(self._recent) > self._kept:
                self._floor = self._recent.popleft().revision
            if alerts:
                self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    @contextmanager
    def _enter(self) -> Iterator[None]:
        if self._watchers >= self._max_watchers:
            raise OverloadedError(f"{self._max_watchers} watch already, which is the limit")
        self._watchers += 1
        self._watched.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._watched.clear()

    def _refuse_if_draining(self) -> None:
        if self._draining:
            raise AwayError("the server is shutting down; watch again")

    def _refuse_if_away(self) -> None:
        if self._away:
            raise AwayError("the database is away; watch again")


async def _comes(news: asyncio.Event, until: float) -> bool:
    """Tell whether there are news before a time of the loop's clock."""
    try:
        async with asyncio.timeout_at(until):
            await news.wait()
    except TimeoutError:
        return False
    return True
