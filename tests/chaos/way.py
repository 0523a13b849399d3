"""A way to PostgreSQL that can be closed: what the network does to connections."""

import asyncio
import socket
from collections.abc import Callable

from psycopg.conninfo import conninfo_to_dict, make_conninfo


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Way:
    """A way to a database that can be closed, and that can break whenever a commit of history has gone through it.

    Attributes:
        breaks_at: tells of each such commit, by its number, whether the way breaks before the answer comes.
        commits: how many there were.
    """

    def __init__(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        self._target = str(parts["host"]), int(str(parts["port"]))
        self._address = free_address().split(":")
        self.dsn = make_conninfo(dsn, host=self._address[0], port=self._address[1])
        self.breaks_at: Callable[[int], bool] = lambda _number: False
        self.commits = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, self._address[0], int(self._address[1]))

    async def close(self) -> None:
        if self._server:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        far_in, far_out = await asyncio.open_connection(*self._target)
        self._open |= {near_out, far_out}
        try:
            await asyncio.gather(self._pump(near_in, far_out, near_out), self._pump(far_in, near_out, None))
        except (OSError, EOFError):
            pass
        finally:
            self._open -= {near_out, far_out}
            near_out.transport.abort()
            far_out.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.StreamWriter | None
    ) -> None:
        copied = False
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
            copied |= b"PGCOPY" in data
            if answers and copied and b"COMMIT" in data:
                copied = False
                self.commits += 1
                if self.breaks_at(self.commits):
                    answers.transport.abort()
        raise EOFError
