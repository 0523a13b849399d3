"""Alerts and rules over the wire: lists, pages, acknowledgements, and what is refused."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc.aio
import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from analytics_service.config import AnalyticsConfig
from analytics_service.service import lifespan
from tests.integration.alert_hours import HOUR, T0, Fleet, evaluate, open_pool, row
from wattstream.api.analytics.v1 import alerts_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.server import serving

Stub = analytics_pb2_grpc.AnalyticsServiceStub
DEFAULTS = {"threshold": 0.85, "hysteresis": 0.02, "least_minutes": 15, "window_hours": 24}


@pytest.fixture
async def stub(database: str) -> AsyncIterator[Stub]:
    config = AnalyticsConfig(listen="127.0.0.1:0", postgres_dsn=database, connections=2, refresh=False)
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        yield analytics_pb2_grpc.AnalyticsServiceStub(channel)


@pytest.fixture
def fleet(database: str) -> Fleet:
    return Fleet(database)


@pytest.fixture
async def alerts(fleet: Fleet, database: str) -> Fleet:
    """V1 is low at M1 in the first hour and recovers; V2 is low at M1 and M2 50 hours later.

    There are also a meter V1 and a vehicle M1, of which nothing is known.
    """
    fleet.key(1, "V1"), fleet.key(2, "M1")
    fleet.store([row("V1", "M1", 0, 0.8), row("V1", "M1", 30, 0.9), row("V2", "M1", 50, 0.7), row("V2", "M2", 51, 0.7)])
    async with open_pool(database) as pool:
        await evaluate(pool)
    return fleet


@contextmanager
def refused(code: grpc.StatusCode) -> Iterator[Callable[[Any], Any]]:
    """Expect a status; yields what unpacks a google.rpc detail of a type from it, afterwards."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield lambda kind: next(_details(caught.value, kind))
    assert caught.value.code() == code


def _details(error: grpc.aio.AioRpcError, kind: Any) -> Iterator[Any]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    for packed in status.details:
        detail = kind()
        if packed.Unpack(detail):
            yield detail


def stamp(hours: float) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(T0 + hours * HOUR)
    return timestamp


async def listed(stub: Stub, **request: Any) -> list[tuple[str, str]]:
    answer = await stub.ListEfficiencyAlerts(pb.ListEfficiencyAlertsRequest(**request))
    return sorted((alert.vehicle_id, alert.meter_id) for alert in answer.alerts)


async def test_an_alert_says_what_it_knows(stub: Stub, alerts: Fleet) -> None:
    answer = await stub.ListEfficiencyAlerts(
        pb.ListEfficiencyAlertsRequest(filter=pb.AlertFilter(vehicle_id="V1", meter_id="M1"))
    )
    (alert,) = answer.alerts
    assert alert.subject == pb.ALERT_SUBJECT_PAIR
    assert (alert.vehicle_id, alert.meter_id, alert.state) == ("V1", "M1", pb.ALERT_STATE_CLOSED)
    assert (alert.since, alert.until, alert.minutes_kept) == (stamp(0), stamp(1), 60)
    assert (alert.kwh_consumed_ac, alert.kwh_delivered_dc, alert.threshold) == (10, 8, 0.85)
    assert (alert.efficiency, alert.lowest_efficiency) == (0.8, 0.8)
    assert alert.kwh_lost_below_threshold == pytest.approx(0.5)
    assert alert.HasField("opened_at")
    assert alert.HasField("closed_at")
    assert not alert.HasField("acknowledged_at")
    assert alert.revision > 0


V1, V2, M1, M2 = ("V1", ""), ("V2", ""), ("", "M1"), ("", "M2")
V1_M1, V2_M1, V2_M2, V3_M1 = ("V1", "M1"), ("V2", "M1"), ("V2", "M2"), ("V3", "M1")
ALL = [M1, M1, M2, V1, V1_M1, V2, V2_M1, V2_M2]


FILTERS: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({}, ALL),
    ({"filter": {"subject": pb.ALERT_SUBJECT_VEHICLE}}, [V1, V2]),
    ({"filter": {"subject": pb.ALERT_SUBJECT_METER}}, [M1, M1, M2]),
    ({"filter": {"subject": pb.ALERT_SUBJECT_PAIR}}, [V1_M1, V2_M1, V2_M2]),
    ({"filter": {"state": pb.ALERT_STATE_OPEN}}, [M1, M2, V2, V2_M1, V2_M2]),
    ({"filter": {"state": pb.ALERT_STATE_CLOSED}}, [M1, V1, V1_M1]),
    ({"filter": {"state": pb.ALERT_STATE_WITHDRAWN}}, []),
    ({"filter": {"vehicle_id": "V2"}}, [V2, V2_M1, V2_M2]),
    ({"filter": {"meter_id": "M1"}}, [M1, M1, V1_M1, V2_M1]),
    ({"filter": {"vehicle_id": "M1"}}, []),
    ({"filter": {"vehicle_id": "V9"}}, []),
    ({"filter": {"meter_id": "M1", "subject": pb.ALERT_SUBJECT_METER, "state": pb.ALERT_STATE_OPEN}}, [M1]),
    ({"since": stamp(1)}, [M1, M2, V2, V2_M1, V2_M2]),
    ({"since": stamp(0.999)}, ALL),
    ({"since": stamp(1000)}, [M1, M2, V2, V2_M1, V2_M2]),
    ({"until": stamp(50)}, [M1, V1, V1_M1]),
    ({"until": stamp(50.001)}, [M1, M1, V1, V1_M1, V2, V2_M1]),
    ({"since": stamp(1), "until": stamp(51)}, [M1, V2, V2_M1]),
]


async def test_a_filter_leaves_what_it_says(stub: Stub, alerts: Fleet) -> None:
    for request, expected in FILTERS:
        assert await listed(stub, **request) == expected, request


async def test_pages_hold_every_alert_once_the_newest_first_while_others_come(stub: Stub, alerts: Fleet) -> None:
    there = [stored["alert_id"] for stored in alerts.stored()]
    seen, token = [], ""
    while True:
        page = await stub.ListEfficiencyAlerts(pb.ListEfficiencyAlertsRequest(page_size=3, page_token=token))
        seen += [alert.alert_id for alert in page.alerts]
        if not (token := page.next_page_token):
            break
        alerts.connection.execute(
            "INSERT INTO efficiency_alerts (vehicle_key, meter_key, state, since, until, minutes_kept, kwh_consumed_ac,"
            " kwh_delivered_dc, lowest_efficiency, threshold, revision) VALUES (%s, 0, 1, %s, %s, 1, 1, 0, 0, 1,"
            " nextval('efficiency_alert_revisions'))",
            (alerts.key(2, "V1"), T0, T0 + HOUR),
        )
    assert len(there) == len(ALL)
    assert seen == sorted(there, reverse=True)


async def test_an_acknowledgement_is_kept_and_replaced_and_is_a_change(stub: Stub, alerts: Fleet) -> None:
    (before,) = (await stub.ListEfficiencyAlerts(pb.ListEfficiencyAlertsRequest(page_size=1))).alerts
    for by, note in (("Ann", "seen"), ("Bo", ""), ("x" * 100, "é" * 1000)):
        request = pb.AcknowledgeEfficiencyAlertRequest(alert_id=before.alert_id, acknowledged_by=by, note=note)
        alert = (await stub.AcknowledgeEfficiencyAlert(request)).alert
        assert (alert.acknowledged_by, alert.note, alert.vehicle_id) == (by, note, before.vehicle_id)
        assert alert.HasField("acknowledged_at")
        assert alert.revision > before.revision
        (before,) = (await stub.ListEfficiencyAlerts(pb.ListEfficiencyAlertsRequest(page_size=1))).alerts
        assert before == alert
    left = await listed(stub, filter={"unacknowledged_only": True})
    assert len(left) == len(ALL) - 1
    with refused(grpc.StatusCode.NOT_FOUND) as detail:
        await stub.AcknowledgeEfficiencyAlert(pb.AcknowledgeEfficiencyAlertRequest(alert_id=10**12))
    assert detail(error_details_pb2.ResourceInfo).resource_name == str(10**12)


async def test_an_acknowledgement_waits_for_whoever_changes_alerts(stub: Stub, alerts: Fleet, database: str) -> None:
    request = pb.AcknowledgeEfficiencyAlertRequest(alert_id=alerts.stored()[0]["alert_id"])
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('wattstream.efficiency_alerts'))")
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
            await stub.AcknowledgeEfficiencyAlert(request, timeout=0.5)
    await stub.AcknowledgeEfficiencyAlert(request)
    assert [stored["acknowledged_at"] is not None for stored in alerts.stored()].count(True) == 1


async def test_rules_are_set_listed_and_deleted(stub: Stub, fleet: Fleet) -> None:
    for meter in ("M2", "M1"):
        fleet.key(1, meter)
    fleets = pb.EfficiencyRule(meter_id="", **DEFAULTS)
    assert list((await stub.ListEfficiencyRules(pb.ListEfficiencyRulesRequest())).rules) == [fleets]

    set_ = await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule={"meter_id": "M2", "threshold": 0.9}))
    assert set_.rule == pb.EfficiencyRule(meter_id="M2", **{**DEFAULTS, "threshold": 0.9})
    least = pb.EfficiencyRule(meter_id="M1", threshold=1, hysteresis=0, least_minutes=1, window_hours=1)
    most = pb.EfficiencyRule(threshold=0.001, hysteresis=0.5, least_minutes=10_080, window_hours=168)
    for rule in (least, most):
        assert (await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule=rule))).rule == rule
    listed_ = (await stub.ListEfficiencyRules(pb.ListEfficiencyRulesRequest())).rules
    assert list(listed_) == [most, least, set_.rule]

    await stub.DeleteEfficiencyRule(pb.DeleteEfficiencyRuleRequest(meter_id="M1"))
    listed_ = (await stub.ListEfficiencyRules(pb.ListEfficiencyRulesRequest())).rules
    assert list(listed_) == [most, set_.rule]
    for missing in ("M1", "M9"):
        with refused(grpc.StatusCode.NOT_FOUND) as detail:
            await stub.DeleteEfficiencyRule(pb.DeleteEfficiencyRuleRequest(meter_id=missing))
        assert detail(error_details_pb2.ResourceInfo).resource_name == missing
    with refused(grpc.StatusCode.NOT_FOUND) as detail:
        await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule={"meter_id": "M9"}))
    assert detail(error_details_pb2.ResourceInfo).resource_type == "meter"


async def test_another_rule_is_applied_to_the_newest_hours(stub: Stub, fleet: Fleet, database: str) -> None:
    now = int((datetime.now(UTC) - T0) / HOUR)
    fleet.store([row("V1", "M1", now - 3, 0.9), row("V2", "M2", now - 3, 0.9), row("V3", "M1", now - 40, 0.9)])
    async with open_pool(database) as pool:
        await evaluate(pool)
        assert await listed(stub) == []
        await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule={"meter_id": "M1", "threshold": 0.95}))
        assert fleet.due() == {fleet.key(1, "M1"), fleet.key(2, "V1")}
        await evaluate(pool)
        assert await listed(stub) == [M1, V1_M1]
        longer = {"meter_id": "M1", "threshold": 0.95, "window_hours": 48}
        await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule=longer))
        assert fleet.due() == {fleet.key(1, "M1"), fleet.key(2, "V1"), fleet.key(2, "V3")}
        await evaluate(pool)
        await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule={"threshold": 0.95}))
        await evaluate(pool)
        assert await listed(stub) == [M1, M2, V1, V1_M1, V2, V2_M2, ("V3", ""), V3_M1]
        await stub.SetEfficiencyRule(pb.SetEfficiencyRuleRequest(rule={}))
        await stub.DeleteEfficiencyRule(pb.DeleteEfficiencyRuleRequest(meter_id="M1"))
        await evaluate(pool)
        assert await listed(stub, filter={"state": pb.ALERT_STATE_OPEN}) == []


BAD = [
    ("ListEfficiencyAlerts", {"filter": {"subject": 4}}, "filter.subject"),
    ("ListEfficiencyAlerts", {"filter": {"state": -1}}, "filter.state"),
    ("ListEfficiencyAlerts", {"filter": {"vehicle_id": "V 1"}}, "filter.vehicle_id"),
    ("ListEfficiencyAlerts", {"filter": {"meter_id": "M\x00"}}, "filter.meter_id"),
    ("ListEfficiencyAlerts", {"since": Timestamp(seconds=-1)}, "since"),
    ("ListEfficiencyAlerts", {"until": Timestamp(seconds=2**60)}, "until"),
    ("ListEfficiencyAlerts", {"until": Timestamp(nanos=-1)}, "until"),
    ("ListEfficiencyAlerts", {"page_size": 1001}, "page_size"),
    ("ListEfficiencyAlerts", {"page_size": -1}, "page_size"),
    ("ListEfficiencyAlerts", {"page_token": "nonsense"}, "page_token"),
    ("AcknowledgeEfficiencyAlert", {}, "alert_id"),
    ("AcknowledgeEfficiencyAlert", {"alert_id": -1}, "alert_id"),
    ("AcknowledgeEfficiencyAlert", {"alert_id": 1, "acknowledged_by": "x" * 101}, "acknowledged_by"),
    ("AcknowledgeEfficiencyAlert", {"alert_id": 1, "note": "x" * 1001}, "note"),
    ("AcknowledgeEfficiencyAlert", {"alert_id": 1, "note": "a\x00b"}, "note"),
    ("SetEfficiencyRule", {}, "rule"),
    ("SetEfficiencyRule", {"rule": {"meter_id": "M 1"}}, "rule.meter_id"),
    ("SetEfficiencyRule", {"rule": {"threshold": 0}}, "rule.threshold"),
    ("SetEfficiencyRule", {"rule": {"threshold": 1.01}}, "rule.threshold"),
    ("SetEfficiencyRule", {"rule": {"threshold": float("nan")}}, "rule.threshold"),
    ("SetEfficiencyRule", {"rule": {"hysteresis": -0.01}}, "rule.hysteresis"),
    ("SetEfficiencyRule", {"rule": {"hysteresis": 0.51}}, "rule.hysteresis"),
    ("SetEfficiencyRule", {"rule": {"least_minutes": 0}}, "rule.least_minutes"),
    ("SetEfficiencyRule", {"rule": {"least_minutes": 61, "window_hours": 1}}, "rule.least_minutes"),
    ("SetEfficiencyRule", {"rule": {"window_hours": 0}}, "rule.window_hours"),
    ("SetEfficiencyRule", {"rule": {"window_hours": 169}}, "rule.window_hours"),
    ("DeleteEfficiencyRule", {}, "meter_id"),
    ("DeleteEfficiencyRule", {"meter_id": "M 1"}, "meter_id"),
]


async def test_a_bad_field_is_named(stub: Stub) -> None:
    for method, request, field in BAD:
        with refused(grpc.StatusCode.INVALID_ARGUMENT) as detail:
            await getattr(stub, method)(getattr(pb, f"{method}Request")(**request))
        (violation,) = detail(error_details_pb2.BadRequest).field_violations
        assert (violation.field, bool(violation.description)) == (field, True), (method, request)


async def test_the_service_finds_alerts_by_itself(fleet: Fleet, database: str) -> None:
    fleet.store([row("V1", "M1", 0, 0.8)])
    config = AnalyticsConfig(listen="127.0.0.1:0", postgres_dsn=database, connections=2, alerts_every_s=0.01)
    async with serving(config, lifespan) as address, grpc.aio.insecure_channel(address) as channel:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
        async with asyncio.timeout(20):
            while await listed(stub) != [M1, V1, V1_M1]:
                await asyncio.sleep(0.01)
