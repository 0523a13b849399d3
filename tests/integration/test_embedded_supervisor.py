"""The supervisor with small programs of all characters."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from wattstream.embedded import locks, supervisor
from wattstream.embedded.folder import EmbeddedError, Home, claimed
from wattstream.embedded.programs import Program

DEADLINE_S = 20
# Notes its start and end, and lives until it is asked to stop.
POLITE = """
import os, signal, sys
def note(what): os.write(journal, f"{what} {sys.argv[1]} {os.getpid()}\\n".encode())
journal = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
note("start")
signal.sigwait([signal.SIGTERM])
note("end")
"""
# Does not hear SIGTERM, and says so by its start.
DEAF = POLITE.replace("signal.sigwait([signal.SIGTERM])", "signal.sigwait([signal.SIGUSR1])")
# Ends when it is asked to, but for a child that takes its time.
PARENT = POLITE.replace(
    'note("start")',
    'import subprocess; late = f"sleep 0.5; echo end child 0 >> {sys.argv[2]}";'
    'subprocess.Popen(["sh", "-c", late], close_fds=False); note("start")',
)
# A supervisor to be killed: runs the one program that its arguments tell of.
SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from wattstream.embedded import supervisor
from wattstream.embedded.folder import claimed
from wattstream.embedded.programs import Program
async def main():
    with claimed(Path(sys.argv[1])) as home:
        program = Program("it", (sys.executable, "-c", *sys.argv[2:]), {}, Path("/"))
        async with supervisor.running(program, home):
            await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    with claimed(tmp_path / "data") as claimed_home:
        yield claimed_home


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def program(name: str, script: str, journal: Path) -> Program:
    before = len(read(journal))

    async def has_started() -> bool:
        return any(words[:2] == ["start", name] for words in read(journal)[before:])

    return Program(
        name=name,
        argv=(sys.executable, "-c", script, name, str(journal)),
        env={},
        cwd=Path("/"),
        is_ready=has_started,
        ready_within_s=DEADLINE_S,
    )


def read(journal: Path) -> list[list[str]]:
    return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_programs_start_in_order_and_stop_in_reverse(home: Home, journal: Path) -> None:
    async with AsyncExitStack() as stack:
        for name in ("a", "b", "c"):
            await stack.enter_async_context(supervisor.running(program(name, POLITE, journal), home))
        assert [words[:2] for words in read(journal)] == [["start", "a"], ["start", "b"], ["start", "c"]]
    assert [words[:2] for words in read(journal)[3:]] == [["end", "c"], ["end", "b"], ["end", "a"]]


async def test_what_dies_is_started_again(home: Home, journal: Path) -> None:
    async with supervisor.running(program("it", POLITE, journal), home):
        for starts in (1, 2):
            os.kill(int(read(journal)[-1][2]), signal.SIGKILL)
            await until(lambda starts=starts: len(read(journal)) > starts)
    assert [words[0] for words in read(journal)] == ["start", "start", "start", "end"]


async def test_what_does_not_start_is_told_with_the_end_of_its_log(home: Home, journal: Path) -> None:
    (home.log / "it.log").write_text("of an earlier run\n")
    broken = program("it", "import sys; print('a line'); sys.exit('no such thing')", journal)
    with pytest.raises(EmbeddedError) as failed:
        async with supervisor.running(broken, home):
            pass
    assert str(failed.value).splitlines() == [
        f"it does not start; the end of {home.log / 'it.log'}:",
        "  no such thing",
        "  a line",
    ]


async def test_what_is_never_ready_is_stopped_and_told(home: Home, journal: Path) -> None:
    async def is_ready() -> bool:
        return False

    never = replace(program("it", POLITE, journal), is_ready=is_ready, ready_within_s=0.5)
    with pytest.raises(EmbeddedError, match=r"it is not ready after 0.5 s"):
        async with supervisor.running(never, home):
            pass
    assert all(not is_alive(int(pid)) for _, _, pid in read(journal))


async def test_what_does_not_stop_is_killed(home: Home, journal: Path) -> None:
    async with supervisor.running(replace(program("it", DEAF, journal), stop_within_s=0.2), home):
        ((_, _, pid),) = read(journal)
    assert not is_alive(int(pid))
    assert [words[0] for words in read(journal)] == ["start"]


async def test_a_program_is_gone_only_when_its_children_are(home: Home, journal: Path) -> None:
    async with supervisor.running(program("it", PARENT, journal), home):
        pass
    assert [words[:2] for words in read(journal)] == [["start", "it"], ["end", "it"], ["end", "child"]]


async def test_a_signal_to_the_terminal_does_not_reach_programs(home: Home, journal: Path) -> None:
    async with supervisor.running(program("it", POLITE, journal), home):
        pid = int(read(journal)[0][2])
        assert os.getsid(pid) == os.getpgid(pid) == pid != os.getsid(0)


async def test_a_program_that_fails_when_it_is_run_once_is_told_with_its_log(home: Home, journal: Path) -> None:
    await supervisor.run(program("it", "print('fine')", journal), home)
    with pytest.raises(EmbeddedError, match=r"(?s)it failed; the end of .*: *\n  wrong$"):
        await supervisor.run(program("it", "import sys; sys.exit('wrong')", journal), home)


async def test_stopping_ends_even_when_the_data_folder_is_gone(home: Home, journal: Path) -> None:
    async with supervisor.running(program("it", POLITE, journal), home):
        shutil.rmtree(home.path)
    assert [words[0] for words in read(journal)] == ["start", "end"]


async def test_cancelling_the_start_leaves_nothing(home: Home, journal: Path) -> None:
    async def is_ready() -> bool:
        return False

    async def start() -> None:
        async with supervisor.running(replace(program("it", POLITE, journal), is_ready=is_ready), home):
            pass

    task = asyncio.create_task(start())
    await until(lambda: bool(read(journal)))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert [words[0] for words in read(journal)] == ["start", "end"]


@pytest.fixture
async def killed_over(tmp_path: Path, journal: Path) -> Callable[[str], Awaitable[int]]:
    """Kill a supervisor that runs a script in the data folder `home`, and return the process of the script."""

    async def kill(script: str) -> int:
        arguments = [str(tmp_path / "data"), script, "it", str(journal)]
        process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, *arguments])
        try:
            await until(lambda: bool(read(journal)))
        finally:
            process.kill()
            process.wait()
        return int(read(journal)[0][2])

    return kill


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they live until the next start")
async def test_programs_end_in_order_when_their_supervisor_is_killed(
    killed_over: Callable[[str], Awaitable[int]], journal: Path
) -> None:
    await killed_over(POLITE)
    await until(lambda: [words[0] for words in read(journal)] == ["start", "end"])


async def test_what_a_killed_supervisor_left_is_stopped_by_the_next(
    killed_over: Callable[[str], Awaitable[int]], journal: Path, tmp_path: Path
) -> None:
    pid = await killed_over(DEAF)
    assert is_alive(pid)
    with claimed(tmp_path / "data") as home:
        await locks.clear(home.run / "it.lock", 0.2)
        async with supervisor.running(program("it", POLITE, journal), home):
            assert len(read(journal)) == 2
    assert [words[0] for words in read(journal)] == ["start", "start", "end"]


async def test_a_stranger_with_the_number_of_a_program_that_ended_is_left_alone(home: Home) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        (home.run / "it.lock").write_text(json.dumps(stranger.pid) + " 9")
        await locks.clear_all(home)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
