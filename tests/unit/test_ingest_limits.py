"""What one peer may send, by a clock of the test's own."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_service.framing import STREAM, UNARY
from ingest_service.limits import BURST_S, PeerLimits, name_of
from wattstream.api.ingest.v1 import ingest_pb2 as pb
from wattstream.api.telemetry.v1.telemetry_pb2 import Reading
from wattstream.errors import OverloadedError


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def message(readings: int) -> bytes:
    return pb.IngestReadingsRequest(readings=[Reading()] * readings).SerializeToString()


def send(limits: PeerLimits, name: str, readings: int) -> float:
    """Send readings if they may be sent now; return 0, or how long the refusal says to wait, in seconds."""
    try:
        limits.check(name)
    except OverloadedError as error:
        return error.retry_after_s
    limits.spend(name, message(readings), UNARY)
    return 0.0


def test_without_limits_nothing_is_refused_counted_or_remembered() -> None:
    limits = PeerLimits(0, 0, Clock())
    for i in range(100):
        assert send(limits, f"peer {i}", 10_000) == 0
        with limits.stream("one"), limits.stream("one"):
            pass
    assert len(limits) == 0


@given(
    rate=st.floats(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 500)), min_size=1, max_size=60),
)
def test_never_is_more_let_in_than_the_rate_a_burst_and_one_message(
    rate: float, steps: list[tuple[float, int]]
) -> None:
    clock, sent = Clock(), [(0.0, 0)]
    limits = PeerLimits(0, rate, clock)
    for pause_s, readings in steps:
        clock.now_s += pause_s
        if send(limits, "peer", readings) == 0:
            sent.append((clock.now_s, readings))
    for i, (start_s, _) in enumerate(sent):
        for j in range(i, len(sent)):
            let_in = sum(readings for _, readings in sent[i : j + 1])
            assert let_in <= rate * (sent[j][0] - start_s + BURST_S) + sent[j][1] + 1e-3


@given(rate=st.floats(1, 1000), readings=st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_who_comes_again_when_told_to_is_let_in_and_not_much_earlier(rate: float, readings: list[int]) -> None:
    clock = Clock()
    limits = PeerLimits(0, rate, clock)
    for count in readings:
        wait_s = send(limits, "peer", count)
        if wait_s:
            clock.now_s += 0.99 * wait_s - 1e-6
            assert send(limits, "peer", count) > 0
            clock.now_s += 0.01 * wait_s + 2e-6
            assert send(limits, "peer", count) == 0


def test_a_burst_is_let_in_at_once_and_the_wait_is_what_is_owed() -> None:
    clock = Clock()
    limits = PeerLimits(0, 100, clock)
    assert [send(limits, "peer", 250) for _ in range(5)] == [0] * 5
    assert send(limits, "peer", 1) == pytest.approx(250 / 100)
    assert send(limits, "another", 1) == 0
    clock.now_s += 3600
    assert [send(limits, "peer", 500) for _ in range(3)] == [0] * 3, "no more is saved up than a burst"
    assert send(limits, "peer", 1) == pytest.approx(5)


def test_what_is_no_message_counts_too() -> None:
    limits = PeerLimits(0, 1, Clock())
    for _ in range(11):
        limits.spend("peer", b"\xff\xff", STREAM)
    assert limits.wait_s("peer") == pytest.approx(1)


def test_a_stream_too_many_is_refused_until_another_ends() -> None:
    limits = PeerLimits(2, 0, Clock())
    with limits.stream("one"):
        with limits.stream("one"):
            with pytest.raises(OverloadedError, match="2 streams"), limits.stream("one"):
                pass
            with limits.stream("another"):
                pass
        with limits.stream("one"):
            pass


def test_idle_peers_are_forgotten_and_those_that_owe_or_have_streams_are_not() -> None:
    clock = Clock()
    limits = PeerLimits(5, 10, clock)
    with limits.stream("has a stream"):
        for i in range(100_000):
            clock.now_s += 0.1
            send(limits, f"peer {i}", 1)
        assert len(limits) < 5000
        send(limits, "owes", 10_000)
        for i in range(10_000):
            clock.now_s += 0.01
            send(limits, f"late peer {i}", 1)
        assert limits.wait_s("owes") == pytest.approx(10_000 / 10 - BURST_S - 100)
        with ExitStack() as others:
            for _ in range(4):
                others.enter_context(limits.stream("has a stream"))
            with pytest.raises(OverloadedError), limits.stream("has a stream"):
                pass


@pytest.mark.parametrize(
    ("identities", "address", "name"),
    [
        ([b"charger-7", b"more"], "ipv4:10.0.0.1:4711", "charger-7"),
        ([], "ipv4:10.0.0.1:4711", "10.0.0.1"),
        (None, "ipv6:%5B::1%5D:4711", "[::1]"),
        (None, "ipv6:[fe80::1%25eth0]:1", "[fe80::1%eth0]"),
        (None, "unix:/run/ingest.sock", "unix:/run/ingest.sock"),
    ],
)
def test_a_peer_is_who_it_proved_to_be_or_else_the_host_that_it_is_on(
    identities: list[bytes] | None, address: str, name: str
) -> None:
    assert name_of(identities, address) == name
