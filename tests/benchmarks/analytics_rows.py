"""Measures rows side by side: a round asks every question once a vehicle, so that noise meets them all alike."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from tests.benchmarks.analytics_clients import Answered
from tests.benchmarks.analytics_questions import Place, Question, now
from tests.benchmarks.analytics_stage import Used

Row = dict[str, Any]
Rows = dict[str, Row]
_MISSING = "UNIMPLEMENTED"


@dataclass
class Tally:
    """What the rounds of one row add up to."""

    latencies_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0
    client_cpu_s: float = 0.0
    used: list[Used] = field(default_factory=list)

    def add(self, answered: Answered, used: Used) -> None:
        """Add a round."""
        self.latencies_ms += answered.latencies_ms
        self.seconds += answered.seconds
        self.client_cpu_s += answered.client_cpu_s
        self.used.append(used)

    def row(self, question: Question) -> Row:
        """Return the row: latencies in milliseconds, CPU in milliseconds a call."""
        calls = len(self.latencies_ms)
        p50, p99 = np.quantile(self.latencies_ms, (0.5, 0.99)).tolist()
        used = Used(*(sum(part) for part in zip(*self.used, strict=True)))
        ours_s = used.analytics + used.bare + used.postgres + self.client_cpu_s
        return {
            "title": question.title,
            "clients": question.clients,
            "calls": calls,
            "p50_ms": p50,
            "p99_ms": p99,
            "max_ms": max(self.latencies_ms),
            "calls_s": calls / self.seconds,
            "cpu_ms": {
                "service": 1000 * (used.analytics + used.bare) / calls,
                "postgres": 1000 * used.postgres / calls,
                "clients": 1000 * self.client_cpu_s / calls,
            },
            "others_cores": max(0.0, (used.machine - ours_s) / self.seconds),
        }


def measure(place: Place, questions: Sequence[Question], vehicles: Sequence[int], rounds: int) -> Rows:
    """Measure so many rounds, after one that does not count; what no service answers yet is a row with a status."""
    return measure_while(place, questions, vehicles, _counted(rounds))


def measure_while(
    place: Place, questions: Sequence[Question], vehicles: Sequence[int], more: Callable[[], bool]
) -> Rows:
    """Measure rounds while there shall be more, after one that does not count."""
    missing = {question.name for question in questions if not _answers(place, question, vehicles)}
    asked = [question for question in questions if question.name not in missing]
    tallies = {question.name: Tally() for question in asked}
    order, number = random.Random(1), 0
    while more():
        about, end = order.sample(vehicles, len(vehicles)), now()
        turned = asked[number % len(asked) :] + asked[: number % len(asked)]
        for question in turned:
            before = place.scene.used()
            answered = place.ask(question, about, end)
            _insist(question, answered)
            tallies[question.name].add(answered, place.scene.used().since(before))
        number += 1
    return {
        question.name: _unanswered(question) if question.name in missing else tallies[question.name].row(question)
        for question in questions
    }


def until(deadline: float) -> Callable[[], bool]:
    """Return a condition: that another round like the longest so far ends before a time of time.perf_counter()."""
    begun: list[float] = []

    def more() -> bool:
        begun.append(time.perf_counter())
        longest = max((after - before for before, after in pairwise(begun)), default=0.0)
        return len(begun) == 1 or begun[-1] + longest < deadline

    return more


def _counted(rounds: int) -> Callable[[], bool]:
    left: Iterator[bool] = iter([True] * rounds)
    return lambda: next(left, False)


def _answers(place: Place, question: Question, vehicles: Sequence[int]) -> bool:
    """Warm up; return whether the RPC is there."""
    answered = place.ask(question, vehicles, now())
    if set(answered.failed) == {_MISSING}:
        return False
    _insist(question, answered)
    return True


def _insist(question: Question, answered: Answered) -> None:
    if answered.failed:
        raise SystemExit(f"{question.title}: {answered.failed}")


def _unanswered(question: Question) -> Row:
    return {"title": question.title, "clients": question.clients, "status": _MISSING}
