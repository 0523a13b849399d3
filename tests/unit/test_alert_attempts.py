"""When a delivery is tried again, and when it is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_service.alerts.attempts import Answer, Attempts, Patience, Verdict

PATIENCE = Patience(first_s=1, most_s=100, refusals=3, refused_s=50, refused_again_s=500, gone_s=1_000)
DELIVERED, REFUSED, FAILED, GONE = Answer(204), Answer(422), Answer(503), Answer(410)


def judge(attempts: Attempts, answer: Answer, *, of: str = "a", at: float = 0.0, jitter: float = 1.0) -> Verdict:
    return attempts.judge(of, answer, now_s=at, jitter=jitter)


def test_waits_double_up_to_a_limit_and_begin_anew_after_a_delivery() -> None:
    attempts = Attempts(PATIENCE)
    assert [judge(attempts, FAILED).wait_s for _ in range(9)] == [1, 2, 4, 8, 16, 32, 64, 100, 100]
    assert judge(attempts, DELIVERED) == Verdict(done=True)
    assert judge(attempts, FAILED).wait_s == 1


def test_another_event_waits_no_less_while_the_receiver_is_away() -> None:
    attempts = Attempts(PATIENCE)
    assert [judge(attempts, FAILED, of=event).wait_s for event in "abc"] == [1, 2, 4]


@given(jitter=st.floats(0, 1), failures=st.integers(1, 5_000))
def test_jitter_halves_a_wait_at_most(jitter: float, failures: int) -> None:
    attempts = Attempts(PATIENCE)
    for _ in range(failures - 1):
        judge(attempts, FAILED)
    longest_s = min(2.0 ** min(failures - 1, 50), 100)
    assert longest_s / 2 <= judge(attempts, FAILED, jitter=jitter).wait_s <= longest_s


@pytest.mark.parametrize(("asked_s", "wait_s"), [(0, 1), (0.5, 1), (77, 77), (1e300, 86_400), (float("inf"), 86_400)])
def test_the_receiver_may_ask_for_a_longer_wait_of_up_to_a_day(asked_s: float, wait_s: float) -> None:
    assert judge(Attempts(PATIENCE), Answer(429, retry_after_s=asked_s)).wait_s == wait_s


@pytest.mark.parametrize("status", [0, 100, 301, 307, 408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_for_ever(status: int) -> None:
    attempts = Attempts(PATIENCE)
    assert not any(judge(attempts, Answer(status), at=1e6 * n).done for n in range(1_000))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 451, 499])
def test_a_refused_event_is_given_up_after_so_many_attempts_over_so_long(status: int) -> None:
    attempts = Attempts(PATIENCE)
    assert [judge(attempts, Answer(status), at=at).done for at in (0, 10, 20, 49, 50)] == [False] * 4 + [True]
    attempts = Attempts(PATIENCE)
    assert [judge(attempts, Answer(status), at=at).done for at in (0, 60, 61)] == [False, False, True]


def test_the_next_event_is_tried_at_once_and_given_up_much_later() -> None:
    attempts = Attempts(PATIENCE)
    assert [judge(attempts, REFUSED, at=at) for at in (0, 60, 61)][-1] == Verdict(done=True, wait_s=0)
    assert [judge(attempts, REFUSED, of="b", at=100 + at).done for at in (0, 60, 499, 500)] == [False] * 3 + [True]
    judge(attempts, DELIVERED, of="c", at=700)
    assert [judge(attempts, REFUSED, of="d", at=700 + at).done for at in (0, 60, 61)] == [False, False, True]


def test_refusals_count_for_one_event_only_and_go_on_counting_through_failures() -> None:
    attempts = Attempts(PATIENCE)
    assert not any(judge(attempts, REFUSED, of=str(n), at=100.0 * n).done for n in range(9))
    attempts = Attempts(PATIENCE)
    answers = [REFUSED, FAILED, REFUSED, FAILED, REFUSED]
    assert [judge(attempts, answer, at=60.0 * n).done for n, answer in enumerate(answers)] == [False] * 4 + [True]


def test_one_that_wants_no_more_is_asked_again_a_day_later() -> None:
    assert judge(Attempts(PATIENCE), GONE) == Verdict(done=False, wait_s=1_000)
    assert Patience().gone_s == 86_400
