"""How a sender tells its caller what became of readings."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.client.delivery import Acked
from wattstream.client.outcomes import Rejection
from wattstream.client.tickets import Ticket

log = logging.getLogger(__name__)


class Future(Protocol):
    """What concurrent.futures.Future and asyncio.Future have in common."""

    def exception(self) -> BaseException | None:
        """Return the exception that it has ended with, if it has."""

    def done(self) -> bool:
        """Return whether it has come to its end."""

    def set_result(self, result: Any, /) -> None:
        """End it with a result."""

    def set_exception(self, exception: Any, /) -> None:
        """End it with an exception."""


@dataclass(frozen=True)
class Reporter:
    """What the caller wants to know of all readings, those that an earlier sender left in the spool included.

    Attributes:
        on_rejected: called with each reading that the service rejected, and why.
        on_dropped: called with the number of readings that left a full spool unsent.
    """

    on_rejected: Callable[[Reading, Rejection], None] | None = None
    on_dropped: Callable[[int], None] | None = None

    def acked(self, acked: Acked[Any]) -> None:
        """Tell what an acknowledgement says."""
        if self.on_rejected is not None:
            for place, why in acked.rejections.items():
                _call(self.on_rejected, Reading.FromString(acked.items[place].reading), why)
        resolve(acked.tickets)

    def dropped(self, count: int, tickets: Iterable[Ticket[Any]]) -> None:
        """Tell that readings have been dropped, and whom that ends waiting."""
        if count and self.on_dropped is not None:
            _call(self.on_dropped, count)
        resolve(tickets)


def resolve(tickets: Iterable[Ticket[Any]]) -> None:
    """Tell those who waited what became of their readings."""
    for ticket in tickets:
        future: Future = ticket.future
        outcome = ticket.outcome()
        if future.done():  # cancelled: nobody wants to know
            continue
        if isinstance(outcome, Exception):
            _raise(future, outcome)
        else:
            future.set_result(outcome)


def fail(tickets: Iterable[Ticket[Any]], error: Callable[[int], Exception]) -> None:
    """Tell those who waited that their readings have no acknowledgement; `error` is told how many of theirs."""
    for ticket in tickets:
        if not ticket.future.done():
            _raise(ticket.future, error(ticket.left))


def _raise(future: Future, error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # a future that nobody asks is no fault, and asyncio need not log it: the statistics tell


def _call(function: Callable[..., None], *arguments: object) -> None:
    try:
        function(*arguments)
    except Exception:
        log.exception("%r failed", function)
