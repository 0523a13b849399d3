"""A service as a process: how it starts, refuses to start, logs, drains and ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

# A service with a unary method that waits for a file, a stream that ends when drained, and a store to wait for.
PROGRAM = textwrap.dedent(
    """
    import asyncio, os
    from contextlib import asynccontextmanager
    from dataclasses import dataclass
    from pathlib import Path
    import grpc
    from google.protobuf.wrappers_pb2 import StringValue
    from wattstream import errors, logs, postgres, server
    from wattstream.config import setting

    log = logs.get()

    @dataclass(frozen=True)
    class Config:
        listen: str = setting("127.0.0.1:0", "address to listen on")
        log_level: str = setting("info", "least level", shared=True, choices=("info", "warning"))
        default_deadline_s: float = setting(10.0, "deadline")
        workers: int = setting(1, "workers", at_least=1)
        drain_s: float = setting(30.0, "drain", at_least=0)
        postgres_dsn: str = setting("", "the database, if any", shared=True, secret=True)

    @asynccontextmanager
    async def lifespan(config):
        draining = asyncio.Event()

        async def unary(request, context):
            log.info("unary began")
            while not Path(request.value).exists():
                await asyncio.sleep(0.01)
            log.info("unary ends")
            return StringValue(value="done")

        async def stream(request, context):
            log.info("stream began")
            yield StringValue(value="first")
            await draining.wait()
            log.info("stream ends")
            yield StringValue(value="last")
            raise errors.AwayError("the service is shutting down")

        async def bug(request, context):
            raise RuntimeError("a bug\\nin two lines")

        codec = dict(request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString)
        handlers = {
            "unary": grpc.unary_unary_rpc_method_handler(unary, **codec),
            "stream": grpc.unary_stream_rpc_method_handler(stream, **codec),
            "bug": grpc.unary_unary_rpc_method_handler(bug, **codec),
        }
        generic = grpc.method_handlers_generic_handler("test.Process", handlers)
        parts = server.Parts(("test.Process",), lambda s: s.add_generic_rpc_handlers((generic,)), {}, draining.set)
        if config.postgres_dsn:
            async with postgres.open_pool(config.postgres_dsn, name="test", size=1, statement_timeout_s=1):
                yield parts
        else:
            yield parts
        log.info("stores closed")

    server.main("ingest", Config, lifespan)
    """
)
DEADLINE_S = 30


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATTSTREAM_")}
    return kept | more


class Process:
    """The service, and the lines that it has logged."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        self.lines: list[dict[str, Any]] = []

    async def until(self, event: str) -> dict[str, Any]:
        """Read the log as far as `event`. Every line must be a JSON object."""
        assert self.child.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while line := await self.child.stderr.readline():
                self.lines.append(json.loads(line))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]
        raise AssertionError(f"ended without {event!r}: {self.lines}")

    async def end(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            _, rest = await self.child.communicate()
            self.lines += [json.loads(line) for line in rest.splitlines()]
            assert self.child.returncode is not None
            return self.child.returncode


@asynccontextmanager
async def running(**more: str) -> AsyncIterator[Process]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, env=environment(**more), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        yield Process(child)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        check=False,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        stdin=subprocess.DEVNULL,
    )


async def test_sigterm_lets_calls_finish_ends_streams_and_refuses_new_calls(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    request = b"\n" + bytes([len(str(gate))]) + str(gate).encode()
    async with running() as process:
        address = (await process.until("serving"))["address"]
        async with grpc.aio.insecure_channel(address) as channel:
            unary = channel.unary_unary("/test.Process/unary")(request, timeout=DEADLINE_S)
            stream = channel.unary_stream("/test.Process/stream")(request, timeout=DEADLINE_S)
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
            assert await stream.read() == b"\n\x05first"
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            await process.until("unary began")
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):  # those after the first change nothing
                process.child.send_signal(number)
            await process.until("draining")
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await stream.read() == b"\n\x04last"
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
            async with grpc.aio.insecure_channel(address) as late:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await late.unary_unary("/test.Process/unary")(request, timeout=DEADLINE_S)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            gate.touch()
            assert await unary == b"\n\x04done"
        assert await process.end() == 0
    events = [line["event"] for line in process.lines]
    assert events.index("unary ends") < events.index("stores closed") < events.index("stopped")


async def test_a_call_that_outlasts_the_drain_is_cancelled(tmp_path: Path) -> None:
    request = b"\n\x0b/nonexistent"[:13]
    async with running(WATTSTREAM_INGEST_DRAIN_S="0.2") as process:
        address = (await process.until("serving"))["address"]
        async with grpc.aio.insecure_channel(address) as channel:
            unary = channel.unary_unary("/test.Process/unary")(request, timeout=DEADLINE_S)
            waiting = asyncio.ensure_future(unary.code())
            await process.until("unary began")
            process.child.send_signal(signal.SIGTERM)
            assert await process.end() == 0
            assert await waiting in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_wait_for_the_database(number: signal.Signals, unused_tcp_port: int) -> None:
    dsn = f"postgresql://me:hunter2@127.0.0.1:{unused_tcp_port}/x"
    async with running(WATTSTREAM_POSTGRES_DSN=dsn) as process:
        await process.until("waiting for PostgreSQL")
        process.child.send_signal(number)
        assert await process.end() == 0
        assert process.lines[-1]["event"] == "stopped"
        assert "hunter2" not in json.dumps(process.lines)


async def test_logs_are_json_lines_with_the_calls_request_id(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    request = b"\n" + bytes([len(str(gate))]) + str(gate).encode()
    async with running() as process:
        address = (await process.until("serving"))["address"]
        async with grpc.aio.insecure_channel(address) as channel:
            for name in ("one", "two"):
                metadata = (("x-request-id", name),)
                await channel.unary_unary("/test.Process/unary")(request, metadata=metadata, timeout=DEADLINE_S)
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary("/test.Process/bug")(b"", metadata=(("x-request-id", "three"),))
            stream = channel.unary_stream("/test.Process/stream")(b"", metadata=(("x-request-id", "four"),))
            await stream.read()
            process.child.send_signal(signal.SIGTERM)
            assert await stream.read() == b"\n\x04last"
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        assert await process.end() == 0
    lines = process.lines
    for line in lines:
        assert {"event", "level", "timestamp", "service"} <= line.keys()
    assert [line["request_id"] for line in lines if line["event"] == "unary began"] == ["one", "two"]
    (bug,) = (line for line in lines if line["event"] == "call failed by a bug")
    assert bug["request_id"] == "three"
    assert "Traceback" in bug["exception"]
    assert "a bug\nin two lines" in bug["exception"]
    calls = {line["request_id"]: line for line in lines if line["event"] == "call"}
    assert {name: call["code"] for name, call in calls.items()} == {"three": "INTERNAL", "four": "UNAVAILABLE"}
    assert calls["three"]["method"] == "/test.Process/bug"
    assert "request_id" not in next(line for line in lines if line["event"] == "draining")
    assert {line["request_id"] for line in lines if line["event"].startswith("stream ")} == {"four"}


async def test_a_schema_of_another_version_ends_the_start_with_what_to_run(database: str) -> None:
    import psycopg

    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as admin:
        await admin.execute("INSERT INTO schema_migrations (version, name) VALUES (9999, 'later')")
    done = await asyncio.to_thread(run, WATTSTREAM_POSTGRES_DSN=database)
    assert done.returncode == 1
    assert "newer" in done.stderr
    assert "upgrade" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_ends_the_start_with_the_address() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run(WATTSTREAM_INGEST_LISTEN=address)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ingest: cannot listen on {address}: is it in use?"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WATTSTREAM_INGEST_LISTN", "127.0.0.1:1", "unknown variable"),
        ("WATTSTREAM_POSTGRES_DNS", "postgresql://x/y", "unknown variable"),
        ("WATTSTREAM_INGEST_DRAIN_S", "soon", "'soon'"),
        ("WATTSTREAM_INGEST_DRAIN_S", "-1", "too small"),
        ("WATTSTREAM_INGEST_DRAIN_S", "inf", "finite"),
        ("WATTSTREAM_LOG_LEVEL", "loud", "not one of"),
    ],
)
def test_a_variable_that_cannot_be_used_ends_the_start_by_its_name(name: str, value: str, said: str) -> None:
    done = run(**{name: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ingest: {name}: ")
    assert said in line


def test_print_config_masks_secrets_and_help_names_every_variable() -> None:
    dsn = "postgresql://me:hunter2@127.0.0.1/x"
    shown = json.loads(run("--print-config", WATTSTREAM_POSTGRES_DSN=dsn).stdout)
    assert shown["WATTSTREAM_POSTGRES_DSN"] == "postgresql://me:***@127.0.0.1/x"
    assert shown["WATTSTREAM_INGEST_DRAIN_S"] == 30.0
    described = run("--help").stdout
    assert all(name in described for name in shown)
    assert run("--print-confg").returncode == 2
