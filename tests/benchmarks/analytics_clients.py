"""Who asks: the load generator through gRPC, and psycopg in processes of its own for the plain reference."""

import json
import multiprocessing
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

CLIENTS = 8
REFERENCE = "reference"
# What a vehicle was given and what its meter counted, as anybody would ask for it.
DC_SQL = """
SELECT sum(kwh_delivered_dc) FROM vehicle_readings WHERE vehicle_key = %s AND recorded_at >= %s AND recorded_at < %s
"""
AC_SQL = """
SELECT sum(kwh_consumed_ac) FROM meter_readings WHERE meter_key = %s AND recorded_at >= %s AND recorded_at < %s
"""


@dataclass
class Answered:
    """How long answers took, in milliseconds, the CPU seconds of those who asked, and what failed, by status."""

    latencies_ms: list[float]
    client_cpu_s: float
    seconds: float
    failed: dict[str, Any] = field(default_factory=dict)


class Asker:
    """Asks through gRPC. Connections stay open from call to call."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._file = folder / "requests"

    def ask(self, clients: int, address: str, method: str, requests: Sequence[bytes]) -> Answered:
        """Ask so many at once until all requests are answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._file.write_bytes(b"".join(struct.pack("<II", 0, len(one)) + one for one in requests))
        self._process.stdin.write(f"{clients} {address} {method} {self._file}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the load generator has failed")
        return Answered(**json.loads(line))


@contextmanager
def asking(program: Path, folder: Path) -> Iterator[Asker]:
    """Run the load generator as one who asks."""
    with subprocess.Popen([program, "query"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Asker(process, folder)


class Reference:
    """Asks both tables for sums, with psycopg: a connection and a process for each client."""

    def __init__(self, pipes: Sequence["Pipe[Any, Any]"]) -> None:
        self._pipes = pipes

    def ask(self, clients: int, questions: Sequence[tuple[Any, ...]]) -> Answered:
        """Ask so many at once; a question is vehicle key, meter key, start and end."""
        begin = time.perf_counter()
        for number, pipe in enumerate(self._pipes[:clients]):
            pipe.send(questions[number::clients])
        answers = [pipe.recv() for pipe in self._pipes[:clients]]
        seconds = time.perf_counter() - begin
        return Answered(
            list(chain.from_iterable(taken for taken, _ in answers)), sum(cpu_s for _, cpu_s in answers), seconds
        )


@contextmanager
def referring(dsn: str) -> Iterator[Reference]:
    """Run the processes that ask for the reference."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = []
        for _ in range(CLIENTS):
            ours, theirs = context.Pipe()
            process = context.Process(target=_refer, args=(theirs, dsn), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join, 10)
            stack.callback(ours.close)
            pipes.append(ours)
        yield Reference(pipes)


def _refer(pipe: "Pipe[Any, Any]", dsn: str) -> None:
    with psycopg.connect(make_conninfo(dsn, application_name=REFERENCE), autocommit=True) as connection:
        while True:
            try:
                questions = pipe.recv()
            except EOFError:
                return
            used = time.process_time()
            taken = []
            for vehicle_key, meter_key, start, end in questions:
                begin = time.perf_counter()
                connection.execute(DC_SQL, (vehicle_key, start, end)).fetchone()
                connection.execute(AC_SQL, (meter_key, start, end)).fetchone()
                taken.append(1000 * (time.perf_counter() - begin))
            pipe.send((taken, time.process_time() - used))
