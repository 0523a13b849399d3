"""The client library when it, or the service, is killed: every reading that was accepted is in history, once."""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client import AsyncSender, Limits, Retry, Sender, Spool

START_S = int(time.time()) - 86_400
LIMITS = Limits(batch_readings=7, window=3, linger_s=0.001)
QUICK = Retry(initial_s=0.01, max_s=0.1, first_contact_s=60)
# Tells the number of each reading when it has been accepted, and that all have been delivered.
CHILD = """
import sys
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client import Limits, Sender, Spool

address, spool, begin, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Sender(address, spool=Spool(spool), limits=Limits(batch_readings=7, window=3, linger_s=0.001)) as sender:
    for second in range(begin, end):
        reading = Reading()
        reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = "spooled", second % 1000, 230.0
        reading.meter.recorded_at.seconds = second
        sender.send(reading)
        print(second, flush=True)
    sender.flush(60)
print("delivered", flush=True)
"""


def readings(name: str, count: int) -> Iterator[Reading]:
    for second in range(START_S, START_S + count):
        reading = Reading()
        reading.meter.meter_id, reading.meter.kwh_consumed_ac, reading.meter.voltage = name, second % 1000, 230.0
        reading.meter.recorded_at.seconds = second
        yield reading


class Killed:
    """A client in a process of its own, on one spool; killed and started again, it goes on where it was."""

    def __init__(self, address: str, spool: Path) -> None:
        self._address, self._spool = address, spool
        self.accepted: set[int] = set()
        self._next = START_S

    async def run(self, most: int | None) -> bool:
        """Run until so many more readings have been accepted, then kill it; None: until all are delivered."""
        end = self._next + (most or 0) + 200
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD, self._address, str(self._spool), str(self._next), str(end)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        count, delivered = 0, False
        try:
            async with asyncio.timeout(60):
                while line := (await process.stdout.readline()).strip():
                    delivered = line == b"delivered"
                    if not delivered:
                        self.accepted.add(int(line))
                        self._next = int(line) + 1
                    count += 1
                    if count == most:
                        process.kill()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        return delivered


async def test_what_send_accepted_before_the_client_was_killed_arrives(
    database: str, make_process: Callable[..., Any], stored: Callable[[str], dict[str, set[int]]], tmp_path: Path
) -> None:
    chance = random.Random(3)
    service = make_process(database)
    await service.start()
    await service.until_serving()
    client = Killed(service.address, tmp_path / "spool")
    for _ in range(6):
        await client.run(chance.randint(1, 150))
    assert await client.run(None)
    assert client.accepted <= stored(database)["spooled"]
    with Spool(tmp_path / "spool") as left:
        assert left.count == 0


async def test_client_and_service_killed_in_turn_lose_nothing(
    database: str, make_process: Callable[..., Any], stored: Callable[[str], dict[str, set[int]]], tmp_path: Path
) -> None:
    chance = random.Random(4)
    service = make_process(database)
    await service.start()
    client = Killed(service.address, tmp_path / "spool")
    for _ in range(3):
        running = asyncio.create_task(client.run(chance.randint(50, 190)))
        await asyncio.sleep(chance.uniform(0.3, 1.0))
        await service.end(signal.SIGKILL)
        await running
        await service.start()
    assert await client.run(None)
    assert client.accepted <= stored(database)["spooled"]


async def deliver_async(address: str, spool: Spool | None, count: int) -> list[bool]:
    async with AsyncSender(address, limits=LIMITS, retry=QUICK, spool=spool) as sender:
        futures = []
        for reading in readings("steady", count):
            futures.append(await sender.send(reading))
            await asyncio.sleep(0.002)
        return [(await future).durable for future in futures]


async def deliver_sync(address: str, spool: Spool | None, count: int) -> list[bool]:
    def deliver() -> list[bool]:
        with Sender(address, limits=LIMITS, retry=QUICK, spool=spool) as sender:
            futures = []
            for reading in readings("steady", count):
                futures.append(sender.send(reading))
                time.sleep(0.002)
            return [future.result(60).durable for future in futures]

    return await asyncio.to_thread(deliver)


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("deliver", [deliver_sync, deliver_async])
async def test_every_reading_is_told_durable_and_stored_once_over_a_service_that_is_killed(
    *,
    database: str,
    make_process: Callable[..., Any],
    stored: Callable[[str], dict[str, set[int]]],
    tmp_path: Path,
    deliver: Any,
    spooled: bool,
) -> None:
    chance = random.Random(5)
    service = make_process(database)
    await service.start()
    await service.until_serving()
    spool = Spool(tmp_path / "spool") if spooled else None
    delivering = asyncio.create_task(deliver(service.address, spool, 1000))
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        await service.end(number)
        await service.start()
        await service.until_serving()
    async with asyncio.timeout(90):
        assert await delivering == [True] * 1000
    assert stored(database)["steady"] == set(range(START_S, START_S + 1000))
