"""AnalyticsService.WatchEfficiencyAlerts, over the wire and on a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
import psycopg
import pytest
from google.rpc import error_details_pb2 as details_pb2
from grpc_status import rpc_status

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from tests.integration.alert_rows import CLOSED, OPEN, WITHDRAWN, AlertRows, versions
from wattstream import server
from wattstream.api.analytics.v1 import alerts_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc

DEADLINE_S = 30

Stub: TypeAlias = "analytics_pb2_grpc.AnalyticsServiceAsyncStub"
Watch: TypeAlias = "grpc.aio.UnaryStreamCall[pb.WatchEfficiencyAlertsRequest, pb.WatchEfficiencyAlertsResponse]"
Request = pb.WatchEfficiencyAlertsRequest


def configured(database: str, **settings: Any) -> AnalyticsConfig:
    return AnalyticsConfig(
        **{"listen": "127.0.0.1:0", "postgres_dsn": database, "connections": 2, "alert_poll_s": 0.02, **settings}
    )


@asynccontextmanager
async def service(database: str, **settings: Any) -> AsyncIterator[Stub]:
    async with (
        server.serving(configured(database, **settings), lifespan) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


@pytest.fixture
async def analytics(database: str) -> AsyncIterator[Stub]:
    async with service(database) as stub:
        yield stub


@pytest.fixture
def rows(database: str) -> Iterator[AlertRows]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield AlertRows(connection)


async def first(call: Watch) -> tuple[list[Any], str]:
    """Read what a watch begins with; return it and the resume token."""
    alerts: list[Any] = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in call:
            alerts += message.alerts
            if message.caught_up:
                return alerts, message.resume_token
    raise AssertionError("the stream ended")


async def changes(call: Watch, done: Callable[[list[Any]], Any]) -> tuple[list[Any], str]:
    """Read changes until those that were read are `done`; return them and the resume token."""
    alerts: list[Any] = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in call:
            assert message.caught_up
            alerts += message.alerts
            if done(alerts):
                return alerts, message.resume_token
    raise AssertionError("the stream ended")


async def test_a_watch_begins_with_open_alerts_by_revision_and_goes_on_with_changes(
    analytics: Stub, rows: AlertRows
) -> None:
    one, two, three = rows.add("V1"), rows.add("", "M1"), rows.add("V2", "M2")
    rows.change(two, state=CLOSED)
    rows.change(one)
    call = analytics.WatchEfficiencyAlerts(Request())
    assert versions((await first(call))[0]) == [(three, OPEN), (one, OPEN)]

    rows.change(three, state=WITHDRAWN)
    rows.change(two, state=OPEN)
    four = rows.add("V1", "M1")

    told, _ = await changes(call, lambda alerts: len(alerts) == 3)
    assert versions(told) == [(three, WITHDRAWN), (two, OPEN), (four, OPEN)]


async def test_an_alert_is_told_whole(analytics: Stub, rows: AlertRows) -> None:
    alert_id = rows.add("V1", "M2")
    rows.acknowledge(alert_id)
    [alert], _ = await first(analytics.WatchEfficiencyAlerts(Request()))

    assert (alert.subject, alert.vehicle_id, alert.meter_id) == (pb.ALERT_SUBJECT_PAIR, "V1", "M2")
    assert (alert.since.ToJsonString(), alert.until.ToJsonString()) == ("2026-02-10T14:00:00Z", "2026-02-10T16:00:00Z")
    assert (alert.minutes_kept, alert.kwh_consumed_ac, alert.kwh_delivered_dc) == (90, 10, 8)
    assert (alert.efficiency, alert.lowest_efficiency, alert.threshold) == (0.8, 0.75, 0.85)
    assert alert.kwh_lost_below_threshold == pytest.approx(0.5)
    assert alert.acknowledged_by == "somebody"
    assert alert.HasField("acknowledged_at")
    assert alert.HasField("opened_at")
    assert not alert.HasField("closed_at")
    assert alert.revision == rows.revisions()[alert_id]


async def test_a_large_first_part_comes_in_pages_without_what_changes_meanwhile(
    analytics: Stub, rows: AlertRows
) -> None:
    added = rows.add_many(450)
    alerts, _ = await first(analytics.WatchEfficiencyAlerts(Request()))
    assert [alert.alert_id for alert in alerts] == added


@pytest.mark.parametrize(
    ("filter_", "begins_with", "follows"),
    [
        (pb.AlertFilter(), [0, 1, 2], [0, 1, 2, 3]),
        (pb.AlertFilter(subject=pb.ALERT_SUBJECT_METER), [1], [1]),
        (pb.AlertFilter(vehicle_id="V1"), [0, 2], [0, 2, 3]),
        (pb.AlertFilter(meter_id="M1"), [1, 2], [1, 2]),
        (pb.AlertFilter(vehicle_id="V1", subject=pb.ALERT_SUBJECT_VEHICLE), [0], [0, 3]),
        (pb.AlertFilter(unacknowledged_only=True), [1, 2], [0, 1, 2, 3]),
        (pb.AlertFilter(state=pb.ALERT_STATE_CLOSED), [3], [0, 1, 2, 3]),
        (pb.AlertFilter(state=pb.ALERT_STATE_WITHDRAWN), [], [0, 1, 2, 3]),
    ],
)
async def test_a_filter_by_state_or_acknowledgement_chooses_what_is_first_and_any_other_all(
    analytics: Stub, rows: AlertRows, filter_: pb.AlertFilter, begins_with: list[int], follows: list[int]
) -> None:
    added = [rows.add("V1"), rows.add("", "M1"), rows.add("V1", "M1"), rows.add("V1")]
    rows.acknowledge(added[0])
    rows.change(added[3], state=CLOSED)
    call = analytics.WatchEfficiencyAlerts(Request(filter=filter_))
    assert sorted(added.index(alert.alert_id) for alert in (await first(call))[0]) == begins_with

    rows.change(*added, state=CLOSED)

    told, _ = await changes(call, lambda alerts: len(alerts) == len(follows))
    assert versions(told) == [(added[i], CLOSED) for i in follows]


async def test_a_resume_token_goes_on_with_what_has_changed_since_then(database: str, rows: AlertRows) -> None:
    one, two = rows.add(), rows.add()
    async with service(database) as analytics:
        call = analytics.WatchEfficiencyAlerts(Request())
        await first(call)
        rows.change(one)
        _, token = await changes(call, bool)
    rows.change(two, state=CLOSED)
    three = rows.add()
    async with service(database) as another:
        resumed, token = await first(another.WatchEfficiencyAlerts(Request(resume_token=token)))
        assert versions(resumed) == [(two, CLOSED), (three, OPEN)]
        assert (await first(another.WatchEfficiencyAlerts(Request(resume_token=token))))[0] == []


async def test_a_slow_watcher_catches_up_from_the_table_and_sees_the_last_of_everything(
    database: str, rows: AlertRows
) -> None:
    # More is changed than a channel this small, and what is kept for all watchers, can hold.
    small = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
    added = rows.add_many(500)
    async with (
        server.serving(configured(database), lifespan) as address,
        grpc.aio.insecure_channel(address, small) as channel,
        grpc.aio.insecure_channel(address) as other,
    ):
        slow = analytics_pb2_grpc.AnalyticsServiceStub(channel).WatchEfficiencyAlerts(Request())
        quick = analytics_pb2_grpc.AnalyticsServiceStub(other).WatchEfficiencyAlerts(Request())
        await first(slow)
        await first(quick)

        for _ in range(8):
            rows.change(*added)
            await changes(quick, lambda alerts: len(alerts) == 500)
        told, _ = await changes(
            slow, lambda alerts: {a.alert_id: a.revision for a in alerts[-500:]} == rows.revisions()
        )

    revisions = [alert.revision for alert in told]
    assert revisions == sorted(set(revisions))
    assert len(told) < 8 * 500


async def test_one_that_resumes_far_behind_gets_all_of_it(analytics: Stub, rows: AlertRows) -> None:
    added = rows.add_many(300)
    call = analytics.WatchEfficiencyAlerts(Request())
    _, token = await first(call)
    for _ in range(5):
        rows.change(*added)
        await changes(call, lambda alerts: len(alerts) == 300)
    resumed, _ = await first(analytics.WatchEfficiencyAlerts(Request(resume_token=token)))
    assert {alert.alert_id: alert.revision for alert in resumed} == rows.revisions()


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request(resume_token="!"), "resume_token"),
        (Request(resume_token="WyJhbm90aGVyIiwgMSwgMV0"), "resume_token"),
        (Request(filter=pb.AlertFilter(state=9)), "filter.state"),  # type: ignore[arg-type]
        (Request(filter=pb.AlertFilter(subject=9)), "filter.subject"),  # type: ignore[arg-type]
        (Request(filter=pb.AlertFilter(vehicle_id="a b")), "filter.vehicle_id"),
        (Request(filter=pb.AlertFilter(meter_id="x" * 65)), "filter.meter_id"),
    ],
)
async def test_a_bad_field_is_refused_by_name(analytics: Stub, request_: Request, field: str) -> None:
    assert violated(await refused(analytics.WatchEfficiencyAlerts(request_))) == [field]


async def test_a_token_of_another_database_that_is_ahead_is_refused(analytics: Stub, rows: AlertRows) -> None:
    rows.add()
    _, token = await first(analytics.WatchEfficiencyAlerts(Request()))
    rows.forget()
    assert violated(await refused(analytics.WatchEfficiencyAlerts(Request(resume_token=token)))) == ["resume_token"]


async def test_a_watch_ends_with_unavailable_when_the_server_shuts_down(database: str, rows: AlertRows) -> None:
    async with AsyncExitStack() as channels:
        async with server.serving(configured(database, drain_s=DEADLINE_S), lifespan) as address:
            channel = await channels.enter_async_context(grpc.aio.insecure_channel(address))
            call = analytics_pb2_grpc.AnalyticsServiceStub(channel).WatchEfficiencyAlerts(Request())
            await first(call)
        error = await refused(call)
    assert (error.code(), retry_is_advised(error)) == (grpc.StatusCode.UNAVAILABLE, True)
    assert "shutting down; watch again" in str(error.details())


async def test_one_watcher_too_many_is_told_to_come_again_and_a_place_is_free_once_one_goes(database: str) -> None:
    async with service(database, max_watchers=1) as analytics:
        one = analytics.WatchEfficiencyAlerts(Request())
        await first(one)
        error = await refused(analytics.WatchEfficiencyAlerts(Request()))
        assert (error.code(), retry_is_advised(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)

        one.cancel()

        async with asyncio.timeout(DEADLINE_S):
            while not await may_watch(analytics):
                await asyncio.sleep(0.01)


async def may_watch(analytics: Stub) -> bool:
    call = analytics.WatchEfficiencyAlerts(Request())
    try:
        await first(call)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    call.cancel()
    return True


async def refused(call: Watch) -> grpc.aio.AioRpcError:
    """Read a watch to its end, which has to be an error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(_drain(call), DEADLINE_S)
    return caught.value


async def _drain(call: Watch) -> None:
    async for _ in call:
        pass


def violated(error: grpc.aio.AioRpcError) -> list[str]:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    bad = details_pb2.BadRequest()
    assert any(packed.Unpack(bad) for packed in rpc_status.from_call(error).details)
    return [violation.field for violation in bad.field_violations]


def retry_is_advised(error: grpc.aio.AioRpcError) -> bool:
    return any(packed.Is(details_pb2.RetryInfo.DESCRIPTOR) for packed in rpc_status.from_call(error).details)
