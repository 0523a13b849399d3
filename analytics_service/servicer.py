"""AnalyticsService, from message to question and from answer to message."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio

from analytics_service import store, translate
from analytics_service.alerts.feed import Feed
from analytics_service.alerts.watch_servicer import WatchServicer
from analytics_service.config import AnalyticsConfig
from analytics_service.performance import Correlation, Performance
from analytics_service.windows import Window
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.postgres import Pool

SERVICE = pb.DESCRIPTOR.services_by_name["AnalyticsService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class AnalyticsServicer(WatchServicer, analytics_pb2_grpc.AnalyticsServiceServicer):
    """Answers from the database behind `pool`, within the limits of `config`.

    Questions that find all `config.connections` in use wait for their turn for as long as their deadline allows.
    """

    def __init__(self, pool: Pool, feed: Feed, config: AnalyticsConfig) -> None:
        self._pool = pool
        self._feed = feed
        self._longest = timedelta(days=config.max_window_days)
        self._max_batch = config.max_batch
        self._turns = asyncio.Semaphore(config.connections)

    async def GetVehiclePerformance(
        self, request: pb.GetVehiclePerformanceRequest, context: Context
    ) -> pb.GetVehiclePerformanceResponse:
        """Answer for one vehicle, or NOT_FOUND when nothing is kept."""
        vehicle_id = translate.to_vehicle_id("vehicle_id", request.vehicle_id)
        window, correlation = self._window(request.window), translate.to_correlation(request.correlation)
        answer = (await self._ask([vehicle_id], window, correlation)).get(vehicle_id)
        if answer is None:
            raise translate.nothing_found(vehicle_id, window)
        return pb.GetVehiclePerformanceResponse(
            performance=translate.to_performance_message(vehicle_id, window, correlation, answer)
        )

    async def BatchGetVehiclePerformance(
        self, request: pb.BatchGetVehiclePerformanceRequest, context: Context
    ) -> pb.BatchGetVehiclePerformanceResponse:
        """Answer for several vehicles over one window."""
        vehicle_ids = translate.to_vehicle_ids(request.vehicle_ids, self._max_batch)
        window, correlation = self._window(request.window), translate.to_correlation(request.correlation)
        answers = await self._ask(vehicle_ids, window, correlation)
        return pb.BatchGetVehiclePerformanceResponse(
            performances=[
                translate.to_performance_message(id_, window, correlation, answers[id_])
                for id_ in vehicle_ids
                if id_ in answers
            ],
            missing_vehicle_ids=[id_ for id_ in vehicle_ids if id_ not in answers],
            window=translate.to_window_message(window),
        )

    async def _ask(
        self, vehicle_ids: Sequence[str], window: Window, correlation: Correlation
    ) -> dict[str, Performance]:
        async with self._turns:
            return await store.performances(self._pool, vehicle_ids, window, correlation)

    def _window(self, message: pb.TimeWindow) -> Window:
        return translate.to_window(message, datetime.now(UTC), self._longest)
