"""Where commands look for the services, and how they tell of failure."""

from pathlib import Path
from typing import NamedTuple

import click
import pytest

from wattstream.cli.connection import Addresses, describe, exit_codes, find
from wattstream.client import ServiceError

ALL = ("ingest", "state", "analytics")
DEFAULT = Addresses("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053")
ENVIRONMENT = {
    "WATTSTREAM_CLIENT_INGEST": "env:1",
    "WATTSTREAM_CLIENT_STATE": "env:2",
    "WATTSTREAM_CLIENT_ANALYTICS": "env:3",
}


class Instance(NamedTuple):
    data_dir: Path
    ingest: str
    state: str
    analytics: str


ONE = Instance(Path("/data/one"), "one:1", "one:2", "one:3")
TWO = Instance(Path("/data/two"), "two:1", "two:2", "two:3")


def never() -> list[Instance]:
    raise AssertionError("the instances were asked for")


def test_an_option_goes_before_the_environment() -> None:
    assert find(ALL, {"ingest": "opt:1"}, None, ENVIRONMENT, never) == ("opt:1", "env:2", "env:3")


def test_the_environment_goes_before_what_runs_here() -> None:
    assert find(ALL, {}, None, ENVIRONMENT, lambda: [ONE]) == ("env:1", "env:2", "env:3")


def test_what_runs_here_fills_in_what_is_not_given() -> None:
    assert find(ALL, {"state": "opt:2"}, None, {}, lambda: [ONE]) == ("one:1", "opt:2", "one:3")


def test_where_nothing_runs_the_usual_ports_are_tried() -> None:
    assert find(ALL, {}, None, {}, list) == DEFAULT


def test_of_several_instances_the_data_folder_chooses_and_goes_before_the_environment() -> None:
    assert find(ALL, {}, TWO.data_dir, ENVIRONMENT, lambda: [ONE, TWO]) == ("two:1", "two:2", "two:3")


def test_several_instances_without_a_choice_are_an_error_that_names_them() -> None:
    with pytest.raises(click.UsageError, match="/data/one, /data/two"):
        find(ALL, {}, None, {}, lambda: [ONE, TWO])


def test_several_instances_do_not_matter_where_all_that_is_needed_is_given() -> None:
    assert find(("ingest",), {"ingest": "opt:1"}, None, {}, never).ingest == "opt:1"


def test_a_data_folder_that_nothing_runs_on_is_an_error() -> None:
    with pytest.raises(click.UsageError, match="nothing runs on the data folder /data/three"):
        find(ALL, {}, Path("/data/three"), {}, lambda: [ONE])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceError("NOT_FOUND", "no such vehicle"), 1),
        (ServiceError("INVALID_ARGUMENT", "bad id"), 1),
        (ServiceError("RESOURCE_EXHAUSTED", "message too large"), 1),
        (ServiceError("INTERNAL", "internal error"), 1),
        (ServiceError("UNAVAILABLE", "connection refused"), 3),
        (ServiceError("RESOURCE_EXHAUSTED", "busy", retry_after_s=1), 3),
        (ServiceError("DEADLINE_EXCEEDED", "too late"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(error: BaseException, code: int) -> None:
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise error
    assert ended.value.code == code


def test_an_error_is_told_in_one_line() -> None:
    assert describe(ServiceError("NOT_FOUND", "No charging\n data found")) == "No charging data found"


def test_a_service_that_answers_that_it_is_away_is_told_apart_from_one_that_does_not_answer() -> None:
    assert "away for now: the database is away" in describe(
        ServiceError("UNAVAILABLE", "the database is away", reason="DATABASE_AWAY")
    )
    assert "cannot reach" in describe(ServiceError("UNAVAILABLE", "connection refused"))
