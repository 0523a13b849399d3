"""The examples of the documentation do what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[3] / "docs" / "client.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 4


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(
    example: str, serve: Any, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve(script(), last=0) as served:
        exec(re.sub(r"127\.0\.0\.1:5005\d", served.address, example), {"__name__": "example"})


def test_the_first_example_delivers_its_reading(
    serve: Any, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve(script(), last=0) as served:
        names: dict[str, Any] = {}
        exec(EXAMPLES[0].replace("127.0.0.1:50051", served.address), names)
    assert names["outcome"].durable
    assert served.servicer.names == [["M1"]]
    assert (tmp_path / "readings.spool").exists()
