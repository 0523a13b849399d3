"""The questions about vehicles and meters, from message to question and from answer to message."""

from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_service import buckets, fleet, store, translate, translate_series
from analytics_service.answers import Answers
from analytics_service.meter_use import meter_use
from analytics_service.windows import Window
from wattstream.api.analytics.v1 import analytics_pb2 as pb

_METER_USE_AT_MOST = timedelta(days=31)


class PerformanceServicer:
    """Answers what vehicles were given, and who used a meter; a part of AnalyticsServicer."""

    _answers: Answers
    _longest: timedelta
    _max_batch: int

    async def GetVehiclePerformance(
        self, request: pb.GetVehiclePerformanceRequest, _: Any
    ) -> pb.GetVehiclePerformanceResponse:
        vehicle_id = translate.to_device_id("vehicle_id", request.vehicle_id)
        window, correlation = self._window(request.window), translate.to_correlation(request.correlation)
        answer = (await store.performances(self._answers, [vehicle_id], window, correlation)).get(vehicle_id)
        if answer is None:
            raise translate.nothing_found(vehicle_id, window)
        return pb.GetVehiclePerformanceResponse(
            performance=translate.to_performance_message(vehicle_id, window, correlation, answer)
        )

    async def BatchGetVehiclePerformance(
        self, request: pb.BatchGetVehiclePerformanceRequest, _: Any
    ) -> pb.BatchGetVehiclePerformanceResponse:
        vehicle_ids = translate.to_device_ids("vehicle_ids", request.vehicle_ids, self._max_batch)
        window, correlation = self._window(request.window), translate.to_correlation(request.correlation)
        answers = await store.performances(self._answers, vehicle_ids, window, correlation)
        return pb.BatchGetVehiclePerformanceResponse(
            performances=[
                translate.to_performance_message(id_, window, correlation, answers[id_])
                for id_ in vehicle_ids
                if id_ in answers
            ],
            missing_vehicle_ids=[id_ for id_ in vehicle_ids if id_ not in answers],
            window=translate.to_window_message(window),
        )

    async def QueryPerformanceSeries(
        self, request: pb.QueryPerformanceSeriesRequest, _: Any
    ) -> pb.QueryPerformanceSeriesResponse:
        asked = translate_series.to_series(request, datetime.now(UTC), self._longest)
        cuts = buckets.cuts(asked.window, asked.granularity, asked.zone, asked.finest)
        if asked.vehicle_id is None:
            found = await fleet.series(self._answers, asked.window, cuts)
        else:
            found = await store.buckets(self._answers, asked.vehicle_id, asked.window, cuts, asked.correlation)
        return translate_series.to_series_message(asked, cuts, found)

    async def QueryMeterUse(self, request: pb.QueryMeterUseRequest, _: Any) -> pb.QueryMeterUseResponse:
        meter_id = translate.to_device_id("meter_id", request.meter_id)
        window = translate.to_window(request.window, datetime.now(UTC), min(self._longest, _METER_USE_AT_MOST))
        return translate_series.to_meter_use_message(window, await meter_use(self._answers, meter_id, window))

    def _window(self, message: pb.TimeWindow) -> Window:
        return translate.to_window(message, datetime.now(UTC), self._longest)
