"""The end of a program that supervises others, when a signal asks for it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from wattstream import logs

log = logs.get()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` until it ends, or SIGINT, SIGTERM or SIGHUP cancels it: it then takes the time it needs to clean up.

    Only the first signal counts: an impatient second one would cut the cleaning short.
    """
    asyncio.run(_run(main))


async def _run(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:
            asked = True
            log.info("stopping")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means what it says
            loop.add_signal_handler(number, stop)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
