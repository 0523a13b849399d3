"""What the analytics service is made of, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from analytics_service.config import AnalyticsConfig
from analytics_service.servicer import SERVICE, AnalyticsServicer
from wattstream import postgres
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
        size=config.connections + 1,  # one for the check, so that many questions do not look like an outage
        statement_timeout_s=config.statement_timeout_s,
    ) as pool:
        servicer = AnalyticsServicer(pool, config)
        yield Parts(
            services=(SERVICE,),
            register=lambda server: analytics_pb2_grpc.add_AnalyticsServiceServicer_to_server(servicer, server),
            checks={"postgres": lambda: postgres.check(pool)},
        )
