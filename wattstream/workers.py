"""A service as several processes that share one address: the kernel deals connections out to them (SO_REUSEPORT).

The parent starts the workers, starts one again that dies, and ends with them. A worker holds the reading end of a pipe
whose writing end only the parent has: when the parent is gone, however it went, the pipe ends and so does the worker.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable

from wattstream import logs

OPTION = "--worker-of-pipe"
_AGAIN_AFTER_S = 1.0
_DIED_YOUNG_S = 10.0

log = logs.get()


def watch_parent(pipe: int, stop: Callable[[], None]) -> None:
    """Call `stop` when the parent is gone."""
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(pipe)
        stop()

    loop.add_reader(pipe, gone)


async def supervise(module: str, listen: str, count: int) -> int:
    """Run `count` workers of `python -m module` until SIGTERM or SIGINT; return the exit code.

    A worker that gives up before it has run for long ends them all: it cannot start, and has said why.
    """
    with _reserved(listen), _Pipe() as pipe:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        tasks = [asyncio.create_task(_keep(module, pipe.reading, stopping)) for _ in range(count)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stopping.set()
        return max(await asyncio.gather(*tasks))


async def _keep(module: str, pipe: int, stopping: asyncio.Event) -> int:
    clock = asyncio.get_running_loop().time
    while True:
        started = clock()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module, OPTION, str(pipe), pass_fds=[pipe], stdin=asyncio.subprocess.DEVNULL
        )
        ended, asked = asyncio.create_task(process.wait()), asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.terminate()
                return await ended
        finally:
            asked.cancel()
        code = ended.result()
        if code >= 0 and clock() - started < _DIED_YOUNG_S:
            return code or 1
        log.warning("a worker died and is started again", code=code)
        await asyncio.sleep(_AGAIN_AFTER_S)


class _Pipe:
    def __enter__(self) -> "_Pipe":
        self.reading, self._writing = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reading)
        os.close(self._writing)


def _reserved(listen: str) -> socket.socket:
    """Hold the address, without listening on it, so that another service cannot take a share of its connections.

    Raises:
        OSError: the address is in use.
    """
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without SO_REUSEPORT first: that fails where anybody, even one that would share, has the address.
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host.strip("[]"), int(port)))
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((host.strip("[]"), int(port)))
    return held
