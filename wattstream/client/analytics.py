"""The calls about performance: of a vehicle, of the fleet, of a meter."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from wattstream.api.analytics.v1.analytics_pb2 import (
    BatchGetVehiclePerformanceRequest,
    BatchGetVehiclePerformanceResponse,
    Correlation,
    GetFleetSummaryRequest,
    GetFleetSummaryResponse,
    GetVehiclePerformanceRequest,
    Granularity,
    ListVehiclePerformanceRequest,
    QueryMeterUseRequest,
    QueryMeterUseResponse,
    QueryPerformanceSeriesRequest,
    QueryPerformanceSeriesResponse,
    VehicleOrder,
    VehiclePerformance,
)
from wattstream.api.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from wattstream.client.errors import service_errors
from wattstream.client.pages import pages
from wattstream.client.times import window


class AnalyticsCalls:
    """What is asked of the analytics service, but for alerts."""

    _analytics: AnalyticsServiceStub
    _timeout_s: float

    def performance(
        self,
        vehicle_id: str,
        start: datetime | None = None,
        end: datetime | None = None,
        correlation: "Correlation.ValueType" = Correlation.CORRELATION_UNSPECIFIED,
    ) -> VehiclePerformance:
        """Return what a vehicle was given in [start, end), by default the last 24 hours, and what it cost."""
        request = GetVehiclePerformanceRequest(
            vehicle_id=vehicle_id, window=window(start, end), correlation=correlation
        )
        with service_errors():
            return self._analytics.GetVehiclePerformance(request, timeout=self._timeout_s).performance

    def performances(
        self,
        vehicle_ids: Iterable[str],
        start: datetime | None = None,
        end: datetime | None = None,
        correlation: "Correlation.ValueType" = Correlation.CORRELATION_UNSPECIFIED,
    ) -> BatchGetVehiclePerformanceResponse:
        """Return the performance of up to 1,000 vehicles over one window."""
        request = BatchGetVehiclePerformanceRequest(
            vehicle_ids=vehicle_ids, window=window(start, end), correlation=correlation
        )
        with service_errors():
            return self._analytics.BatchGetVehiclePerformance(request, timeout=self._timeout_s)

    def series(  # noqa: PLR0913 - keyword-only but for the window
        self,
        vehicle_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        correlation: "Correlation.ValueType" = Correlation.CORRELATION_UNSPECIFIED,
        granularity: "Granularity.ValueType" = Granularity.GRANULARITY_UNSPECIFIED,
        time_zone: str = "",
    ) -> QueryPerformanceSeriesResponse:
        """Return [start, end) cut into buckets, of a vehicle, or where none is named of the whole fleet.

        By default buckets are chosen so that there are at most 300. Buckets without data have no energies, which is not
        0 kWh: ask HasField.
        """
        request = QueryPerformanceSeriesRequest(
            vehicle_id=vehicle_id,
            window=window(start, end),
            correlation=correlation,
            granularity=granularity,
            time_zone=time_zone,
        )
        with service_errors():
            return self._analytics.QueryPerformanceSeries(request, timeout=self._timeout_s)

    def ranking(  # noqa: PLR0913 - keyword-only but for the window
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        order_by: "VehicleOrder.ValueType" = VehicleOrder.VEHICLE_ORDER_UNSPECIFIED,
        reverse: bool = False,
        min_kwh_consumed_ac: float = 0.0,
        efficiency_below: float | None = None,
        meter_ids: Iterable[str] = (),
        page_size: int = 0,
    ) -> Iterator[VehiclePerformance]:
        """Yield the vehicles of the fleet, ranked, by default the least efficient first; pages as they are needed."""
        request = ListVehiclePerformanceRequest(
            window=window(start, end),
            order_by=order_by,
            reverse=reverse,
            min_kwh_consumed_ac=min_kwh_consumed_ac,
            efficiency_below=efficiency_below,
            meter_ids=meter_ids,
            page_size=page_size,
        )
        for page in pages(self._analytics.ListVehiclePerformance, request, self._timeout_s):
            yield from page.performances

    def fleet_summary(self, start: datetime | None = None, end: datetime | None = None) -> GetFleetSummaryResponse:
        """Return what the fleet consumed, got and lost in whole hours, by default the newest 24 that are rolled up."""
        with service_errors():
            return self._analytics.GetFleetSummary(
                GetFleetSummaryRequest(window=window(start, end)), timeout=self._timeout_s
            )

    def meter_use(
        self, meter_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> QueryMeterUseResponse:
        """Return who used a meter when, and what became of its energy; at most 31 days, by default 24 hours."""
        request = QueryMeterUseRequest(meter_id=meter_id, window=window(start, end))
        with service_errors():
            return self._analytics.QueryMeterUse(request, timeout=self._timeout_s)
