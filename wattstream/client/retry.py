"""How a client goes on when a service is away: exponential backoff with jitter, and an end to patience."""

import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from wattstream.client.errors import ServiceError


@dataclass(frozen=True)
class Retry:
    """How long to keep trying, in seconds.

    Attributes:
        first_contact_s: while the service has never answered; short, for then the address may be wrong.
        give_up_after_s: without progress, once it has.
        initial_s: the first wait; each further one doubles.
        max_s: the longest wait, unless the service asks for a longer one.
        on_wait: told of each failure and of the wait that follows.
    """

    first_contact_s: float = 5.0
    give_up_after_s: float = 300.0
    initial_s: float = 0.1
    max_s: float = 5.0
    on_wait: Callable[[ServiceError, float], None] = lambda error, wait_s: None

    def wait_s(self, failures: int, retry_after_s: float | None, jitter: float) -> float:
        """Return how long to wait after the given number of failures in a row; jitter is in [0, 1).

        Clients that lost the same server at the same moment must not all come back at the same moment, so the jitter
        covers half the wait. The service's own wish is a least.
        """
        backoff = min(self.max_s, self.initial_s * 2.0 ** min(failures - 1, 60))
        spread = backoff * (0.5 + 0.5 * jitter)
        return spread if retry_after_s is None else retry_after_s + spread


FOREVER = Retry(first_contact_s=math.inf, give_up_after_s=math.inf)


class Attempts:
    """Keeps the time since something should have happened, and the failures in a row."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._since: float | None = None
        self._failures = 0
        self._contacted = False

    def begin(self) -> None:
        """Start the clock, unless it runs: from now on progress is awaited."""
        if self._since is None:
            self._since = time.monotonic()

    def progressed(self) -> None:
        """Stop the clock and forget all failures."""
        self._since = None
        self._failures = 0
        self._contacted = True

    def remaining_s(self) -> float:
        """Return how much longer to wait for progress on a connection that stands, in seconds."""
        return max(0.0, self._retry.give_up_after_s - self._waited_s())

    def patience_s(self) -> float | None:
        """Return remaining_s() as a time limit; None where there is none."""
        remaining_s = self.remaining_s()
        return None if remaining_s > threading.TIMEOUT_MAX else remaining_s

    def failed(self, error: ServiceError) -> float:
        """Return how long to wait before the next attempt, in seconds.

        Raises:
            ServiceError: the error given; it is not transient, or there was no progress for too long.
        """
        self.begin()
        self._failures += 1
        wait_s = self._retry.wait_s(self._failures, error.retry_after_s, random.random())  # noqa: S311 - jitter
        limit_s = self._retry.give_up_after_s if self._contacted else self._retry.first_contact_s
        if not error.transient or self._waited_s() + wait_s > limit_s:
            raise error
        self._retry.on_wait(error, wait_s)
        return wait_s

    def _waited_s(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since
