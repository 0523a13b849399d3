"""What is generated from the protos is what is committed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def contents(root: Path) -> dict[str, str]:
    found = [*(root / "wattstream/api").rglob("*_pb2*.py*"), root / "docs/api.md"]
    return {path.relative_to(root).as_posix(): path.read_text() for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, str(ROOT / "deploy/generate.py"), str(folder)], check=True, timeout=100)
    return folder


def test_generating_again_changes_no_file(generated: Path) -> None:
    assert len(contents(generated)) > 5 * 4
    assert contents(generated) == contents(ROOT), "run `make proto` and commit what it changes"


def test_make_generates_with_the_same_script() -> None:
    command = ["make", "--dry-run", "proto"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    planned = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    assert "deploy/generate.py" in planned.splitlines()[-1]


def test_the_page_has_every_rpc_message_and_field(generated: Path) -> None:
    page = (generated / "docs/api.md").read_text()
    for proto in (ROOT / "protos").rglob("*.proto"):
        for line in proto.read_text().splitlines():
            words = line.replace("(", " ").split()
            if words and words[0] in ("service", "rpc", "message", "enum"):
                assert f" {words[1]}\n" in page, words
            elif line.startswith("  ") and line.endswith(";") and "=" in words:
                assert f"`{words[words.index('=') - 1]}`" in page, line
