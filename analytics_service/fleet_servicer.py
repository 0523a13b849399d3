"""The questions about the whole fleet, from message to question and from answer to message."""

from datetime import UTC, datetime, timedelta
from typing import Any

from analytics_service import fleet, translate, translate_fleet
from analytics_service.answers import Answers
from wattstream import paging
from wattstream.api.analytics.v1 import analytics_pb2 as pb


class FleetServicer:
    """Answers what the fleet adds up to, and who is worst; a part of AnalyticsServicer."""

    _answers: Answers
    _longest: timedelta
    _max_batch: int

    async def ListVehiclePerformance(
        self, request: pb.ListVehiclePerformanceRequest, _: Any
    ) -> pb.ListVehiclePerformanceResponse:
        size = paging.page_size(request.page_size, translate_fleet.DEFAULT_PAGE, translate_fleet.MAX_PAGE)
        newest = await self._end(request.window) if not request.page_token else datetime.now(UTC)
        asked, after = translate_fleet.to_ranking(request, datetime.now(UTC), self._longest, newest, self._max_batch)
        found = await fleet.ranking(self._answers, asked, after, size + 1)
        return translate_fleet.to_ranking_message(request, asked, found, size)

    async def GetFleetSummary(self, request: pb.GetFleetSummaryRequest, _: Any) -> pb.GetFleetSummaryResponse:
        newest = await self._end(request.window)
        window = translate.to_window_of_hours(request.window, datetime.now(UTC), self._longest, newest)
        return translate_fleet.to_summary_message(window, await fleet.summary(self._answers, window))

    async def _end(self, window: pb.TimeWindow) -> datetime:
        """Return where a window ends that says nothing of it; one that does need not be looked up."""
        now = datetime.now(UTC)
        return now if window.HasField("end") else await fleet.newest_hour(self._answers, now)
