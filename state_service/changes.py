"""The channel by which every process of the state service learns what any of them has changed."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import redis
from redis.asyncio import Redis

from state_service.commands import raise_if_cancelled
from state_service.states import State, from_fields, to_fields

_BEAT_S = 5.0


class Change(NamedTuple):
    """States that were replaced, and the id of the store's content that they belong to."""

    store_id: str
    states: list[State]


def channel_of(client: Redis) -> str:
    """Return the name of the channel; it names the database, since all databases of a server share their channels."""
    options: Mapping[str, Any] = client.get_connection_kwargs()  # type: ignore[no-untyped-call]
    return f"wattstream:changes:{options.get('db') or 0}"


def encode(store_id: str, states: Sequence[State]) -> str:
    """Return the message that tells of a change."""
    return json.dumps({"store_id": store_id, "states": {state.key: to_fields(state) for state in states}})


def decode(message: bytes) -> Change:
    """Return the change that `encode` made `message` of.

    Raises:
        ValueError, KeyError: the message is of another make.
    """
    content = json.loads(message)
    return Change(content["store_id"], [from_fields(key, fields) for key, fields in content["states"].items()])


async def subscribe(client: Redis, identify: Callable[[], Awaitable[str]]) -> AsyncGenerator[str | bytes]:
    """Yield the id of the store's content (a str) when the subscription begins, then every message (bytes).

    The id comes again when the subscription had to begin anew: messages between were lost. A connection whose other end
    is gone without a word is found out within two beats.

    Raises:
        redis.RedisError, AwayError: the subscription is lost, or the store is away.
    """
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(channel_of(client))
        asked = False
        while True:
            raise_if_cancelled()
            message = await pubsub.get_message(timeout=_BEAT_S)
            if message is None:
                if asked:
                    raise redis.ConnectionError("the subscription is silent")
                await pubsub.ping()
            elif message["type"] == "subscribe":
                # A server that is still loading lets one subscribe, but does not answer this.
                yield await identify()
            elif message["type"] == "message":
                yield message["data"]
            asked = message is None
