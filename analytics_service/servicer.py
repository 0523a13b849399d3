"""AnalyticsService, put together from what answers each kind of question."""

from analytics_service.alerts.feed import Feed
from analytics_service.alerts.watch_servicer import WatchServicer
from analytics_service.answers import Answers
from analytics_service.config import AnalyticsConfig
from analytics_service.fleet_servicer import FleetServicer
from analytics_service.performance_servicer import PerformanceServicer
from wattstream.api.analytics.v1 import analytics_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["AnalyticsService"].full_name


class AnalyticsServicer(PerformanceServicer, FleetServicer, WatchServicer):
    """Answers AnalyticsService; each RPC is described in the contract."""

    def __init__(self, answers: Answers, feed: Feed, config: AnalyticsConfig) -> None:
        PerformanceServicer.__init__(self, answers, config)
        FleetServicer.__init__(self, answers, config)
        WatchServicer.__init__(self, feed)
