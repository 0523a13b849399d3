"""Background tasks: owned by a block, cancelled when it is left, and never dead unnoticed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager

from wattstream import logs

_AGAIN_S = 0.5

log = logs.get()


@asynccontextmanager
async def running(*coroutines: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run the coroutines beside the block. None should end by itself: if one fails, the process is asked to stop."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for task in tasks:
        task.add_done_callback(_report)
    try:
        yield
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Cancel the tasks and return when they have ended; again and again, for a library may swallow a cancellation."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_AGAIN_S)


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task failed; shutting down", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
