"""docs/architecture.md names files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def functions(file: str) -> set[str]:
    """``function`` and ``Class.method`` of a module."""
    found: set[str] = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            methods = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found.update(f"{node.name}.{method.name}" for method in methods)
    return found


def test_every_step_of_the_walk_is_where_the_page_says() -> None:
    steps = re.findall(r"^\| \d+ \| `([\w/]+\.py)` \| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert len(steps) > 10
    for file, function in steps:
        assert function in functions(file), f"{file} has no {function}"


def test_every_path_is_there() -> None:
    paths = re.findall(
        r"`((?:informers|controllers|etl_operator|tests|config|helm|docs|benchmarks|protos)/[\w/.-]*)`", PAGE
    )
    assert len(paths) > 30
    for path in paths:
        assert (ROOT / path).exists(), f"{path} is not there"


@pytest.mark.parametrize("package", ["informers", "controllers"])
def test_every_part_is_in_the_table_of_its_package(package: str) -> None:
    section = PAGE.partition(f"### {package}, part by part")[2].partition("\n### ")[0]
    # The embedded API server has a section of its own.
    found = {entry.stem for entry in (ROOT / package).glob("[a-z]*") if entry.suffix in ("", ".py")}
    for part in sorted(found - {"apiserver"}):
        assert re.search(rf"`{part}(/|\.py)?`", section), f"{package}/{part} is not in the table"
