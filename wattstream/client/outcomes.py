"""What becomes of readings that a sender has accepted, as its caller is told."""

from typing import NamedTuple

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, RejectionReason

_PREFIX = "REJECTION_REASON_"


class Rejection(NamedTuple):
    """Why the service does not store a reading, for good.

    Attributes:
        field: the field at fault, such as "meter.voltage"; empty where it is the reading as a whole.
        reason: why, for programs, such as "OUT_OF_RANGE"; "REFUSED" where the service takes no batch, however small.
        message: why, for people.
    """

    field: str
    reason: str
    message: str


class Outcome(NamedTuple):
    """What became of one reading: it is durable, unless it was rejected.

    Attributes:
        rejection: why it is not stored; None where it is durable.
        duplicate: whether it was there before. None where that is not known: the service tells it by number, and some
            of the readings that were sent in the same batch were, others not.
    """

    rejection: Rejection | None
    duplicate: bool | None

    @property
    def durable(self) -> bool:
        """Whether it is stored for good, by this time or an earlier one."""
        return self.rejection is None


class BatchOutcome(NamedTuple):
    """What became of readings that were sent together.

    Attributes:
        durable: how many are stored for good, by this time or an earlier one.
        rejections: the others, by their place, from 0.
        duplicates: how many of the durable ones were there before; None where that is not known, see Outcome.
    """

    durable: int
    rejections: dict[int, Rejection]
    duplicates: int | None


class DroppedError(Exception):
    """Readings left a full spool unsent, as its policy says; `count` says how many of those asked about."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} readings were dropped from a full spool")
        self.count = count


class NotDeliveredError(Exception):
    """The sender was closed before readings were acknowledged; `count` says how many.

    Where there is a spool they are safe in it, and are sent when the next sender opens it.
    """

    def __init__(self, count: int) -> None:
        super().__init__(f"the sender was closed before {count} readings were acknowledged")
        self.count = count


class ClosedError(Exception):
    """The sender is closed: it takes no reading any more."""


def rejections(ack: BatchAck, count: int) -> dict[int, Rejection]:
    """Return what the service rejected of a batch of `count` readings, by its place."""
    if ack.refusal:
        return dict.fromkeys(range(count), Rejection("", "REFUSED", ack.refusal))
    return {
        one.index: Rejection(one.field, RejectionReason.Name(one.reason).removeprefix(_PREFIX), one.message)
        for one in ack.rejections
    }
