"""Runs programs: ready before they are used, started again when they die, stopped when they are no longer needed.

`running` is a context manager a program; entered one after the other they start in order and stop in reverse.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from wattstream import logs
from wattstream.embedded import child, locks
from wattstream.embedded.folder import EmbeddedError, Home
from wattstream.embedded.programs import Program

_POLL_S = 0.05
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_LOG_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 4096
_TAIL_LINES = 20

log = logs.get()


@asynccontextmanager
async def running(program: Program, home: Home) -> AsyncIterator[None]:
    """Keep `program` running: it is ready on entering, started again whenever it dies, and gone on leaving.

    Raises:
        EmbeddedError: it does not start; the message has the end of its log.
    """
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    keeper = asyncio.create_task(_keep(program, home, ready), name=program.name)
    try:
        await asyncio.wait({keeper, ready}, return_when=asyncio.FIRST_COMPLETED)
        if keeper.done():
            keeper.result()
        yield
    finally:
        keeper.cancel()
        await asyncio.wait({keeper})
        if ready.done() and not keeper.cancelled():
            log.error("a program may not have stopped", program=program.name, reason=str(keeper.exception()))


async def run(program: Program, home: Home) -> None:
    """Run `program` to its end.

    Raises:
        EmbeddedError: it fails; the message has the end of its log.
    """
    async with _process(program, home) as (process, begin):
        code = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(program.ready_within_s):
                code = await process.wait()
    if code != 0:
        raise EmbeddedError(_failure(f"{program.name} failed", program, home, begin))


async def _keep(program: Program, home: Home, ready: "asyncio.Future[None]") -> None:
    clock = asyncio.get_running_loop().time
    keeper = asyncio.current_task()
    assert keeper is not None
    pause = _FIRST_PAUSE_S
    while True:
        started = clock()
        try:
            async with _process(program, home) as (process, begin):
                await _until_ready(program, home, process, begin)
                if not ready.done():
                    ready.set_result(None)
                code = await process.wait()
            log.warning("a program died and is started again", program=program.name, code=code)
        except (EmbeddedError, OSError) as error:
            if not ready.done() or keeper.cancelling():
                raise
            log.warning("a program does not start again yet", program=program.name, reason=str(error))
        pause = _FIRST_PAUSE_S if clock() - started > _LONGEST_PAUSE_S else min(2 * pause, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause)


@asynccontextmanager
async def _process(program: Program, home: Home) -> AsyncIterator[tuple[Process, int]]:
    """Run the program once; yield its process and where in the log it begins. On leaving, nothing of it is left."""
    lock = home.run / f"{program.name}.lock"
    await locks.clear(lock, program.stop_within_s)
    output = _open_log(home, program)
    try:
        begin = os.lseek(output, 0, os.SEEK_END)
        process = await asyncio.create_subprocess_exec(
            *_launch(program, lock),
            env=dict(program.env),
            cwd=program.cwd,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(output)
    try:
        yield process, begin
    finally:
        await _stop(program, process)
        await locks.clear(lock, program.stop_within_s)


def _launch(program: Program, lock: Path) -> tuple[str, ...]:
    user = f"{program.account.uid}:{program.account.gid}" if program.account else ""
    how = (str(lock), str(os.getpid()), str(int(program.stop_signal)), user)
    return (sys.executable, "-I", "-S", child.__file__, *how, *program.argv)


async def _until_ready(program: Program, home: Home, process: Process, begin: int) -> None:
    try:
        async with asyncio.timeout(program.ready_within_s):
            while not await program.is_ready() and process.returncode is None:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        problem = f"{program.name} is not ready after {program.ready_within_s:g} s"
        raise EmbeddedError(_failure(problem, program, home, begin)) from None
    if process.returncode is not None:
        raise EmbeddedError(_failure(f"{program.name} does not start", program, home, begin))


async def _stop(program: Program, process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(program.stop_signal)
    try:
        # Not asyncio.timeout: before Python 3.11.3 it never says so in a task that is being cancelled, as this one is.
        await asyncio.wait_for(process.wait(), program.stop_within_s)
    except TimeoutError:
        log.warning("a program does not stop and is killed", program=program.name)
        process.kill()
        await process.wait()


def _open_log(home: Home, program: Program) -> int:
    path = home.log / f"{program.name}.log"
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.rename(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _failure(problem: str, program: Program, home: Home, begin: int) -> str:
    """Return `problem` with the end of what the program has logged since `begin`."""
    path = home.log / f"{program.name}.log"
    with path.open("rb") as file:
        file.seek(max(begin, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n  ".join([f"{problem}; the end of {path}:", *lines]) if lines else f"{problem}; {path} is silent"
