"""The README's grpcurl commands: what it prints is what they print.

In the text, a block of `sh` is a command and the block of `json` or `text` after it is what the command prints.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "README.md"
SECTION = re.compile(r"<!-- grpcurl -->\n(.*?)<!-- /grpcurl -->", re.DOTALL)
EXAMPLE = re.compile(r"```sh\n(?P<command>.*?)```\n\n```(?:json|text)\n(?P<printed>.*?)```", re.DOTALL)
ADDRESSES = {"ingest": "127.0.0.1:50051", "state": "127.0.0.1:50052", "analytics": "127.0.0.1:50053"}
DEVICES = ("van-7", "dock-3")
# Live state follows the commit: what is asked of it is asked again until it is there.
FOLLOWS_WITHIN_S = 20


class Example(NamedTuple):
    command: str
    printed: str


def section(document: Path) -> str:
    found = SECTION.search(document.read_text())
    assert found, f"{document.name} has no section about grpcurl"
    return found[1]


def examples(text: str) -> list[Example]:
    found = [Example(**match.groupdict()) for match in EXAMPLE.finditer(text)]
    assert len(found) == text.count("```sh\n"), "each command is followed by what it prints"
    return found


def without_variables(printed: str) -> str:
    """Replace what differs from run to run, and put the acknowledgements of several answers into one."""
    fixed = re.sub(r'("received_at": )"[\d:TZ.-]+"', r'\1"..."', printed)
    fixed = re.sub(r'("request_id": )"\w+"', r'\1"..."', fixed)
    return re.sub(r'\n  \]\n}\n{\n  "acks": \[', ",", fixed)


def run(command: str, path: str) -> str:
    process = subprocess.run(
        ["bash", "-c", command],
        env={"PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return process.stdout


def run_until(printed: str, command: str, path: str) -> str:
    deadline = time.monotonic() + FOLLOWS_WITHIN_S
    while True:
        shown = without_variables(run(command, path))
        if shown == printed or time.monotonic() > deadline:
            return shown


@pytest.fixture(params=["grpcurl", "buf"])
def tool(request: pytest.FixtureRequest, scratch: Path) -> str:
    """Have a `grpcurl` in the test's folder: the real one, or what buf makes of its arguments."""
    if request.param == "grpcurl":
        real = shutil.which("grpcurl")
        if not real:
            pytest.skip("there is no grpcurl on the PATH")
        (scratch / "grpcurl").symlink_to(real)
    else:
        buf = Path(sys.executable).with_name("buf")
        script = Path(__file__).with_name("grpcurl_by_buf.py")
        command = shlex.join([sys.executable, str(script), str(buf)])
        (scratch / "grpcurl").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (scratch / "grpcurl").chmod(0o755)
    return str(request.param)


def test_the_commands_print_what_the_document_says(tool: str, scratch: Path, instance: dict[str, str]) -> None:
    path = f"{scratch}:/usr/bin:/bin"
    text = section(DOCUMENT)
    for device in DEVICES:  # each tool begins with devices that never reported
        text = text.replace(device, f"{device}.{tool}")
    for area, address in ADDRESSES.items():
        text = text.replace(address, instance[area])
    for command, printed in examples(text):
        asks_state = "StateService/" in command
        expected = without_variables(printed)
        shown = run_until(expected, command, path) if asks_state else without_variables(run(command, path))
        assert shown == expected, command
