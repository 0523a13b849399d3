"""How commands and scripts are sent: in pipelines, a bounded number at a time, and with errors told apart."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ClusterDownError, NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError

from wattstream.errors import AwayError
from wattstream.resources import read

# redis-py takes the code off the message of the errors that it has a class for.
_REFUSALS = (OutOfMemoryError, ReadOnlyError, ClusterDownError)
_REFUSAL = re.compile(r"\b(OOM|MISCONF|READONLY|NOREPLICAS|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY)\b")


class Commands:
    """Sends commands to Redis over at most `connections` connections; more wait for a free one.

    Errors are redis.RedisError, and AwayError while the server refuses to do its work: it is full, say, or read-only.
    """

    def __init__(self, client: Redis, connections: int) -> None:
        self._redis = client
        self._free = asyncio.Semaphore(connections)

    async def execute(self, commands: Sequence[tuple[Any, ...]], *expected: type[ResponseError]) -> list[Any]:
        """Send commands in one pipeline; an answer may be an error of the `expected` types, any other is raised."""
        if not commands:
            return []
        async with self._turn(), self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            answers = await pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception) and not isinstance(answer, expected):
                    raise answer
            return answers

    async def run(self, script: str, calls: Sequence[tuple[str, Sequence[str]]]) -> list[Any]:
        """Run a script for each (key, arguments), in one pipeline, and load it where the server has forgotten it."""
        text = read("state_service.lua", script)
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        commands = [("EVALSHA", sha, 1, key, *arguments) for key, arguments in calls]
        answers = await self.execute(commands, NoScriptError)
        forgotten = [i for i, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if forgotten:
            async with self._turn():
                await self._redis.script_load(text)
            repeated = await self.execute([commands[i] for i in forgotten])
            for i, answer in zip(forgotten, repeated, strict=True):
                answers[i] = answer
        return answers

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._free:
            try:
                yield
            except ResponseError as error:
                if not _is_refusal(error):
                    raise
                raise AwayError("the state store refuses to work for now") from error
            raise_if_cancelled()


def raise_if_cancelled() -> None:
    """Raise the cancellation of the running task once more.

    redis-py sends under asyncio.wait_for, which up to Python 3.11 drops a cancellation that comes as the sending ends:
    without this a task that talks to Redis for ever might not end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _is_refusal(error: ResponseError) -> bool:
    """Tell a server that cannot do its work just now from a mistake; a script's error has the code anywhere."""
    return isinstance(error, _REFUSALS) or _REFUSAL.search(str(error)) is not None
