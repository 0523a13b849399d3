"""Webhooks, delivered to a real HTTP server from a real database."""

import asyncio
from collections.abc import Iterator

import psycopg
import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from analytics_service.alerts.attempts import Patience
from tests.integration.alert_rows import CLOSED, OPEN, WITHDRAWN, AlertRows
from tests.integration.delivering import QUICK, SECRET, delivering, event_ids, until
from tests.integration.receiver import CLOSE, GARBAGE, HANG, Receiver, receiving


@pytest.fixture
def rows(database: str) -> Iterator[AlertRows]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield AlertRows(connection)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


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
        await asyncio.sleep(10 * QUICK.most_s)
    assert len(receiver.received) == 1


async def test_one_that_wants_no_more_is_left_alone_and_nothing_is_lost(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added = rows.add()
    receiver.answers.append(410)
    async with delivering(database, receiver):
        await until(receiver, received=1)
        await asyncio.sleep(10 * QUICK.most_s)
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


async def test_no_log_holds_a_secret_however_an_attempt_ends(
    database: str,
    rows: AlertRows,
    receiver: Receiver,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secrets = ("user1", "password2", "path3", "query4", SECRET, SECRET.removeprefix("whsec_"))
    url = f"http://user1:password2@127.0.0.1:{receiver.port}/path3?key=query4"
    caplog.set_level("DEBUG")
    failures = [500, 302, 404, CLOSE, GARBAGE, HANG, 410]
    receiver.answers.extend(failures)
    rows.add()
    patience = Patience(first_s=0.01, most_s=0.05, gone_s=0.01)
    async with delivering(database, receiver, url=url, timeout_s=0.3, patience=patience):
        await until(receiver, accepted=1)
    assert [len(receiver.received), receiver.received[0].path] == [len(failures) + 1, "/path3?key=query4"]
    assert receiver.received[0].headers["authorization"].startswith("Basic ")

    with receiving() as nobody:
        refused = nobody.url.replace("//", "//user1:password2@") + "/path3?key=query4"
    async with delivering(database, nobody, url=refused, patience=patience):
        await asyncio.sleep(0.2)

    logged = "".join(capfd.readouterr()) + caplog.text
    assert logged.count("webhook not delivered") > len(failures)
    assert "Cannot connect to host 127.0.0.1" in logged
    assert [secret for secret in secrets if secret in logged] == []
