"""Webhooks when processes are killed, when there are several, and at the first start, on a real database."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.integration.alert_rows import CLOSED, AlertRows
from tests.integration.delivering import delivering, event_ids, until
from tests.integration.receiver import Receiver, receiving

PATIENCE_S = 30


@pytest.fixture
def rows(database: str) -> Iterator[AlertRows]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield AlertRows(connection)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@contextmanager
def progress_held(database: str) -> Iterator[None]:
    """Keep everybody from noting progress."""
    with psycopg.connect(database) as connection:
        connection.execute("SELECT FROM webhook_progress FOR UPDATE")
        yield


async def sessions(database: str, condition: str) -> list[int]:
    """Wait until a session that delivers meets a condition, and return such sessions."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'wattstream test'"
        f" AND {condition}"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := connection.execute(query).fetchall()):
                await asyncio.sleep(0.01)
    return [pid for (pid,) in found]


async def noted(database: str, rows: AlertRows) -> None:
    """Wait until it is noted that all there is has been told."""
    query = "SELECT FROM webhook_progress WHERE webhook NOT LIKE '%% first' AND revision = %s"
    with psycopg.connect(database, autocommit=True) as connection:
        async with asyncio.timeout(PATIENCE_S):
            while not connection.execute(query, (max(rows.revisions().values()),)).fetchall():
                await asyncio.sleep(0.01)


HOLDS_THE_LOCK = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)"


async def test_killed_between_the_answer_and_the_note_of_it_tells_again_by_the_same_id(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    one = rows.add()
    async with delivering(database, receiver):
        await until(receiver, accepted=1)
        await noted(database, rows)
        with progress_held(database):
            two = rows.add()
            await until(receiver, accepted=2)
            [pid] = await sessions(database, "wait_event_type = 'Lock'")
            with psycopg.connect(database, autocommit=True) as killer:
                killer.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))
        await until(receiver, accepted=3)
        three = rows.add()
        await until(receiver, accepted=4)
    assert receiver.ids == event_ids(rows, one, two, two, three)
    assert receiver.received[1].body == receiver.received[2].body


async def test_what_is_told_is_not_told_again_by_the_next_process(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added = rows.add_many(3)
    async with delivering(database, receiver):
        await until(receiver, accepted=3)
        await noted(database, rows)
    added.append(rows.add())
    async with delivering(database, receiver):
        await until(receiver, accepted=4)
    assert receiver.ids == event_ids(rows, *added)


async def test_of_two_processes_one_delivers_and_the_other_takes_over_when_it_dies(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added: list[int] = []
    async with delivering(database, receiver), delivering(database, receiver):
        for count in range(1, 6):
            added += rows.add_many(4)
            await until(receiver, accepted=4 * count)
        await noted(database, rows)
    assert receiver.ids == event_ids(rows, *added)

    first = delivering(database, receiver)
    await first.__aenter__()
    await sessions(database, HOLDS_THE_LOCK)
    async with delivering(database, receiver):
        await first.__aexit__(None, None, None)
        added.append(rows.add())
        await until(receiver, accepted=len(added))
    assert receiver.ids == event_ids(rows, *added)


async def test_a_session_in_which_a_statement_failed_does_not_go_back_to_the_pool_with_the_lock(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added = rows.add()
    async with delivering(database, receiver):
        await until(receiver, accepted=1)
        await noted(database, rows)
        with progress_held(database), psycopg.connect(database, autocommit=True) as killer:
            rows.change(added)
            [before] = await sessions(database, "wait_event_type = 'Lock'")
            killer.execute("SELECT pg_cancel_backend(%s)", (before,))
            await until(receiver, accepted=3)
        await noted(database, rows)
        [after] = await sessions(database, HOLDS_THE_LOCK)
    assert after != before


async def test_a_session_that_is_lost_is_replaced_and_nothing_with_it(
    database: str, rows: AlertRows, receiver: Receiver
) -> None:
    added = [rows.add()]
    async with delivering(database, receiver):
        for _ in range(3):
            await noted(database, rows)
            with psycopg.connect(database, autocommit=True) as killer:
                for pid in await sessions(database, HOLDS_THE_LOCK):
                    killer.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))
            added.append(rows.add())
            await until(receiver, accepted=len(added))
    assert receiver.ids == event_ids(rows, *added)


async def test_a_new_webhook_begins_with_open_alerts_and_is_told_when_they_close_though_it_was_killed(
    database: str, rows: AlertRows
) -> None:
    added = rows.add_many(6)
    rows.change(*added[:2], state=CLOSED)
    with receiving() as receiver:
        receiver.answers.extend([204, 204] + 1_000 * [500])
        async with delivering(database, receiver):
            await until(receiver, received=3)
        assert [r.event_id for r in receiver.accepted] == event_ids(rows, added[2], added[3])

        receiver.answers.clear()
        rows.change(added[2], added[4], state=CLOSED)
        async with delivering(database, receiver):
            await until(receiver, accepted=5)
    told = {int(r.alert["alert_id"]): r.alert["state"].removeprefix("ALERT_STATE_") for r in receiver.accepted}
    assert told == {added[2]: "CLOSED", added[3]: "OPEN", added[4]: "CLOSED", added[5]: "OPEN"}


async def test_each_webhook_has_progress_of_its_own_that_is_kept_when_its_password_changes(
    database: str, rows: AlertRows
) -> None:
    def stored() -> dict[str, int]:
        with psycopg.connect(database) as connection:
            return dict(connection.execute("SELECT webhook, revision FROM webhook_progress").fetchall())

    added = rows.add()
    with receiving() as receiver, receiving() as other:
        for url in (receiver.url, receiver.url.replace("//", "//user:password@") + "?key=value", other.url):
            async with delivering(database, receiver, url=url):
                await until(receiver if url != other.url else other, accepted=1)
    assert (receiver.ids, other.ids) == (event_ids(rows, added), event_ids(rows, added))
    assert len(stored()) == 4
    assert not any(secret in name for name in stored() for secret in ("password", "value", "hooks"))
