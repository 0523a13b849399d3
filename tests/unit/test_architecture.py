"""The rules of the house."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest_service", "state_service", "analytics_service")
PACKAGES = ("wattstream", *SERVICES)
MOST_LINES = 300
# A statement, not a sentence: keywords in capitals, and what must follow them.
SQL = re.compile(
    r"\b(SELECT\s[\s\S]+?\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|CREATE\s+(TEMP|TABLE|INDEX)|"
    r"COPY\s+\w+\s*[({]|COPY\s+\w+\s+FROM|WITH\s+\w+\s+AS\s*\(|TRUNCATE\s)"
)
LUA = re.compile(r"\bredis\.p?call\(|\bKEYS\[|\bARGV\[")
HOME = re.compile(rb"/(home|Users)/[a-z]\w*/|/root/|/work/")


def tracked() -> list[Path]:
    """Return the files that git knows, or would know: so that a file breaks the rules before it is committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def in_packages(packages: tuple[str, ...], suffix: str) -> list[Path]:
    """Return the hand-written files of some packages."""
    found = [path for path in tracked() if path.suffix == suffix and relative(path).split("/")[0] in packages]
    return [path for path in found if not relative(path).startswith("wattstream/api/")]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield node.module or ""


def strings(tree: ast.AST) -> Iterator[str]:
    """Yield the strings of the code; documentation is not code."""
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("package", PACKAGES)
def test_services_know_only_the_shared_package_which_knows_no_service(package: str) -> None:
    files = in_packages((package,), ".py")
    assert files
    strangers = set(SERVICES) - {package}
    found = [(relative(path), name) for path in files for name in imported(parse(path))]
    assert [entry for entry in found if entry[1].split(".")[0] in strangers] == []


def test_sql_and_lua_are_in_files_of_their_own() -> None:
    assert SQL.search("INSERT INTO readings (a) VALUES (1)")
    assert LUA.search("redis.call('HGET', KEYS[1])")
    offenders = [
        (relative(path), text)
        for path in in_packages(SERVICES, ".py")
        for text in strings(parse(path))
        if SQL.search(text) or LUA.search(text)
    ]
    assert offenders == []


@pytest.mark.parametrize(("suffix", "comment"), [(".sql", "-- "), (".lua", "-- ")])
def test_every_statement_and_script_opens_with_a_comment(suffix: str, comment: str) -> None:
    files = in_packages(PACKAGES, suffix)
    assert files
    assert [relative(path) for path in files if not path.read_text(encoding="utf-8").startswith(comment)] == []


def test_files_written_by_hand_fit_a_sitting() -> None:
    handwritten = [path for path in tracked() if path.suffix == ".py" and "/api/" not in relative(path)]
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in handwritten}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_the_environment_is_read_where_a_process_begins_only() -> None:
    allowed = re.compile(r"\w+/__main__\.py|wattstream/(server|instances|demo)\.py|wattstream/(cli|embedded)/\w+\.py")
    offenders = [
        relative(path)
        for path in in_packages(PACKAGES, ".py")
        if not allowed.fullmatch(relative(path))
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert offenders == []


def test_nothing_is_printed_by_services() -> None:
    offenders = [
        relative(path)
        for path in in_packages(SERVICES, ".py")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert offenders == []


def test_no_file_knows_where_it_was_written() -> None:
    here = relative(Path(__file__))
    assert [relative(path) for path in tracked() if relative(path) != here and HOME.search(path.read_bytes())] == []


def test_a_servicer_only_translates() -> None:
    """Each method of a servicer is about ten lines; what is longer is not translation."""
    most = 14
    for path in in_packages(SERVICES, ".py"):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Servicer"):
                for method in node.body:
                    if isinstance(method, ast.AsyncFunctionDef | ast.FunctionDef):
                        begin = method.body[1 if ast.get_docstring(method) and len(method.body) > 1 else 0].lineno
                        assert (method.end_lineno or 0) - begin < most, f"{relative(path)}: {method.name}"


def test_servicers_raise_domain_errors_and_leave_statuses_to_the_table() -> None:
    offenders = [
        relative(path)
        for path in in_packages(SERVICES, ".py")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and node.attr in ("abort", "abort_with_status", "set_code", "StatusCode")
    ]
    assert offenders == []
