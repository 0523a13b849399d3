"""Webhooks of real processes of the analytics service: killed, configured wrongly, and what they print."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psycopg
import pytest

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from tests.integration.alert_rows import AlertRows
from tests.integration.delivering import SECRET, event_ids
from tests.integration.receiver import HANG, Receiver, receiving
from wattstream.server import StartError

STOPPED_WITHIN_S = 30


@contextmanager
def process(database: str, receiver: Receiver, log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the service as a process, and kill it unless it is dead by then."""
    environment = {
        "WATTSTREAM_POSTGRES_DSN": database,
        "WATTSTREAM_ANALYTICS_LISTEN": "127.0.0.1:0",
        "WATTSTREAM_ANALYTICS_ALERT_POLL_S": "0.05",
        "WATTSTREAM_ANALYTICS_WEBHOOK_URL": receiver.url + "?key=value1",
        "WATTSTREAM_ANALYTICS_WEBHOOK_SECRET": SECRET,
    }
    command = [sys.executable, "-m", "analytics_service"]
    with subprocess.Popen(command, env={**os.environ, **environment}, stderr=log) as running:
        try:
            yield running
        finally:
            running.kill()


def test_killed_while_the_receiver_thinks_the_next_process_tells_again_by_the_same_id(
    database: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with (
        receiving() as receiver,
        psycopg.connect(database, autocommit=True) as connection,
        log.open("wb") as errors,
    ):
        rows = AlertRows(connection)
        one, two = rows.add(), rows.add()
        receiver.answers.extend([204, HANG])
        with process(database, receiver, errors) as running:
            receiver.wait(received=2)
            running.kill()
        receiver.released.set()
        with process(database, receiver, errors) as running:
            receiver.wait(accepted=2)
            running.terminate()
            assert running.wait(STOPPED_WITHIN_S) == 0
        assert receiver.ids == event_ids(rows, one, two, two)
    text = log.read_text()
    assert text.count("webhook delivered") >= 1
    assert [secret for secret in ("hooks", "value1", SECRET) if secret in text] == []


@pytest.mark.parametrize(
    ("url", "secret", "message"),
    [
        ("hooks.example.org", SECRET, "WATTSTREAM_ANALYTICS_WEBHOOK_URL: must be an http:// or https:// URL"),
        ("https://hooks.example.org", "", "WATTSTREAM_ANALYTICS_WEBHOOK_SECRET: must be whsec_ followed by"),
        ("https://hooks.example.org", "whsec_dG9vIHNob3J0", "WATTSTREAM_ANALYTICS_WEBHOOK_SECRET: must be whsec_"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_the_start(
    database: str, url: str, secret: str, message: str
) -> None:
    async def start() -> None:
        async with lifespan(AnalyticsConfig(postgres_dsn=database, webhook_url=url, webhook_secret=secret)):
            pass

    with pytest.raises(StartError) as caught:
        asyncio.run(start())
    assert str(caught.value).startswith(message)
