"""What the state service is made of, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from state_service import changes
from state_service.config import StateConfig
from state_service.servicer import SERVICE, StateServicer
from state_service.store import Store
from state_service.watch import Feed
from wattstream import redis, tasks
from wattstream.api.state.v1 import state_pb2_grpc
from wattstream.server import Parts, StartError


@asynccontextmanager
async def lifespan(config: StateConfig) -> AsyncIterator[Parts]:
    """Yield the parts of the service; Redis may be away, then and later.

    Raises:
        StartError: redis_url cannot be read.
    """
    try:
        client = redis.connect(config.redis_url, max_connections=config.max_connections)
    except ValueError as error:
        raise StartError(f"WATTSTREAM_REDIS_URL: {error}") from None
    store = Store(client, config.max_connections)
    feed = Feed(lambda: changes.subscribe(client, store.identify), store.snapshot, config.max_watchers)
    servicer = StateServicer(store, feed, config.online_within_s)
    try:
        async with tasks.running(feed.run()):
            yield Parts(
                services=(SERVICE,),
                register=lambda server: state_pb2_grpc.add_StateServiceServicer_to_server(servicer, server),
                checks={"redis": store.ping},
                drain=feed.drain,
            )
    finally:
        await client.aclose()
