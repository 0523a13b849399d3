"""The webhook: tells one receiver of every alert and every change of one, in order of revision, at least once.

How far it has been told is in the database, noted after each delivery. One process at a time delivers: the one whose
session holds a lock. It asks that session for the next alert before each attempt, so that a process which has lost its
session delivers no more than the attempt that is under way.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from psycopg import AsyncConnection

from analytics_service.alerts import changes, delivery
from analytics_service.alerts.attempts import Answer, Attempts, Patience, Verdict
from analytics_service.alerts.changes import Position
from analytics_service.alerts.delivery import Endpoint, Event
from analytics_service.alerts.messages import Alert
from analytics_service.alerts.signing import keys_of
from wattstream import logs
from wattstream.postgres import Pool
from wattstream.resources import read

_SQL = "analytics_service.sql"
_DEADLINE_S = 10.0
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_PRINTABLE = re.compile(r"[!-~]+")
_URL_RULE = "WEBHOOK_URL: must be an http:// or https:// URL with a host, in ASCII, without a fragment"

log = logs.get()


def endpoint_of(url: str, secrets: str, timeout_s: float) -> Endpoint:
    """Return the endpoint that is configured.

    Its name is made from the URL without user, password and query, which may be secret and change.

    Raises:
        ValueError: the URL or the secret cannot be used; the message names the setting and holds nothing of it.
    """
    identity = _identity(url)
    try:
        keys = keys_of(secrets)
    except ValueError as error:
        raise ValueError(f"WEBHOOK_SECRET: {error}") from None
    return Endpoint(hashlib.sha256(identity.encode()).hexdigest()[:16], url, keys, timeout_s)


def _identity(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError(_URL_RULE) from None
    if not _HOST.fullmatch(parts.hostname or "") or not _PRINTABLE.fullmatch(url) or parts.fragment:
        raise ValueError(_URL_RULE)
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path or '/'}"


class Webhook:
    """Delivers to an endpoint.

    Args:
        pool: of the database; one of its connections is held while this process is the one that delivers.
        endpoint: where to.
        poll_s: how often to look for changes.
        patience: how long to wait after failures.
    """

    def __init__(self, pool: Pool, endpoint: Endpoint, *, poll_s: float, patience: Patience | None = None) -> None:
        self._pool = pool
        self._endpoint = endpoint
        self._poll_s = poll_s
        self._attempts = Attempts(patience or Patience())
        self._log = log.bind(webhook=endpoint.name)

    async def run(self) -> None:
        """Deliver, for ever, whenever no other process does."""
        async with delivery.open_session(self._endpoint) as session:
            away = False
            while True:
                try:
                    async with self._turn() as connection:
                        if connection is not None:
                            away = False
                            await self._deliver(connection, session)
                except Exception as error:  # noqa: BLE001 - whatever it was, deliveries go on after it
                    if not away:
                        self._log.warning("webhook deliveries interrupted", error=type(error).__name__)
                    away = True
                await asyncio.sleep(self._poll_s)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[AsyncConnection[Any] | None]:
        """Yield a connection that holds the lock, or None while another session does."""
        async with self._pool.connection() as connection:
            held = True
            try:
                (held,) = await _ask(connection, "webhook_lock.sql", webhook=self._endpoint.name)
                yield connection if held else None
            finally:
                if held:  # or perhaps: then too the session must not go back to the pool with the lock
                    await connection.close()

    async def _deliver(self, connection: AsyncConnection[Any], session: aiohttp.ClientSession) -> None:
        self._log.info("delivering to the webhook")
        position = await self._begin(connection)
        while True:
            async with asyncio.timeout(_DEADLINE_S), connection.transaction():
                alerts, after = await changes.page(connection, position, most=1)
            if not alerts:
                if after == position:
                    await asyncio.sleep(self._poll_s)
                position = after
                continue
            verdict = await self._tell(session, alerts[0])
            if verdict.done:
                await _ask(connection, "webhook_told.sql", webhook=self._endpoint.name, revision=after.told)
                position = after
            await asyncio.sleep(verdict.wait_s)

    async def _begin(self, connection: AsyncConnection[Any]) -> Position:
        await _ask(connection, "webhook_begin.sql", webhook=self._endpoint.name)
        told, first = await _ask(connection, "webhook_progress.sql", webhook=self._endpoint.name)
        return Position(told, first)

    async def _tell(self, session: aiohttp.ClientSession, alert: Alert) -> Verdict:
        event = delivery.to_event(alert)
        answer = await delivery.attempt(session, self._endpoint, event)
        now_s = asyncio.get_running_loop().time()
        verdict = self._attempts.judge(event.event_id, answer, now_s=now_s, jitter=random.random())  # noqa: S311
        self._report(event, answer, verdict)
        return verdict

    def _report(self, event: Event, answer: Answer, verdict: Verdict) -> None:
        said = self._log.bind(id=event.event_id, answer=answer.reason)
        if answer.delivered:
            said.info("webhook delivered")
        elif verdict.done:
            said.error("webhook refused for too long: the receiver is not told of this change")
        elif answer.gone:
            said.error("the receiver wants no more webhooks: deliveries pause", seconds=verdict.wait_s)
        else:
            said.warning("webhook not delivered", again_in_seconds=round(verdict.wait_s, 1))


async def _ask(connection: AsyncConnection[Any], statement: str, **question: Any) -> Any:
    async with asyncio.timeout(_DEADLINE_S), connection.transaction():
        cursor = await connection.execute(read(_SQL, statement), question)
        return await cursor.fetchone() if cursor.description else None
