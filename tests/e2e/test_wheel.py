"""A wheel built from the repository, in an environment that has nothing else."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("wattstream", "ingest_service", "state_service", "analytics_service")

# Reads a list of modules to import and of files to read; prints the text of the files.
LOAD = """
import importlib, json, sys
from wattstream import resources
modules, files = json.load(sys.stdin)
for module in modules:
    importlib.import_module(module)
json.dump({f"{package}/{name}": resources.read(package, name) for package, name in files}, sys.stdout)
"""


def source_files(*suffixes: str) -> list[Path]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.suffix in suffixes]
    return [path.relative_to(ROOT) for path in found if "__pycache__" not in path.parts]


def run(*command: str | Path, cwd: Path, text: str = "") -> str:
    done = subprocess.run(command, cwd=cwd, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of an environment into which only the wheel was installed."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_has_every_file_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {path.as_posix() for path in source_files(".py", ".pyi", ".sql", ".lua", ".html")} <= packed
    assert {name.split("/")[0] for name in packed} == set(PACKAGES)
    assert not [name for name in packed if "__pycache__" in name]


@pytest.mark.timeout(300)
def test_every_generated_module_imports_and_every_statement_and_script_loads(environment: Path) -> None:
    modules = [".".join(path.with_suffix("").parts) for path in source_files(".py") if "_pb2" in path.stem]
    files = source_files(".sql", ".lua", ".html")
    assert len(modules) >= 10
    assert files
    wanted = [(".".join(path.parent.parts), path.name) for path in files]
    printed = run(environment / "python", "-I", "-c", LOAD, cwd=environment, text=json.dumps([modules, wanted]))
    sources = {
        f"{package}/{name}": (ROOT / path).read_text() for (package, name), path in zip(wanted, files, strict=True)
    }
    assert json.loads(printed) == sources


@pytest.mark.timeout(300)
def test_the_commands_run_without_the_repository(environment: Path) -> None:
    assert "migrate" in run(environment / "wattstream", "--help", cwd=environment)
    for service in PACKAGES[1:]:
        described = run(environment / "python", "-I", "-m", service, "--help", cwd=environment)
        assert f"WATTSTREAM_{service.removesuffix('_service').upper()}_LISTEN" in described


@pytest.mark.timeout(300)
def test_without_the_extra_pictures_say_what_to_install(environment: Path) -> None:
    command = [environment / "wattstream", "performance", "V1", "--png", "v.png"]
    done = subprocess.run(command, cwd=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: --html and --png need matplotlib: pip install 'wattstream[report]'\n"
