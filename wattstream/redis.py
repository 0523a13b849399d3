"""Connections to Redis or Valkey."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_TIMEOUT_S = 2.0


def connect(url: str, *, max_connections: int) -> Redis:
    """Return a client of the server at `url`; it connects when first used, and every answer has a deadline of 2 s.

    Nothing is retried here but a connection that turns out to be stale: the caller knows what is safe to repeat.
    """
    return Redis.from_url(
        url,
        max_connections=max_connections,
        socket_timeout=_TIMEOUT_S,
        socket_connect_timeout=_TIMEOUT_S,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 1),
        decode_responses=False,
    )
