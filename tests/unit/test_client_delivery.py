"""The core of the senders: whatever happens, and in whatever order, every reading comes to its end once."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wattstream.api.ingest.v1.ingest_pb2 import BatchAck, RejectedReading, RejectionReason, StreamReadingsRequest
from wattstream.api.telemetry.v1.telemetry_pb2 import MeterReading, Reading
from wattstream.client import Limits, Outcome, Rejection
from wattstream.client.delivery import Delivery
from wattstream.client.outbox import Batch, Item, OutOfTurnError
from wattstream.client.outcomes import BatchOutcome, DroppedError
from wattstream.client.spool import Spooled
from wattstream.client.tickets import Ticket

LIMITS = Limits(batch_readings=4, batch_bytes=60, linger_s=1.0, window=3, queue_readings=12, queue_bytes=200)


class Sending(RuleBasedStateMachine):
    """A sender with a spool, a connection that comes and goes, a service that answers when it likes, and restarts.

    A reading is its own number, so that what is in a batch says which readings those are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.spool: dict[int, bytes] = {}
        self.accepted = 0
        self.acknowledged: list[int] = []
        self.dropped: set[int] = set()
        self.told: dict[int, int] = {}
        self.asked: set[int] = set()
        self.restart()

    @rule()
    def restart(self) -> None:
        """All but the spool is lost, those who wait included."""
        self.wire: deque[Batch] = deque()
        self.asked = set(self.told)
        self.delivery: Delivery[list[int]] = Delivery(LIMITS, first=self.accepted + 1, backlog=len(self.spool))

    @rule(count=st.integers(1, 15), size=st.integers(8, 40), waits=st.booleans())
    def accept(self, count: int, size: int, waits: bool) -> None:
        if not self.delivery.has_room(count, count * size, waits, True):
            return
        numbers = list(range(self.accepted + 1, self.accepted + count + 1))
        readings = [b"%0*d" % (size, number) for number in numbers]
        self.spool |= dict(zip(numbers, readings, strict=True))
        self.accepted += count
        self.asked |= set(numbers) if waits else set()
        ticket = Ticket(numbers, count, alone=count == 1) if waits else None
        self.delivery.accepted(readings, ticket, self.now)

    @rule()
    def load(self) -> None:
        most, most_bytes = self.delivery.loads()
        if not most:
            return
        found: list[Spooled] = []
        for number in sorted(number for number in self.spool if number > self.delivery.loaded_to)[:most]:
            most_bytes -= len(self.spool[number])
            if found and most_bytes < 0:
                break
            found.append(Spooled(number, self.spool[number], self.now))
        self.delivery.loaded(found, self.now, self.now)

    @rule(passed=st.floats(0, 2))
    def take(self, passed: float) -> None:
        self.now += passed
        if batch := self.delivery.take(self.now):
            assert len(batch.items) <= LIMITS.batch_readings
            assert len(batch.items) == 1 or sum(len(item.reading) for item in batch.items) <= LIMITS.batch_bytes
            self.wire.append(batch)

    @precondition(lambda self: self.wire)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        batch = self.wire.popleft()
        count = len(batch.items)
        rejected = data.draw(st.sets(st.integers(0, count - 1)))
        stored = data.draw(st.integers(0, count - len(rejected)))
        ack = BatchAck(
            batch_id=batch.batch_id,
            stored=stored,
            duplicates=count - len(rejected) - stored,
            rejected=len(rejected),
            rejections=[RejectedReading(index=place) for place in sorted(rejected)],
        )
        acked = self.delivery.acked(ack)
        assert acked is not None
        assert acked.items == batch.items
        for item in acked.items:
            assert int(item.reading) == item.seq
            del self.spool[item.seq]
            self.acknowledged.append(item.seq)
        self._tell(acked.tickets)

    @precondition(lambda self: self.wire)
    @rule()
    def refuse(self) -> None:
        batch = self.wire[0]
        ack = BatchAck(batch_id=batch.batch_id, refusal="too large", rejected=len(batch.items))
        if len(batch.items) > 1:
            assert self.delivery.acked(ack) is None
            self.wire.clear()

    @rule()
    def lose_the_connection(self) -> None:
        self.wire.clear()
        self.delivery.lost()

    @rule(share=st.integers(1, 5))
    def drop(self, share: int) -> None:
        after = self.delivery.outbox.in_flight_to
        gone = [number for number in sorted(self.spool) if number > after][::share]
        for number in gone:
            del self.spool[number]
        self.dropped |= set(gone)
        self._tell(self.delivery.dropped(gone))

    def _tell(self, tickets: list[Ticket[list[int]]]) -> None:
        for ticket in tickets:
            ended = set(self.acknowledged) | self.dropped
            assert ended.issuperset(ticket.future), "told before all of it had come to its end"
            assert isinstance(ticket.outcome(), DroppedError) == bool(self.dropped.intersection(ticket.future))
            for number in ticket.future:
                self.told[number] = self.told.get(number, 0) + 1

    @invariant()
    def nothing_is_lost(self) -> None:
        assert set(range(1, self.accepted + 1)) == set(self.spool) | set(self.acknowledged) | self.dropped
        assert self.delivery.unacknowledged == len(self.spool)

    @invariant()
    def each_is_acknowledged_once_and_in_order(self) -> None:
        assert self.acknowledged == sorted(set(self.acknowledged))

    @invariant()
    def everyone_is_told_once(self) -> None:
        assert set(self.told.values()) <= {1}
        assert self.delivery.tickets.readings >= 0

    @invariant()
    def memory_and_the_window_are_bounded(self) -> None:
        assert len(self.wire) <= LIMITS.window
        assert self.delivery.outbox.in_flight == sum(len(batch.items) for batch in self.wire)
        assert len(self.delivery.outbox) <= max(LIMITS.queue_readings, 15)

    def teardown(self) -> None:
        """A service that answers, and a connection that stays: everything comes to its end, and everyone is told."""
        self.lose_the_connection()
        for _ in range(10 * self.accepted + 10):
            self.load()
            self.take(2.0)
            while self.wire:
                batch = self.wire.popleft()
                acked = self.delivery.acked(BatchAck(batch_id=batch.batch_id, stored=len(batch.items)))
                assert acked is not None
                for item in acked.items:
                    del self.spool[item.seq]
                    self.acknowledged.append(item.seq)
                self._tell(acked.tickets)
        assert not self.spool
        assert self.asked <= set(self.told)
        assert self.delivery.ended_to == self.accepted
        self.each_is_acknowledged_once_and_in_order()
        self.everyone_is_told_once()


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def readings(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_a_reading_waits_for_others_until_its_batch_is_full_or_its_time_has_come() -> None:
    delivery: Delivery[object] = Delivery(LIMITS)
    delivery.accepted(readings(3), None, now=10.0)
    assert delivery.take(10.5) is None
    assert delivery.outbox.wait_s(10.5) == 0.5
    delivery.accepted(readings(1), None, now=10.6)
    assert delivery.take(10.6) is not None
    delivery.accepted(readings(1), None, now=20.0)
    assert delivery.take(21.0) is not None


def test_what_is_flushed_does_not_linger() -> None:
    delivery: Delivery[object] = Delivery(LIMITS)
    delivery.accepted(readings(1), None, now=0.0)
    delivery.outbox.hurry_to = 1
    assert delivery.take(0.0) is not None


def test_a_batch_that_is_too_large_for_the_service_is_halved_until_one_reading_alone_is_rejected() -> None:
    delivery: Delivery[str] = Delivery(LIMITS)
    delivery.accepted(readings(4), Ticket("all", 4, alone=False), now=0.0)
    sizes, ended = [], []
    while batch := delivery.take(5.0):
        sizes.append(len(batch.items))
        if acked := delivery.acked(BatchAck(batch_id=batch.batch_id, refusal="too large", rejected=len(batch.items))):
            ended += acked.tickets
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert ended[0].outcome() == BatchOutcome(0, dict.fromkeys(range(4), Rejection("", "REFUSED", "too large")), 0)
    assert delivery.statistics(0.0, 0).rejected == 4


def test_who_waits_is_told_which_reading_was_rejected_and_why() -> None:
    delivery: Delivery[str] = Delivery(LIMITS)
    delivery.accepted(readings(1), Ticket("first", 1, alone=True), now=0.0)
    delivery.accepted(readings(2), Ticket("both", 2, alone=False), now=0.0)
    assert delivery.take(5.0)
    rejection = RejectedReading(
        index=2, field="meter.voltage", reason=RejectionReason.REJECTION_REASON_OUT_OF_RANGE, message="is too high"
    )
    acked = delivery.acked(BatchAck(batch_id=1, stored=2, rejected=1, rejections=[rejection]))
    assert acked
    why = Rejection("meter.voltage", "OUT_OF_RANGE", "is too high")
    assert [ticket.outcome() for ticket in acked.tickets] == [Outcome(None, False), BatchOutcome(1, {1: why}, 0)]


@pytest.mark.parametrize(("stored", "duplicates", "told"), [(3, 0, False), (0, 3, True), (2, 1, None)])
def test_whether_a_reading_is_a_duplicate_is_told_only_where_it_is_known(
    stored: int, duplicates: int, told: bool | None
) -> None:
    delivery: Delivery[str] = Delivery(LIMITS)
    delivery.accepted(readings(1), Ticket("mine", 1, alone=True), now=0.0)
    delivery.accepted(readings(2), None, now=0.0)
    assert delivery.take(5.0)
    acked = delivery.acked(BatchAck(batch_id=1, stored=stored, duplicates=duplicates))
    assert acked
    assert [ticket.outcome() for ticket in acked.tickets] == [Outcome(None, told)]


def test_an_acknowledgement_out_of_turn_is_an_error() -> None:
    delivery: Delivery[object] = Delivery(LIMITS)
    with pytest.raises(OutOfTurnError, match="batch 7"):
        delivery.acked(BatchAck(batch_id=7))


@settings(deadline=None)
@given(batch_id=st.integers(1, 2**64 - 1), ids=st.lists(st.text(max_size=300), max_size=20))
def test_a_message_is_what_protobuf_reads_as_the_batch(batch_id: int, ids: list[str]) -> None:
    sent = [Reading(meter=MeterReading(meter_id=one)) for one in ids]
    items = [Item(seq, reading.SerializeToString(), 0.0) for seq, reading in enumerate(sent)]
    request = StreamReadingsRequest.FromString(Batch(batch_id, items).message())
    assert request == StreamReadingsRequest(batch_id=batch_id, readings=sent)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"linger_s": -1}, {"batch_readings": 10_001}, {"batch_bytes": 2**23}])
def test_limits_that_cannot_be_kept_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"limit|at most"):
        Limits(**wrong)  # type: ignore[arg-type] # the values are ints
