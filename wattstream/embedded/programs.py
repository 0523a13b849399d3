"""What the supervisor needs to know of a program."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Account(NamedTuple):
    """A user of this machine to run a program as."""

    name: str
    uid: int
    gid: int


async def _at_once() -> bool:
    return True


@dataclass(frozen=True)
class Program:
    """A program to run.

    Attributes:
        name: names its log and its lock; one of a name runs in a data folder at a time.
        argv: the program, by its absolute path, and its arguments; visible to every user of the machine.
        env: its whole environment.
        cwd: the folder that it starts in.
        account: the user to run it as; None: the one that the supervisor runs as.
        stop_signal: what asks it to stop in an orderly way.
        stop_within_s: how long that may take before it is killed.
        is_ready: says whether it does its work; never raises, and answers within seconds.
        ready_within_s: how long it may take to be ready.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_within_s: float = 60.0
    is_ready: Callable[[], Awaitable[bool]] = _at_once
    ready_within_s: float = 300.0
