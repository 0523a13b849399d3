"""How long a client waits between attempts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from wattstream.client import Retry, ServiceError

FAILURES, JITTER = st.integers(1, 10_000), st.floats(0, 1, exclude_max=True)


@settings(deadline=None)
@given(failures=FAILURES, jitter=JITTER)
def test_the_wait_is_at_least_half_the_first_and_at_most_the_longest(failures: int, jitter: float) -> None:
    retry = Retry(initial_s=0.1, max_s=5.0)
    assert 0.05 <= retry.wait_s(failures, None, jitter) <= 5.0


@settings(deadline=None)
@given(failures=st.integers(1, 20), jitter=JITTER)
def test_each_wait_is_twice_the_one_before_up_to_the_longest(failures: int, jitter: float) -> None:
    retry = Retry(initial_s=0.1, max_s=1e9)
    assert retry.wait_s(failures + 1, None, jitter) == 2 * retry.wait_s(failures, None, jitter)


@settings(deadline=None)
@given(failures=FAILURES, jitter=JITTER, retry_after_s=st.floats(0, 3600))
def test_the_services_own_wish_is_the_least(failures: int, jitter: float, retry_after_s: float) -> None:
    assert Retry().wait_s(failures, retry_after_s, jitter) >= retry_after_s


def test_only_what_may_get_better_is_tried_again() -> None:
    assert ServiceError("UNAVAILABLE", "").transient
    assert ServiceError("CANCELLED", "").transient
    assert ServiceError("RESOURCE_EXHAUSTED", "", retry_after_s=1).transient
    assert not ServiceError("RESOURCE_EXHAUSTED", "").transient
    assert not ServiceError("INVALID_ARGUMENT", "", retry_after_s=1).transient
