"""Ports on 127.0.0.1 that no other instance takes, and that stay the same from one start to the next."""

import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from wattstream.embedded.folder import EmbeddedError, Home, write_private

HOST = "127.0.0.1"
# Below what any system gives to outgoing connections, so that a port is still free when a program starts again.
_RANGE = range(20_000, 30_000)
_TRIES = 100


@contextmanager
def reserved(home: Home, name: str, *, exactly: int | None = None, default: int | None = None) -> Iterator[int]:
    """Yield a TCP port for `name`: `exactly` that one; else the one of the last time, `default`, or any, if free.

    Raises:
        EmbeddedError: the port asked for is in use.
    """
    for port in [exactly] if exactly else _candidates(home, name, default):
        holder = _hold(port)
        if holder is not None:
            with holder:
                if not exactly:
                    _remember(home, name, port)
                yield port
            return
    raise EmbeddedError(f"port {exactly} is in use; {name} needs another" if exactly else f"no port is free for {name}")


def _candidates(home: Home, name: str, default: int | None) -> Iterator[int]:
    yield from (port for port in (_remembered(home).get(name), default) if port)
    yield from random.sample(_RANGE, _TRIES)


def _hold(port: int) -> socket.socket | None:
    """Return what keeps `port` ours until it is closed; None if it is not free.

    The UDP port of the same number stands for the TCP port from now on: between two starts of a program nothing
    listens on TCP, and holding TCP itself would keep the program from it.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        holder.bind((HOST, port))
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
    except OSError:
        holder.close()
        return None
    return holder


def _remembered(home: Home) -> dict[str, int]:
    try:
        ports: dict[str, int] = json.loads((home.run / "ports.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return ports


def _remember(home: Home, name: str, port: int) -> None:
    write_private(home.run / "ports.json", json.dumps({**_remembered(home), name: port}))
