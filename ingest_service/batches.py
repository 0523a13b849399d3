"""Messages as they came, the batches that they are decoded and judged in, and what becomes of each. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest_service.decoding import Framed, Keys, decode
from ingest_service.framing import Form
from ingest_service.readings import KINDS, METER, UNKNOWN, Columns, Ints, Kind
from ingest_service.validation import Limits, Rejection, judge, unknown_device

Outcomes = NDArray[np.int8]
STORED, DUPLICATE, REJECTED = range(3)


class Verdict(NamedTuple):
    """What became of a message: how many readings are new, how many repeats, and which were rejected and why.

    `refusal` says why it cannot be stored as a whole, if that is so.
    """

    batch_id: int
    readings: int
    stored: int
    duplicates: int
    rejections: list[Rejection]
    refusal: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message that waits to be stored.

    Attributes:
        data: its bytes.
        form: how they are laid out.
        received_at_us: when it came, microseconds since 1970-01-01 UTC.
        settle: told its verdict after the commit, or the error that kept it from being stored.
    """

    data: bytes
    form: Form
    received_at_us: int
    settle: Callable[[Verdict | Exception], None]


@dataclass(frozen=True)
class Batch:
    """Messages decoded and judged together.

    Attributes:
        messages: the messages.
        framed: what the frame of each tells.
        columns: their readings by kind.
        outcomes: of each reading, by kind: REJECTED, or STORED, which is to be confirmed.
        rejections: by message, why.
        received_at_us: when each message came, (len(messages),).
    """

    messages: Sequence[Message]
    framed: list[Framed]
    columns: dict[Kind, Columns]
    outcomes: dict[Kind, Outcomes]
    rejections: dict[int, list[Rejection]]
    received_at_us: Ints

    def new_ids(self) -> dict[Kind, set[str]]:
        """Return the acceptable ids of devices whose key is not known yet."""
        ids: dict[Kind, set[str]] = {kind: set() for kind in KINDS}
        for kind, columns in self.columns.items():
            good = self.outcomes[kind] == STORED
            ids[kind].update(data.decode() for row, data in columns.new_ids.items() if good[row])
            ids[METER].update(data.decode() for row, data in columns.new_meter_ids.items() if good[row])
        return ids

    def look_up(self, keys: Keys) -> None:
        """Fill in the keys that were not known; reject the readings of devices that still are not."""
        for kind, columns in self.columns.items():
            self._look_up(kind, columns.key, columns.new_ids, keys[kind].get, f"{kind.name}_id")
            self._look_up(kind, columns.meter_key, columns.new_meter_ids, keys[METER].get, "meter_id")

    def _look_up(
        self, kind: Kind, into: Ints, ids: dict[int, bytes], find: Callable[[bytes, int], int], field: str
    ) -> None:
        for row, device_id in ids.items():
            into[row] = find(device_id, UNKNOWN)
            if into[row] == UNKNOWN and self.outcomes[kind][row] == STORED:
                self.outcomes[kind][row] = REJECTED
                message = int(self.columns[kind].message[row])
                rejection = unknown_device(self.columns[kind], row, field, device_id)
                self.rejections.setdefault(message, []).append(rejection)
                self.rejections[message].sort(key=lambda r: r.index)

    def settle(self, outcomes: dict[Kind, Outcomes]) -> None:
        """Tell each message its verdict, given the outcome of each reading by kind."""
        stored = self._count(outcomes, STORED)
        duplicates = self._count(outcomes, DUPLICATE)
        for i, (message, framed) in enumerate(zip(self.messages, self.framed, strict=True)):
            rejections = self.rejections.get(i, []) if self.rejections else []
            message.settle(Verdict(*framed[:2], stored[i], duplicates[i], rejections, framed.refusal))

    def _count(self, outcomes: dict[Kind, Outcomes], wanted: int) -> list[int]:
        total = np.zeros(len(self.messages), np.int64)
        for kind, of_kind in outcomes.items():
            total += np.bincount(self.columns[kind].message[of_kind == wanted], minlength=len(total))
        found: list[int] = total.tolist()
        return found


def prepare(messages: Sequence[Message], keys: Keys, limits: Limits, most_readings: int, now_us: int) -> Batch:
    """Decode and judge messages; `now_us` is the server's clock."""
    decoded = decode([(message.data, message.form) for message in messages], keys, most_readings)
    judged = judge(decoded, limits, now_us)
    return Batch(
        messages,
        decoded.messages,
        decoded.columns,
        {kind: np.where(good, STORED, REJECTED).astype(np.int8) for kind, good in judged.good.items()},
        judged.rejections,
        np.array([message.received_at_us for message in messages], np.int64),
    )
