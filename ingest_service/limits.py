"""How much one peer may send: streams open at once, and readings a second. Pure, but for the clock that is given.

Each process counts for itself; where several share an address, a peer may have as much of each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from ingest_service.framing import Form, MalformedError, frame
from wattstream.errors import OverloadedError

# How long a peer may save up readings for a burst: a device that was cut off for a while sends what it has kept.
BURST_S = 10.0
# A stream too many may be opened when another ends, which nobody knows; so come again after a while.
STREAM_RETRY_S = 10.0
_LOOK_FOR_IDLE_AT = 1024


@dataclass
class _Peer:
    """What one peer does.

    Attributes:
        streams: how many it has open.
        debt: how many readings it has sent ahead of its rate, at the time `at_s`; negative for none: those it may send.
        at_s: when that was, by the clock.
    """

    streams: int = 0
    debt: float = 0.0
    at_s: float = 0.0


class PeerLimits:
    """Counts what each peer does. What a peer saves up is `BURST_S` seconds' worth of readings.

    A peer that is over its rate owes readings, and is refused, or held, until it owes none. So a message larger than a
    burst is let in too, and paid for afterwards.

    Args:
        most_streams: streams a peer may have open at once; 0 for any number.
        readings_s: readings a second that a peer may send on average; 0 for any number.
        clock: seconds, monotonic.
    """

    def __init__(self, most_streams: int, readings_s: float, clock: Callable[[], float]) -> None:
        self._most_streams = most_streams
        self._readings_s = readings_s
        self._clock = clock
        self._peers: dict[str, _Peer] = {}
        self._look_at = _LOOK_FOR_IDLE_AT

    def __len__(self) -> int:
        """Return how many peers are remembered: those with open streams, and those that have not saved up a burst."""
        return len(self._peers)

    @contextmanager
    def stream(self, name: str) -> Iterator[None]:
        """Count a stream of a peer while it is open.

        Raises:
            OverloadedError: the peer has as many open as it may have.
        """
        if not self._most_streams:
            yield
            return
        peer = self._peer(name)
        if peer.streams >= self._most_streams:
            raise OverloadedError(
                f"{name} has {peer.streams} streams open, which is all that one peer may have; use those, or end one",
                STREAM_RETRY_S,
            )
        peer.streams += 1
        try:
            yield
        finally:
            peer.streams -= 1

    def wait_s(self, name: str) -> float:
        """Return how long a peer has to wait, in seconds, before it may send readings again; 0 if it may now."""
        return max(0.0, self._peer(name).debt / self._readings_s) if self._readings_s else 0.0

    def check(self, name: str) -> None:
        """Refuse a peer that has sent more than it may.

        Raises:
            OverloadedError: it has; the error says when it may send again.
        """
        wait_s = self.wait_s(name)
        if wait_s:
            raise OverloadedError(
                f"{name} sends more than the {self._readings_s:g} readings/s that one peer may send", wait_s
            )

    def spend(self, name: str, data: bytes, form: Form) -> None:
        """Count the readings of a message that a peer has sent; it is framed for that, but not decoded."""
        if self._readings_s:
            self._peer(name).debt += _readings_in(data, form)

    def _peer(self, name: str) -> _Peer:
        """Return what a peer does, as of now."""
        if name not in self._peers and len(self._peers) >= self._look_at:
            self._forget_idle()
        now_s = self._clock()
        peer = self._peers.setdefault(name, _Peer(debt=-self._burst, at_s=now_s))
        peer.debt = self._debt(peer, now_s)
        peer.at_s = now_s
        return peer

    @property
    def _burst(self) -> float:
        return BURST_S * self._readings_s

    def _debt(self, peer: _Peer, now_s: float) -> float:
        return max(-self._burst, peer.debt - (now_s - peer.at_s) * self._readings_s)

    def _forget_idle(self) -> None:
        """Forget the peers that are as one never seen. Those that are not are bounded by what they do."""
        now_s = self._clock()
        self._peers = {
            name: peer for name, peer in self._peers.items() if peer.streams or self._debt(peer, now_s) > -self._burst
        }
        self._look_at = max(_LOOK_FOR_IDLE_AT, 2 * len(self._peers))


def _readings_in(data: bytes, form: Form) -> int:
    try:
        return frame(data, form, keep=0).total
    except MalformedError:
        return 1


def name_of(identities: list[bytes] | None, address: str) -> str:
    """Return by what name a peer is counted: its authenticated identity, or the host of an address as gRPC tells it."""
    if identities:
        return identities[0].decode(errors="replace")
    scheme, colon, rest = unquote(address).partition(":")
    return rest.rpartition(":")[0] if colon and scheme in {"ipv4", "ipv6"} else address
