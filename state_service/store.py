"""The states in Redis: a hash a device, a sorted set of ids a kind, and the mark of the content.

    vehicle:{id}, meter:{id}                hash    the newest reading, replaced as a whole by lua/merge.lua
    wattstream:vehicles, wattstream:meters  zset    ids that have a hash or are about to, all of score 0: in order of id
    wattstream:store_id                     string  names the content; see lua/identify.lua

Every command and script touches one key, so that a cluster serves as well as one server.
"""

import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeVar

from redis.asyncio import Redis

from state_service import changes
from state_service.commands import Commands, raise_if_cancelled
from state_service.states import Kind, Selection, State, from_fields, id_of, key_of, to_fields

BATCH = 500  # commands a pipeline, states a message

_INDEX = {Kind.VEHICLE: "wattstream:vehicles", Kind.METER: "wattstream:meters"}
_STORE_ID = "wattstream:store_id"
_KNOWN_AT_MOST = 1_000_000
_NOT_FOR_CALLS = 2  # connections: the subscription's and the health check's
_REPLACED = 1  # the verdict of lua/merge.lua

Item = TypeVar("Item")


class Applied(NamedTuple):
    """How many states were replaced, and the id of the store's content."""

    replaced: int
    store_id: str


@dataclass
class _Listed:
    """Keys that are in the sorted sets for sure, as long as the store's content is that of `store_id`."""

    store_id: str = ""
    keys: set[str] = field(default_factory=set)


class Store:
    """The states in Redis. Its errors are those of Commands."""

    def __init__(self, client: Redis, max_connections: int) -> None:
        self._redis = client
        self._channel = changes.channel_of(client)
        self._commands = Commands(client, max_connections - _NOT_FOR_CALLS)
        self._listed = _Listed()

    async def ping(self) -> None:
        """Raise an error unless the server is there and has loaded its data."""
        await self._redis.ping()
        raise_if_cancelled()

    async def identify(self) -> str:
        """Return the id of the store's content; see lua/identify.lua."""
        (answer,) = await self._commands.run("identify.lua", [(_STORE_ID, (uuid.uuid4().hex,))])
        return str(answer, "ascii")

    async def apply(self, states: Sequence[State]) -> Applied:
        """Merge states, at most one a device, and tell all watchers of those that were replaced.

        The id of the content is read first: a flush after that takes the mark away with all that this call has merged,
        so that a later call answers another id. Read last, it could be the id of a content that came to be half way.
        """
        store_id = await self.identify()
        await self._list(store_id, [state.key for state in states])
        replaced = 0
        for batch in _batches(states):
            verdicts = await self._commands.run("merge.lua", [(s.key, _arguments(s)) for s in batch])
            replaced += verdicts.count(_REPLACED)
            # A state that this very reading made before is told again: the call that made it may have failed too soon.
            told = [state for state, verdict in zip(batch, verdicts, strict=True) if verdict]
            if told:
                message = changes.encode(store_id, told)
                await self._commands.execute([("PUBLISH", self._channel, message)])
        return Applied(replaced, store_id)

    async def get(self, keys: Iterable[str]) -> dict[str, State]:
        """Return the states of those devices that have one, in the order asked."""
        found = {}
        for batch in _batches(keys):
            answers = await self._commands.execute([("HGETALL", key) for key in batch])
            for key, fields in zip(batch, answers, strict=True):
                if fields:
                    found[key] = from_fields(key, {name.decode(): text.decode() for name, text in fields.items()})
        return found

    async def page(self, kind: Kind, after: str, size: int) -> tuple[list[State], str]:
        """Return the states of at most `size` devices by id, from the one after `after` on, and the last id looked at.

        That id is empty if no device follows. An id may be listed before its first state is there: then it is left out.
        """
        start = f"({after}" if after else "-"
        (found,) = await self._commands.execute([("ZRANGEBYLEX", _INDEX[kind], start, "+", "LIMIT", 0, size + 1)])
        ids = [member.decode() for member in found]
        states = await self.get(key_of(kind, device_id) for device_id in ids[:size])
        return list(states.values()), ids[size - 1] if len(ids) > size else ""

    async def snapshot(self, selection: Selection) -> AsyncIterator[list[State]]:
        """Yield all states of a selection, in lists of at most BATCH."""
        for batch in _batches(selection.keys):
            yield list((await self.get(batch)).values())
        for kind in () if selection.keys else selection.kinds:
            after, more = "", True
            while more:
                states, after = await self.page(kind, after, BATCH)
                more = after != ""
                yield states

    async def _list(self, store_id: str, keys: Sequence[str]) -> None:
        """Add ids to the sorted sets, before their states are written, so that no state is ever missing from them."""
        listed = self._listed
        if listed.store_id != store_id or len(listed.keys) > _KNOWN_AT_MOST:
            listed = self._listed = _Listed(store_id)
        new = [key for key in keys if key not in listed.keys]
        for kind, index in _INDEX.items():
            ids = [id_of(key) for key in new if key.startswith(kind.value + ":")]
            await self._commands.execute([("ZADD", index, *_scored(batch)) for batch in _batches(ids)])
        listed.keys.update(new)


def _arguments(state: State) -> list[str]:
    return [text for pair in to_fields(state).items() for text in pair]


def _scored(ids: Iterable[str]) -> Iterable[str | int]:
    for device_id in ids:
        yield from (0, device_id)


def _batches(items: Iterable[Item]) -> Iterable[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
