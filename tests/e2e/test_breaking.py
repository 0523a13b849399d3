"""The check of the protos against their earlier versions, in repositories of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO = Path("protos/wattstream/api/ingest/v1/ingest.proto")


def git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "a change")


def check(repository: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "deploy/check_breaking.py"), str(repository)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def edit(repository: Path, old: str, new: str) -> None:
    text = (repository / PROTO).read_text()
    assert old in text
    (repository / PROTO).write_text(text.replace(old, new))


def rename(repository: Path) -> None:
    edit(repository, "rpc IngestTelemetry(", "rpc SwallowTelemetry(")


def extend(repository: Path) -> None:
    edit(
        repository,
        "rpc IngestTelemetry(",
        "rpc More(IngestTelemetryRequest) returns (IngestTelemetryResponse);\n  rpc IngestTelemetry(",
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository whose only commit has this repository's protos."""
    path = tmp_path / "repository"
    path.mkdir()
    shutil.copytree(ROOT / "protos", path / "protos")
    shutil.copy(ROOT / "buf.yaml", path)
    git(path, "init", "--quiet", "--initial-branch", "main")
    commit(path)
    return path


def test_a_first_commit_breaks_nothing(repository: Path) -> None:
    done = check(repository)
    assert done.returncode == 0, done.stderr
    assert "nothing earlier" in done.stdout


def test_a_break_is_found_before_and_after_it_is_committed(repository: Path) -> None:
    rename(repository)
    assert check(repository).returncode == 1
    commit(repository)
    done = check(repository)
    assert done.returncode == 1
    assert "IngestTelemetry" in done.stderr
    assert PROTO.name in done.stderr


def test_an_addition_breaks_nothing(repository: Path) -> None:
    extend(repository)
    assert check(repository).returncode == 0
    commit(repository)
    done = check(repository)
    assert done.returncode == 0, done.stderr
    assert "nothing earlier" not in done.stdout


def test_the_newest_release_stays_promised_after_other_commits(repository: Path) -> None:
    git(repository, "tag", "v1")
    rename(repository)
    commit(repository)
    commit(repository)
    done = check(repository)
    assert done.returncode == 1
    assert "IngestTelemetry" in done.stderr


def test_a_shallow_clone_fetches_what_it_compares_with(repository: Path, tmp_path: Path) -> None:
    rename(repository)
    commit(repository)
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "clone")
    assert check(tmp_path / "clone").returncode == 1


def test_a_shallow_clone_without_its_origin_has_nothing_to_compare_with(repository: Path, tmp_path: Path) -> None:
    commit(repository)
    git(tmp_path, "clone", "--quiet", "--depth=1", repository.as_uri(), "clone")
    shutil.rmtree(repository)
    done = check(tmp_path / "clone")
    assert done.returncode == 0, done.stderr
    assert "nothing earlier" in done.stdout


def test_a_repository_that_cannot_be_read_is_an_error(repository: Path) -> None:
    (repository / ".git/HEAD").write_text("ref: refs/heads/none")
    done = check(repository)
    assert done.returncode == 1
    assert "cannot read" in done.stderr


def test_protos_that_do_not_compile_are_an_error(repository: Path) -> None:
    commit(repository)
    edit(repository, "service IngestService {", "service {")
    assert check(repository).returncode == 1
