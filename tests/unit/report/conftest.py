"""Messages such as the analytics service sends, made up."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from wattstream.api.analytics.v1 import alerts_pb2, analytics_pb2, analytics_pb2_grpc
from wattstream.client.times import timestamp
from wattstream.report.content import FleetReport, VehicleReport

DAY = datetime(2026, 3, 10, tzinfo=UTC)
MINUTES = {
    "GRANULARITY_MINUTE": 1,
    "GRANULARITY_5_MINUTES": 5,
    "GRANULARITY_15_MINUTES": 15,
    "GRANULARITY_HOUR": 60,
    "GRANULARITY_DAY": 1440,
}
Power = Callable[[int], tuple[float, float] | None]


def charging(i: int) -> tuple[float, float]:
    """Return AC power and efficiency of the i-th bucket: 11 kW that fade."""
    return 11.0 - 3 * math.sin(i / 40) ** 2, 0.92 + 0.01 * math.sin(i / 7)


class Samples:
    """Makes messages."""

    day = DAY

    def series(
        self,
        power: Power = charging,
        *,
        start: datetime = DAY,
        end: datetime = DAY + timedelta(days=1),
        granularity: str = "GRANULARITY_5_MINUTES",
        time_zone: str = "UTC",
    ) -> analytics_pb2.QueryPerformanceSeriesResponse:
        """Return a series of AC power in kW and efficiency by the number of the bucket; None is no data."""
        step = timedelta(minutes=MINUTES[granularity])
        buckets = []
        at = start
        while at < end:
            buckets.append(bucket(at, min(at + step, end), power(len(buckets)), len(buckets)))
            at += step
        return analytics_pb2.QueryPerformanceSeriesResponse(
            buckets=buckets,
            window=analytics_pb2.TimeWindow(start=timestamp(start), end=timestamp(end)),
            granularity=granularity,
            time_zone=time_zone,
        )

    def alert(self, alert_id: int = 7, **values: Any) -> alerts_pb2.EfficiencyAlert:
        """Return an open alert about V1 at M1, from 6 to 9 o'clock."""
        since = values.pop("since", DAY + timedelta(hours=6))
        until = values.pop("until", DAY + timedelta(hours=9))
        shown = {
            "subject": "ALERT_SUBJECT_PAIR",
            "vehicle_id": "V1",
            "meter_id": "M1",
            "state": "ALERT_STATE_OPEN",
            "minutes_kept": 180,
            "kwh_consumed_ac": 33.0,
            "kwh_delivered_dc": 23.1,
            "efficiency": 0.7,
            "lowest_efficiency": 0.66,
            "kwh_lost_below_threshold": 4.95,
            "threshold": 0.85,
            **values,
        }
        return alerts_pb2.EfficiencyAlert(
            alert_id=alert_id, since=timestamp(since), until=timestamp(until), revision=alert_id, **shown
        )

    def vehicle(
        self,
        series: analytics_pb2.QueryPerformanceSeriesResponse | None = None,
        alerts: Sequence[alerts_pb2.EfficiencyAlert] = (),
        vehicle_id: str = "V1",
        meter_ids: Sequence[str] = ("M1",),
    ) -> VehicleReport:
        """Return a report about a vehicle."""
        return VehicleReport(vehicle_id, series or self.series(), meter_ids, alerts, 0.85, "exclusive minutes")

    def summary(self, counts: Sequence[int] = (0, 0, 0, 1, 0, 0, 2, 3, 40, 120, 30, 1)) -> Any:
        """Return a summary of a fleet, with so many vehicles in the bins of its histogram."""
        edges = [None, *(0.5 + 0.05 * i for i in range(11)), None]
        bins = [
            analytics_pb2.EfficiencyBin(**{"from": low}, below=high, vehicles=count)
            for low, high, count in zip(edges, edges[1:], counts, strict=False)
        ]
        return analytics_pb2.GetFleetSummaryResponse(
            window=analytics_pb2.TimeWindow(start=timestamp(DAY), end=timestamp(DAY + timedelta(days=1))),
            kwh_consumed_ac=5210.4,
            kwh_delivered_dc=4731.1,
            kwh_lost=479.3,
            efficiency=0.908,
            kwh_metered_ac=6011.0,
            kwh_reported_dc=5402.7,
            efficiency_histogram=bins,
            vehicles_reporting=197,
            vehicles_silent=3,
            meters_reporting=80,
            quality=analytics_pb2.DataQuality(
                minutes_kept=31_000,
                minutes_shared=4_100,
                minutes_without_meter_data=80,
                readings_without_meter=250_000,
                vehicles_above_one=1,
                meter_gaps=4,
                meter_gap_hours=9,
                longest_meter_gap_hours=5,
            ),
        )

    def performance(self, vehicle_id: str = "V1", ac: float = 33.0, efficiency: float | None = 0.7) -> Any:
        """Return the performance of a vehicle."""
        dc = ac * (efficiency or 0.0)
        return analytics_pb2.VehiclePerformance(
            vehicle_id=vehicle_id,
            window=analytics_pb2.TimeWindow(start=timestamp(DAY), end=timestamp(DAY + timedelta(days=1))),
            correlation="CORRELATION_EXCLUSIVE_MINUTES",
            kwh_consumed_ac=ac,
            kwh_delivered_dc=dc,
            kwh_lost=ac - dc,
            efficiency=efficiency,
            meter_ids=["M1"],
            minutes_kept=180,
        )

    def fleet(self, **values: Any) -> FleetReport:
        """Return a report about the fleet."""
        series = self.series(lambda i: (200 + 90 * math.sin(i / 3), 0.908), granularity="GRANULARITY_HOUR")
        shown = {
            "summary": self.summary(),
            "series": series,
            "ranking": [self.performance(f"vehicle-{i:04}", 12.0 + i, 0.58 + 0.04 * i) for i in range(10)],
            "order": analytics_pb2.VEHICLE_ORDER_EFFICIENCY,
            "alerts": [self.alert()],
            "alerts_truncated": False,
            "threshold": 0.85,
            **values,
        }
        return FleetReport(**shown)


def bucket(
    start: datetime, end: datetime, power: tuple[float, float] | None, place: int
) -> analytics_pb2.PerformanceBucket:
    minutes = round((end - start).total_seconds() / 60)
    if power is None:
        return analytics_pb2.PerformanceBucket(start=timestamp(start), end=timestamp(end))
    ac = power[0] * minutes / 60
    return analytics_pb2.PerformanceBucket(
        start=timestamp(start),
        end=timestamp(end),
        kwh_consumed_ac=ac,
        kwh_delivered_dc=ac * power[1],
        kwh_lost=ac * (1 - power[1]),
        efficiency=power[1] if ac else None,
        mean_soc=20 + 60 * ((place % 97) / 97),
        mean_battery_temp=22 + 6 * math.sin(place / 30),
        readings=minutes,
        readings_kept=minutes,
        minutes_kept=minutes,
    )


@pytest.fixture(scope="session")
def samples() -> Samples:
    return Samples()


class Analytics(analytics_pb2_grpc.AnalyticsServiceServicer):
    """A service whose answers are made up; keeps what it was asked."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.asked: list[Any] = []
        self.performance: Any = samples.performance()
        self.series: Any = samples.series(granularity="GRANULARITY_HOUR")
        self.alerts = [samples.alert()]
        self.rules = [alerts_pb2.EfficiencyRule(threshold=0.85, hysteresis=0.02, least_minutes=15, window_hours=24)]
        self.use = analytics_pb2.QueryMeterUseResponse()

    def GetVehiclePerformance(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        if self.performance is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "No charging data found in last 24 hours")
        return analytics_pb2.GetVehiclePerformanceResponse(performance=self.performance)

    def QueryPerformanceSeries(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        return self.series

    def ListVehiclePerformance(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        found = [self.samples.performance(f"vehicle-{i}") for i in range(request.page_size + 1)]
        return analytics_pb2.ListVehiclePerformanceResponse(performances=found, next_page_token="more")

    def GetFleetSummary(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        return self.samples.summary()

    def QueryMeterUse(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        return self.use

    def ListEfficiencyAlerts(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        return alerts_pb2.ListEfficiencyAlertsResponse(alerts=self.alerts)

    def WatchEfficiencyAlerts(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        if request.resume_token:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "enough")
        yield alerts_pb2.WatchEfficiencyAlertsResponse(alerts=self.alerts, resume_token="r", caught_up=True)

    def AcknowledgeEfficiencyAlert(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        alert = self.samples.alert(
            request.alert_id, acknowledged_by=request.acknowledged_by, note=request.note, acknowledged_at=DAY
        )
        return alerts_pb2.AcknowledgeEfficiencyAlertResponse(alert=alert)

    def ListEfficiencyRules(self, request: Any, context: Any) -> Any:  # noqa: N802
        return alerts_pb2.ListEfficiencyRulesResponse(rules=self.rules)

    def SetEfficiencyRule(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        return alerts_pb2.SetEfficiencyRuleResponse(rule=request.rule)

    def DeleteEfficiencyRule(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request)
        return alerts_pb2.DeleteEfficiencyRuleResponse()


@pytest.fixture
def analytics(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> Iterator[Analytics]:
    """Yield a running service, which commands find by themselves."""
    service = Analytics(samples)
    server = grpc.server(ThreadPoolExecutor(4))
    analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("WATTSTREAM_CLIENT_ANALYTICS", f"127.0.0.1:{port}")
    yield service
    server.stop(None).wait()
