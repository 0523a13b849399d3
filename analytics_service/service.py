"""What the analytics service is made of, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from analytics_service.alerts.changes import Changes
from analytics_service.alerts.feed import Feed
from analytics_service.config import AnalyticsConfig
from analytics_service.servicer import SERVICE, AnalyticsServicer
from wattstream import postgres, tasks
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.server import Parts


@asynccontextmanager
async def lifespan(config: AnalyticsConfig) -> AsyncIterator[Parts]:
    """Yield the parts of the service, once PostgreSQL answers; it may be away later.

    Raises:
        StartError: the schema is too old or too new.
    """
    async with postgres.open_pool(
        config.postgres_dsn,
        name="analytics",
        # One for the check, so that many questions do not look like an outage; one for those who watch.
        size=config.connections + 2,
        statement_timeout_s=config.statement_timeout_s,
    ) as pool:
        feed = Feed(Changes(pool), poll_s=config.alert_poll_s, max_watchers=config.max_watchers)
        servicer = AnalyticsServicer(pool, feed, config)
        async with tasks.running(feed.run()):
            yield Parts(
                services=(SERVICE,),
                register=lambda server: analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(servicer, server),
                checks={"postgres": lambda: postgres.check(pool)},
                drain=feed.drain,
            )
