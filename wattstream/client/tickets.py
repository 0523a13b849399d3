"""Who waits for which readings, and what they are told: pure."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from wattstream.client.outcomes import BatchOutcome, DroppedError, Outcome, Rejection

AnyFuture = TypeVar("AnyFuture")


@dataclass(slots=True)
class Ticket(Generic[AnyFuture]):
    """A future that waits for `count` readings with consecutive numbers, or for one `alone`."""

    future: AnyFuture
    count: int
    alone: bool
    first: int = 0
    left: int = 0
    dropped: int = 0
    duplicates: int | None = 0
    rejections: dict[int, Rejection] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of its last reading."""
        return self.first + self.count - 1

    def outcome(self) -> Outcome | BatchOutcome | DroppedError:
        """Return what became of its readings, once none is left."""
        if self.dropped:
            return DroppedError(self.dropped)
        if self.alone:
            duplicate = None if self.duplicates is None else bool(self.duplicates)
            return Outcome(self.rejections.get(0), duplicate)
        return BatchOutcome(self.count - len(self.rejections), self.rejections, self.duplicates)


class Tickets(Generic[AnyFuture]):
    """The tickets of readings that have no end yet, in order of their numbers."""

    def __init__(self) -> None:
        self.readings = 0
        self._open: deque[Ticket[AnyFuture]] = deque()

    def add(self, ticket: Ticket[AnyFuture], first: int) -> None:
        """Take a ticket, whose readings have the numbers from `first` on, all after those that are there."""
        ticket.first, ticket.left = first, ticket.count
        self.readings += ticket.count
        self._open.append(ticket)

    def acked(
        self, numbers: Sequence[int], rejections: Mapping[int, Rejection], duplicates: int
    ) -> list[Ticket[AnyFuture]]:
        """Return the tickets that have come to their end by an acknowledgement of readings, in order.

        `numbers` are those of the readings, `rejections` by place in them.
        """
        ended: list[Ticket[AnyFuture]] = []
        durable = len(numbers) - len(rejections)
        while self._open and self._open[0].first <= numbers[-1]:
            ticket = self._open[0]
            begin, end = bisect_left(numbers, ticket.first), bisect_right(numbers, ticket.last)
            rejected = {numbers[at] - ticket.first: rejections[at] for at in range(begin, end) if at in rejections}
            ticket.rejections |= rejected
            known = _duplicates(end - begin - len(rejected), durable, duplicates)
            ticket.duplicates = None if known is None or ticket.duplicates is None else ticket.duplicates + known
            ticket.left -= end - begin
            if ticket.left:
                break
            ended.append(self._open.popleft())
            self.readings -= ticket.count
        return ended

    def dropped(self, numbers: Sequence[int]) -> list[Ticket[AnyFuture]]:
        """Return the tickets that have come to their end because readings, in order, have been dropped."""
        for ticket in self._open:
            gone = bisect_right(numbers, ticket.last) - bisect_left(numbers, ticket.first)
            ticket.dropped += gone
            ticket.left -= gone
        ended = [ticket for ticket in self._open if not ticket.left]
        self._open = deque(ticket for ticket in self._open if ticket.left)
        self.readings -= sum(ticket.count for ticket in ended)
        return ended

    def failed(self) -> list[Ticket[AnyFuture]]:
        """Return all tickets, which leave."""
        ended = list(self._open)
        self._open.clear()
        self.readings = 0
        return ended


def _duplicates(mine: int, durable: int, duplicates: int) -> int | None:
    """Return how many of `mine` of a batch's `durable` readings are duplicates; None where it cannot be known."""
    if duplicates == 0 or mine == 0:
        return 0
    if mine == durable:
        return duplicates
    return mine if duplicates == durable else None
