"""Background tasks: owned by a block, cancelled when it is left, and never dead unnoticed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from wattstream import logs

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
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _report(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task failed; shutting down", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
