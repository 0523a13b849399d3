"""Deliveries to a receiver, as one process makes them, but less patient."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from analytics_service.alerts.attempts import Patience
from analytics_service.alerts.webhook import Webhook, endpoint_of
from tests.integration.alert_rows import AlertRows
from tests.integration.receiver import Receiver
from wattstream import postgres, tasks

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
QUICK = Patience(first_s=0.01, most_s=0.05, refusals=3, refused_s=0.05, refused_again_s=0.05, gone_s=30)


@asynccontextmanager
async def delivering(
    database: str, receiver: Receiver, *, url: str = "", timeout_s: float = 10, **options: Any
) -> AsyncIterator[None]:
    """Deliver to the receiver, as one process does."""
    endpoint = endpoint_of(url or receiver.url, SECRET, timeout_s)
    async with postgres.open_pool(database, name="test", size=1, statement_timeout_s=10) as pool:
        webhook = Webhook(pool, endpoint, **{"poll_s": 0.01, "patience": QUICK, **options})
        async with tasks.running(webhook.run()):
            yield


async def until(receiver: Receiver, received: int = 0, accepted: int = 0) -> None:
    await asyncio.to_thread(receiver.wait, received, accepted)


def event_ids(rows: AlertRows, *alert_ids: int) -> list[str]:
    """Return the ids of the events that tell of alerts as they are."""
    revisions = rows.revisions()
    return [f"alert-{alert_id}-{revisions[alert_id]}" for alert_id in alert_ids]
