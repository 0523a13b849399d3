"""What the analytics service is made of, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from analytics_service.alerts.book import Book
from analytics_service.alerts.changes import Changes
from analytics_service.alerts.delivery import Endpoint
from analytics_service.alerts.evaluate import Evaluation
from analytics_service.alerts.feed import Feed
from analytics_service.alerts.webhook import Webhook, endpoint_of
from analytics_service.answers import Answers, open_pool
from analytics_service.config import AnalyticsConfig
from analytics_service.rollups.refresher import Pace, Refresher
from analytics_service.servicer import SERVICE, AnalyticsServicer
from wattstream import postgres, tasks
from wattstream.api.analytics.v1 import analytics_pb2_grpc
from wattstream.server import Parts, StartError

# One each for rollups, for finding alerts and for telling of them; two for calls about alerts and rules.
_BACKGROUND_CONNECTIONS = 5
_STEP_AT_MOST_S = 120.0


@asynccontextmanager
async def lifespan(config: AnalyticsConfig) -> AsyncIterator[Parts]:
    """Yield the parts of the service, once PostgreSQL answers; it may be away later.

    Raises:
        StartError: the schema is too old or too new, or the webhook's settings cannot be used.
    """
    endpoint = _endpoint(config)
    async with (
        # One for the check, so that many questions do not look like an outage.
        open_pool(config.postgres_dsn, config.connections + 1, config.statement_timeout_s) as pool,
        postgres.open_pool(
            config.postgres_dsn,
            name="analytics background",
            size=_BACKGROUND_CONNECTIONS + (endpoint is not None),
            statement_timeout_s=_STEP_AT_MOST_S,
            autocommit=True,
        ) as background,
    ):
        feed = Feed(Changes(background), poll_s=config.alert_poll_s, max_watchers=config.max_watchers)
        servicer = AnalyticsServicer(Answers(pool, config.connections), feed, Book(background), config)
        refresher = Refresher(background, _pace(config))
        background_tasks = [feed.run()]
        if config.refresh:
            background_tasks += [refresher.run(), Evaluation(background, config.alerts_every_s).run()]
        if endpoint is not None:
            background_tasks.append(Webhook(background, endpoint, poll_s=config.alert_poll_s).run())
        async with tasks.running(*background_tasks):
            yield Parts(
                services=(SERVICE,),
                register=lambda server: analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(servicer, server),
                checks={"postgres": lambda: postgres.check(pool)},
                drain=feed.drain,
            )


def _endpoint(config: AnalyticsConfig) -> Endpoint | None:
    if not config.webhook_url:
        return None
    try:
        return endpoint_of(config.webhook_url, config.webhook_secret, config.webhook_timeout_s)
    except ValueError as error:
        raise StartError(f"WATTSTREAM_ANALYTICS_{error}") from None


def _pace(config: AnalyticsConfig) -> Pace:
    return Pace(
        every=timedelta(seconds=config.refresh_every_s),
        grace=timedelta(seconds=config.refresh_grace_s),
        settle=timedelta(seconds=config.refresh_settle_s),
        devices=config.refresh_devices,
    )
