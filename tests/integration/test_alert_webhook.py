"""Webhooks, delivered to a real HTTP server from a real database."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from analytics_service.alerts.attempts import Patience
from analytics_service.alerts.webhook import Webhook, endpoint_of
from tests.integration.alert_rows import CLOSED, OPEN, WITHDRAWN, AlertRows
from tests.integration.receiver import CLOSE, GARBAGE, HANG, Receiver, receiving
from wattstream import postgres, tasks

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
QUICK = Patience(first_s=0.01, most_s=0.05, refusals=3, refused_s=0.05, refused_again_s=0.05, gone_s=30)


@pytest.fixture
def rows(database: str) -> Iterator[AlertRows]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield AlertRows(connection)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@asynccontextmanager
async def delivering(database: str, receiver: Receiver, timeout_s: float = 10, **options: Any) -> AsyncIterator[None]:
    """Deliver to the receiver, as one process does."""
    endpoint = endpoint_of(receiver.url, SECRET, timeout_s)
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


async def test_an_event_is_signed_by_the_standard_and_holds_the_alert(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added = rows.add("V1", "M1")
    async with delivering(database, receiver):
        await until(receiver, accepted=1)
    [received] = receiver.received

    event = Verifier(SECRET).verify(received.body, received.headers)
    assert received.path == "/hooks/wattstream"
    assert received.headers["content-type"] == "application/json"
    assert received.event_id == event_ids(rows, added)[0]
    assert event["type"] == "efficiency_alert.open"
    assert event["timestamp"] == event["data"]["changed_at"]
    assert event["data"] | {"opened_at": "", "changed_at": ""} == {
        "alert_id": str(added),
        "subject": "ALERT_SUBJECT_PAIR",
        "vehicle_id": "V1",
        "meter_id": "M1",
        "state": "ALERT_STATE_OPEN",
        "since": "2026-02-10T14:00:00Z",
        "until": "2026-02-10T16:00:00Z",
        "minutes_kept": "90",
        "kwh_consumed_ac": 10.0,
        "kwh_delivered_dc": 8.0,
        "efficiency": 0.8,
        "lowest_efficiency": 0.75,
        "kwh_lost_below_threshold": 0.5,
        "threshold": 0.85,
        "opened_at": "",
        "changed_at": "",
        "acknowledged_by": "",
        "note": "",
        "revision": str(rows.revisions()[added]),
    }


async def test_changes_are_told_in_order_with_what_the_alert_is_now(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    one, two = rows.add("V1"), rows.add("V2")
    async with delivering(database, receiver):
        await until(receiver, accepted=2)
        for changes in enumerate([(one, CLOSED), (two, WITHDRAWN), (one, OPEN)], start=3):
            rows.change(changes[1][0], state=changes[1][1])
            await until(receiver, accepted=changes[0])
    told = [(int(r.alert["alert_id"]), r.alert["state"].removeprefix("ALERT_STATE_")) for r in receiver.received]
    assert told == [(one, "OPEN"), (two, "OPEN"), (one, "CLOSED"), (two, "WITHDRAWN"), (one, "OPEN")]
    assert len(set(receiver.ids)) == 5


@pytest.mark.parametrize("failure", [500, 503, 429, 302, 404, CLOSE, GARBAGE, HANG])
async def test_a_failed_attempt_is_made_again_with_the_same_id_before_any_other(
    database: str, rows: AlertRows, receiver: Receiver, failure: int
) -> None:
    one, two = rows.add(), rows.add()
    receiver.answers.extend([failure, failure])
    async with delivering(database, receiver, timeout_s=0.3):
        await until(receiver, accepted=2)
    first, second = event_ids(rows, one, two)
    assert receiver.ids == [first, first, first, second]
    assert len({received.body for received in receiver.received[:3]}) == 1
    for received in receiver.received:
        Verifier(SECRET).verify(received.body, received.headers)


async def test_a_redirect_is_not_followed(database: str, rows: AlertRows, receiver: Receiver) -> None:
    rows.add()
    with receiving() as elsewhere:
        receiver.answers.append((307, {"Location": elsewhere.url}))
        async with delivering(database, receiver):
            await until(receiver, accepted=1)
        assert (len(receiver.received), elsewhere.received) == (2, [])


async def test_after_a_while_without_a_receiver_all_is_told_as_it_is_then(database: str, rows: AlertRows) -> None:
    with receiving() as receiver:
        one = rows.add()
        async with delivering(database, receiver):
            await until(receiver, accepted=1)
    async with delivering(database, receiver):
        two, three = rows.add(), rows.add()
        rows.change(one, state=CLOSED)
        await asyncio.sleep(0.1)
        rows.change(two, state=CLOSED)
        with receiving(receiver):
            await until(receiver, accepted=4)
    assert receiver.ids[1:] == event_ids(rows, three, one, two)


async def test_the_receiver_says_when_to_come_again(database: str, rows: AlertRows, receiver: Receiver) -> None:
    rows.add()
    receiver.answers.append((503, {"Retry-After": "3600"}))
    async with delivering(database, receiver):
        await until(receiver, received=1)
        await asyncio.sleep(20 * QUICK.most_s)
    assert len(receiver.received) == 1


async def test_one_that_wants_no_more_is_left_alone_and_nothing_is_lost(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added = rows.add()
    receiver.answers.append(410)
    async with delivering(database, receiver):
        await until(receiver, received=1)
        await asyncio.sleep(20 * QUICK.most_s)
    assert len(receiver.received) == 1
    async with delivering(database, receiver):
        await until(receiver, accepted=1)
    assert receiver.ids == event_ids(rows, added, added)


async def test_an_alert_that_the_receiver_cannot_take_does_not_keep_others_waiting_for_ever(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    one, two, three = rows.add(), rows.add(), rows.add()
    receiver.refuses.add(str(two))
    async with delivering(database, receiver):
        await until(receiver, accepted=2)
    assert [r.event_id for r in receiver.accepted] == event_ids(rows, one, three)
    assert receiver.ids.count(event_ids(rows, two)[0]) >= QUICK.refusals
