"""The task of the asyncio sender: it keeps the connection, with a task beside it that sends what is due."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from wattstream.api.ingest.v1.ingest_pb2 import StreamReadingsResponse
from wattstream.client.aio_spooling import AsyncIntake
from wattstream.client.delivery import Delivery
from wattstream.client.errors import ServiceError, from_rpc_error
from wattstream.client.outbox import OutOfTurnError
from wattstream.client.outcomes import ClosedError
from wattstream.client.reporting import Reporter, fail
from wattstream.client.retry import Attempts, Retry

_GOODBYE_S = 2.0
_REPLACED = "Internal error from Core"


class AsyncWorker:
    """Delivers what the delivery holds, until it is stopped or fails.

    Attributes:
        error: what stopped it.
    """

    def __init__(
        self,
        open_call: Callable[[], Any],
        delivery: Delivery[asyncio.Future[Any]],
        retry: Retry,
        reporter: Reporter,
    ) -> None:
        self.error: Exception | None = None
        self._open_call, self._delivery, self._reporter = open_call, delivery, reporter
        self._attempts = Attempts(retry)
        self._changed = asyncio.Event()
        self._closing = self._stopped = False
        self._intake: AsyncIntake | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, intake: AsyncIntake | None) -> None:
        """Begin, with what stands between the sender and its spool, where there is one."""
        self._intake = intake
        self._task = asyncio.create_task(self._run(), name="wattstream-sender")

    def wake(self) -> None:
        """Let everyone who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that depends on acknowledgements.

        Raises:
            ClosedError: the sender was closed meanwhile.
            Exception: what stopped the sender.
        """
        while self.error is None and not self._stopped and not condition():
            await self._changed.wait()
        if self.error is not None:
            raise self.error
        if self._stopped:
            raise ClosedError("the sender is closed")

    async def stop(self) -> None:
        """Half-close and let the server end the call, or, where readings are left, end it here."""
        assert self._task is not None
        self._closing = True
        self._stopped = self._delivery.unacknowledged > 0
        self.wake()
        if not self._stopped:
            await asyncio.wait({self._task}, timeout=_GOODBYE_S)
        self._stopped = True
        self.wake()
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while await self._has_work():
                wait_s = await self._converse()
                await asyncio.sleep(wait_s)
        except OutOfTurnError as error:
            self._fail(ServiceError("INTERNAL", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._fail(error)

    async def _has_work(self) -> bool:
        """Wait until there is something to send; return False at the end."""
        if self._intake is not None:
            await self._intake.load()
        while not self._closing and not len(self._delivery.outbox):
            await self._changed.wait()
        return bool(len(self._delivery.outbox))

    async def _converse(self) -> float:
        """Send and receive over one connection, to its end; return how long to wait before the next, in seconds."""
        call = self._open_call()
        sending = asyncio.create_task(self._send(call), name="wattstream-sending")
        try:
            lost = await self._listen(call)
        finally:
            sending.cancel()
            call.cancel()
            await asyncio.wait({sending})
            self._delivery.lost()
            self.wake()
        if lost is None:
            return 0.0
        self._delivery.reconnects += 1
        return self._attempts.failed(lost)

    async def _listen(self, call: Any) -> ServiceError | None:
        """Take acknowledgements until the connection is lost, and return why; None where it ends as it should."""
        while True:
            try:
                response = await self._read(call)
            except grpc.aio.AioRpcError as error:
                lost = _status(error)
                return None if self._ends() and lost.transient else lost
            if response is None:
                return None if self._ends() else ServiceError("UNAVAILABLE", "the service ended the stream")
            for ack in response.acks:
                acked = self._delivery.acked(ack)
                if acked is None:
                    return None
                try:
                    if self._intake is not None:
                        await self._intake.remove(acked)
                finally:
                    self._reporter.acked(acked)
            await self._progressed(response)

    async def _read(self, call: Any) -> StreamReadingsResponse | None:
        """Return the next response; None at the end of the stream."""
        reading = asyncio.ensure_future(call.read())
        try:
            while not (await asyncio.wait({reading}, timeout=self._attempts.patience_s()))[0]:
                if not self._attempts.remaining_s():
                    raise ServiceError("DEADLINE_EXCEEDED", "the service acknowledges nothing for too long")
        finally:
            reading.cancel()
        response: Any = reading.result()
        return None if response is grpc.aio.EOF else response

    def _ends(self) -> bool:
        return self._closing and not len(self._delivery.outbox)

    async def _progressed(self, response: StreamReadingsResponse) -> None:
        if response.acks:
            self._attempts.progressed()
        if self._delivery.outbox.in_flight:
            self._attempts.begin()
        self.wake()
        if self._intake is not None:
            await self._intake.load()

    async def _send(self, call: Any) -> None:
        """Send batches as they become due; how the call fares is for the reader of its responses to see."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            while not self._ends():
                batch = self._delivery.take(time.monotonic())
                if batch is not None:
                    self._attempts.begin()
                    await call.write(batch.message())
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._delivery.outbox.wait_s(time.monotonic())):
                        await self._changed.wait()
            await call.done_writing()

    def _fail(self, error: Exception) -> None:
        self.error = error
        fail(self._delivery.tickets.failed(), lambda _: error)
        self.wake()


def _status(error: grpc.aio.AioRpcError) -> ServiceError:
    """Return how a call has ended.

    grpc.aio replaces the service's own status where a write fails as it arrives (grpc/grpc#36066). What it was, the
    next connection tells.
    """
    if error.code() is grpc.StatusCode.INTERNAL and error.details() == _REPLACED:
        return ServiceError("UNAVAILABLE", "the stream ended while a batch was written")
    return from_rpc_error(error)
