"""Generates, from protos/, the code in wattstream/api and the page docs/api.md; in another folder, if one is named."""

import shutil
import sys
import tempfile
from pathlib import Path

import api_docs
import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PROTOS = ROOT / "protos"


def compile_protos(*arguments: str) -> None:
    """Run protoc over all protos, or exit with its code."""
    files = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    well_known = Path(grpc_tools.__file__).with_name("_proto")
    if code := protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *arguments, *files]):
        sys.exit(code)


def generate_code(folder: Path) -> None:
    """Replace the generated code in `folder`."""
    for old in (folder / "wattstream/api").rglob("*_pb2*"):
        if old.is_file():
            old.unlink()
    plugins = [
        f"--plugin={name}={shutil.which(name, path=Path(sys.executable).parent)}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    compile_protos(*plugins, *outputs)


def generate_docs(folder: Path) -> None:
    """Replace docs/api.md in `folder`."""
    with tempfile.NamedTemporaryFile() as described:
        compile_protos("--include_source_info", f"--descriptor_set_out={described.name}")
        files = FileDescriptorSet.FromString(described.read())
    page = folder / "docs/api.md"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(api_docs.render(files), encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    generate_code(target)
    generate_docs(target)
