"""AnalyticsService, put together from what answers each kind of question."""

from datetime import timedelta

from analytics_service.alerts.book import Book
from analytics_service.alerts.feed import Feed
from analytics_service.alerts.servicer import AlertsServicer
from analytics_service.alerts.watch_servicer import WatchServicer
from analytics_service.answers import Answers
from analytics_service.config import AnalyticsConfig
from analytics_service.fleet_servicer import FleetServicer
from analytics_service.performance_servicer import PerformanceServicer
from wattstream.api.analytics.v1 import analytics_pb2 as pb
from wattstream.api.analytics.v1 import analytics_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["AnalyticsService"].full_name


class AnalyticsServicer(
    PerformanceServicer, FleetServicer, WatchServicer, AlertsServicer, analytics_pb2_grpc.AnalyticsServiceServicer
):
    """Answers AnalyticsService, within the limits of `config`; each RPC is described in the contract."""

    def __init__(self, answers: Answers, feed: Feed, book: Book, config: AnalyticsConfig) -> None:
        self._answers = answers
        self._feed = feed
        self._book = book
        self._longest = timedelta(days=config.max_window_days)
        self._max_batch = config.max_batch
