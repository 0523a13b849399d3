"""One attempt to deliver an event to a webhook, over HTTP."""

import email.utils
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
from google.protobuf.json_format import MessageToDict

from analytics_service.alerts.attempts import Answer
from analytics_service.alerts.messages import Alert, to_message
from analytics_service.alerts.signing import signed_headers
from wattstream.api.analytics.v1 import alerts_pb2 as pb

_TYPES = {
    pb.ALERT_STATE_OPEN: "efficiency_alert.open",
    pb.ALERT_STATE_CLOSED: "efficiency_alert.closed",
    pb.ALERT_STATE_WITHDRAWN: "efficiency_alert.withdrawn",
}


@dataclass(frozen=True)
class Endpoint:
    """Where a webhook is, and how its events are signed.

    Attributes:
        name: of the webhook, in the database and in logs; holds no secret.
        url: where events are posted to.
        keys: with which they are signed.
        timeout_s: deadline of an attempt, in seconds.
    """

    name: str
    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    timeout_s: float


@dataclass(frozen=True)
class Event:
    """What is told of an alert: the same id and body at every attempt."""

    event_id: str
    body: bytes


def to_event(alert: Alert) -> Event:
    """Return the event that tells of an alert as it is at its revision."""
    message = to_message(alert)
    content = {
        "type": _TYPES[pb.AlertState.ValueType(alert.state)],
        "timestamp": message.changed_at.ToJsonString(),
        "data": MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True),
    }
    return Event(f"alert-{alert.alert_id}-{alert.revision}", json.dumps(content, separators=(",", ":")).encode())


@asynccontextmanager
async def open_session(endpoint: Endpoint) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session for attempts: certificates are verified, neither proxies nor .netrc of the environment are used.

    Each attempt has a connection of its own: one that was left open may be closed by the receiver at the very moment at
    which it is used again.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_s),
        headers={"User-Agent": "wattstream", "Content-Type": "application/json"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield session


async def attempt(session: aiohttp.ClientSession, endpoint: Endpoint, event: Event) -> Answer:
    """Post an event, signed for this moment, and return what came of it. Redirects are not followed.

    What the receiver says besides its status and Retry-After is not read.
    """
    headers = signed_headers(endpoint.keys, event.event_id, int(time.time()), event.body)
    try:
        async with session.post(endpoint.url, data=event.body, headers=headers, allow_redirects=False) as response:
            return Answer(response.status, f"HTTP {response.status}", retry_after_s(response.headers))
    except TimeoutError:
        return Answer(0, f"no answer in {endpoint.timeout_s:g} s")
    except aiohttp.ClientConnectorError as error:
        return Answer(0, str(error))  # names host and port; other errors may name the whole URL
    except (aiohttp.ClientError, OSError) as error:
        return Answer(0, type(error).__name__)


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return how long the receiver asks to wait, in seconds, 0 if it does not or in no way that HTTP knows."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
