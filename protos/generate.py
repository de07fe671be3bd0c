"""Generate the Python code of the wire: ``python protos/generate.py [--check]``.

Reads every ``.proto`` beside this file, and the node's own shapes of their messages, and writes messages,
type stubs and gRPC stubs into ``etl_operator/router/pb``, importable as a package. The output depends on the
sources and on the version of ``grpcio-tools`` alone, so ``--check`` (used by the tests) can compare it byte
by byte.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

SOURCES = Path(__file__).resolve().parent
TARGET = SOURCES.parent / "etl_operator" / "router" / "pb"
PACKAGE = "etl_operator.router.pb"
SHAPES = SOURCES.parent / "etl_operator" / "node" / "data"
"""Has ``shapes.proto``: no part of the wire, so it is not beside the others."""

_BARE_IMPORT = re.compile(r"^import (\w+_pb2) as ", re.MULTILINE)
_INIT = '"""Generated from protos/ by protos/generate.py; never edited by hand."""\n'


class GenerationError(Exception):
    """The compiler refused the sources; it has said why on standard error."""


def generate() -> dict[str, str]:
    """File name to content, for every file of the package.

    :raises GenerationError: when a source does not compile.
    """
    names = sorted(path.name for folder in (SOURCES, SHAPES) for path in folder.glob("*.proto"))
    # The compiler package brings google/protobuf/*.proto along.
    include = str(files("grpc_tools").joinpath("_proto"))
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
        code = protoc.main(["protoc", f"-I{SOURCES}", f"-I{SHAPES}", f"-I{include}", *outputs, *names])
        if code:
            raise GenerationError(f"protoc ended with {code}")
        made = {path.name: _packaged(path.read_text("utf-8")) for path in Path(folder).iterdir()}
    # A file without services would bring an empty gRPC module.
    made = {name: text for name, text in made.items() if not name.endswith("_grpc.py") or "Stub" in text}
    return {"__init__.py": _INIT, **made}


def stale(made: dict[str, str]) -> list[str]:
    """Names in the package that are missing, differ, or should not be there; sorted."""
    present = {path.name: path.read_text("utf-8") for path in TARGET.glob("*.py*")}
    return sorted(name for name in present.keys() | made.keys() if present.get(name) != made.get(name))


def write(made: dict[str, str]) -> None:
    """Make the package exactly what was generated."""
    TARGET.mkdir(exist_ok=True)
    for name in stale(made):
        if name in made:
            (TARGET / name).write_text(made[name], "utf-8")
        else:
            (TARGET / name).unlink()


def _packaged(text: str) -> str:
    """The compiler writes imports for a flat folder on ``sys.path``; here they belong to a package."""
    return _BARE_IMPORT.sub(rf"from {PACKAGE} import \1 as ", text)


def main() -> int:
    """Generate, or with ``--check`` only compare. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Generate the gRPC code of the router's wire.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail when something is stale")
    arguments = parser.parse_args()
    try:
        made = generate()
    except GenerationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    if not arguments.check:
        write(made)
        return 0
    old = stale(made)
    if old:
        print(f"stale, run protos/generate.py: {', '.join(old)}", file=sys.stderr)  # noqa: T201
    return int(bool(old))


if __name__ == "__main__":
    sys.exit(main())
