"""When to try a delivery again, and when to give it up: rules without I/O."""

from dataclasses import dataclass

_MOST_WAIT_S = 86_400.0
_MOST_DOUBLINGS = 30
_GONE = 410
# What these say is about the moment, not about the event.
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Answer:
    """What came of an attempt.

    Attributes:
        status: of the HTTP response; 0 without any.
        reason: in words that hold no secret.
        retry_after_s: what the receiver asked to wait, in seconds; 0 if it did not.
    """

    status: int
    reason: str = ""
    retry_after_s: float = 0.0

    @property
    def delivered(self) -> bool:
        """The receiver has the event."""
        return 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """The receiver wants no more events."""
        return self.status == _GONE

    @property
    def refused(self) -> bool:
        """The receiver says that trying again is of no use, for this event or for any."""
        return 400 <= self.status < 500 and self.status not in _PASSING and not self.gone


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        first_s: after the first failure; twice as long after each further one.
        most_s: at most.
        refusals: how often an event is refused before it is given up.
        refused_s: for how long, besides.
        refused_again_s: likewise, when the event before was given up too: then the fault is hardly in the events.
        gone_s: until one that wanted no more events is asked again.
    """

    first_s: float = 1.0
    most_s: float = 300.0
    refusals: int = 10
    refused_s: float = 3_600.0
    refused_again_s: float = 86_400.0
    gone_s: float = 86_400.0


@dataclass(frozen=True)
class Verdict:
    """What follows from an attempt: whether to go on to the next event, and how long to wait first, in seconds."""

    done: bool
    wait_s: float = 0.0


class Attempts:
    """What has come of attempts so far.

    Failures are counted over events: a receiver that is away is not asked more often because events change.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0
        self._refused_id = ""
        self._refusals = 0
        self._refused_since_s = 0.0
        self._gave_up = False

    def judge(self, event_id: str, answer: Answer, *, now_s: float, jitter: float) -> Verdict:
        """Return what follows from an answer at `now_s` of any steady clock; `jitter` is random, 0 to 1."""
        if answer.delivered:
            self._failures, self._refused_id, self._gave_up = 0, "", False
            return Verdict(done=True)
        self._failures += 1
        if answer.refused and self._is_given_up(event_id, now_s):
            self._refused_id = ""
            self._gave_up = True
            return Verdict(done=True)
        return Verdict(done=False, wait_s=self._wait_s(answer, jitter))

    def _is_given_up(self, event_id: str, now_s: float) -> bool:
        if event_id != self._refused_id:
            self._refused_id, self._refusals, self._refused_since_s = event_id, 0, now_s
        self._refusals += 1
        long_s = self._patience.refused_again_s if self._gave_up else self._patience.refused_s
        return self._refusals >= self._patience.refusals and now_s - self._refused_since_s >= long_s

    def _wait_s(self, answer: Answer, jitter: float) -> float:
        if answer.gone:
            return self._patience.gone_s
        doublings = min(self._failures - 1, _MOST_DOUBLINGS)
        longest_s = min(self._patience.first_s * 2.0**doublings, self._patience.most_s)
        return max(longest_s * (1 + jitter) / 2, min(answer.retry_after_s, _MOST_WAIT_S))
