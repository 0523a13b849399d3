"""Programs that still run under a lock: those of a supervisor that was killed, or what a killed program leaves."""

import asyncio
import contextlib
import fcntl
import os
import signal
from pathlib import Path

from wattstream.embedded.folder import EmbeddedError, Home

_POLL_S = 0.02
_KILLED_WITHIN_S = 10.0
_STOP_WITHIN_S = 60.0


async def clear_all(home: Home) -> None:
    """Stop whatever an earlier supervisor of this data folder left running.

    Raises:
        EmbeddedError: something cannot be stopped.
    """
    await asyncio.gather(*(clear(lock, _STOP_WITHIN_S) for lock in home.run.glob("*.lock")))


async def clear(lock: Path, within_s: float) -> None:
    """Return when nothing runs under `lock`; what does is asked to stop, and killed if it has not within `within_s`.

    Raises:
        EmbeddedError: it runs on.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if _is_free(descriptor):
            return
        _signal(descriptor, None)
        if await _becomes_free(descriptor, within_s):
            return
        _signal(descriptor, signal.SIGKILL)
        if not await _becomes_free(descriptor, _KILLED_WITHIN_S):
            raise EmbeddedError(f"a program of an earlier run cannot be stopped; its process is named in {lock}")
    finally:
        os.close(descriptor)


async def _becomes_free(descriptor: int, within_s: float) -> bool:
    clock = asyncio.get_running_loop().time
    until = clock() + within_s
    while not _is_free(descriptor):
        if clock() > until:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _signal(descriptor: int, number: signal.Signals | None) -> None:
    """Send the process that took the lock `number`, or what it wants to be stopped by.

    When that process is gone, and the lock is held by children of it that are about to follow, its number may be
    another's by now: one that does not lead a session is surely not ours.
    """
    words = os.pread(descriptor, 64, 0).split()
    with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
        process, wanted = (int(word) for word in words)
        if os.getsid(process) == process:
            os.kill(process, number or wanted)
