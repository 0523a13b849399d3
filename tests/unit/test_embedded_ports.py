"""Ports: free, ours for as long as we hold them, and the same as the last time."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from wattstream.embedded.folder import EmbeddedError, Home, claimed
from wattstream.embedded.ports import HOST, reserved


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with claimed(tmp_path / "one") as claimed_home:
        yield claimed_home


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Home]:
    with claimed(tmp_path / "other") as claimed_home:
        yield claimed_home


def test_a_program_has_the_port_of_the_last_time(home: Home) -> None:
    with reserved(home, "postgres") as first:
        pass
    with reserved(home, "postgres", default=first + 1) as second:
        assert second == first


def test_two_instances_that_start_at_once_never_share_a_port(home: Home, other: Home) -> None:
    with reserved(home, "state") as default, reserved(other, "state", default=default) as second:
        assert second != default


def test_many_ports_at_once_are_all_different(home: Home) -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(reserved(home, f"program{n}")) for n in range(50)]
        assert len(set(ports)) == 50


def test_a_program_can_listen_on_its_port_while_it_is_reserved(home: Home) -> None:
    with reserved(home, "state") as port, socket.create_server((HOST, port)):
        pass


def test_a_port_that_a_stranger_listens_on_is_not_taken(home: Home) -> None:
    with (
        socket.create_server((HOST, 0)) as stranger,
        reserved(home, "state", default=stranger.getsockname()[1]) as port,
    ):
        assert port != stranger.getsockname()[1]


def test_a_port_that_is_asked_for_and_in_use_is_refused(home: Home) -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"port {port} is in use"), reserved(home, "state", exactly=port):
            pass


def test_a_port_that_is_asked_for_once_is_not_kept(home: Home) -> None:
    with reserved(home, "state") as usual:
        pass
    with reserved(home, "state", exactly=usual + 1 if usual < 29_999 else 20_000):
        pass
    with reserved(home, "state") as port:
        assert port == usual


def test_what_is_written_of_earlier_ports_may_be_nonsense(home: Home) -> None:
    (home.run / "ports.json").write_text("{")
    with reserved(home, "state") as port:
        assert port
