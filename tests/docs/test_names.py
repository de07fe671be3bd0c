"""The modules of docs/runtime.md's table of names: what is in them, and what they load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "runtime.md"

NOT_LOADED = (
    "etl_operator",
    "controllers",
    "kubernetes",
    "pydantic",
    "grpc",
    "cryptography",
    "opentelemetry",
    "jsonpatch",
    "cel_expr_python",
)
"""What is not the library's, and what it needs for some things only."""


def rows() -> list[tuple[str, list[str]]]:
    section = PAGE.read_text(encoding="utf-8").partition("## Public names")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(informers[\w.]*)` \| (.*) \|$", section, re.MULTILINE)
    return [(module, re.findall(r"`(\w+)`", names)) for module, names in found]


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_where_the_page_says() -> None:
    assert len(rows()) > 15
    for module, names in rows():
        imported = __import__(module, fromlist=["_"])
        for name in names:
            assert hasattr(imported, name), f"{module}.{name}"


def imported(*places: str) -> Iterator[tuple[Path, str, str]]:
    """Every name of the library that a program imports, with the module it is imported from."""
    for file in (found for place in places for found in (ROOT / place).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "informers":
                yield from ((file, node.module or "", name.name) for name in node.names)


def test_programs_import_public_names_only() -> None:
    public = {(module, name) for module, names in rows() for name in names}
    public |= {(module.rpartition(".")[0], module.rpartition(".")[2]) for module, _ in rows()}
    seen = 0
    for file, module, name in imported("controllers", "etl_operator", "docs/examples"):
        # The sandbox is the API server's HTTP side, and knows its rules from inside.
        if module.startswith("informers.apiserver") and file.is_relative_to(ROOT / "etl_operator/sandbox"):
            continue
        assert (module, name) in public, (
            f"{file.relative_to(ROOT)}: {module}.{name} is not in docs/runtime.md"
        )
        seen += 1
    assert seen > 100


def test_no_module_needs_what_is_not_the_library_s() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({NOT_LOADED!r}))"
    run("\n".join((blocked, *(f"import {module}" for module, _ in rows()))))


def test_the_simulation_plays_without_what_only_some_objects_need() -> None:
    run(f"""
import sys
sys.modules.update(dict.fromkeys({NOT_LOADED!r}))
from informers.objects import ObjectKey, Resource
from informers.testing.simulation import Simulation, simulate

async def play(world: Simulation) -> None:
    maps = Resource("", "v1", "configmaps", "ConfigMap")
    body = {{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"namespace": "default", "name": "a"}}}}
    await world.client().apply(maps, body, field_manager="test")
    assert world.server.find(maps, ObjectKey("default", "a"))

simulate(play)
""")


def test_who_needs_a_client_loads_no_server() -> None:
    run("import sys, informers.client; assert 'aiohttp' in sys.modules and 'aiohttp.web' not in sys.modules")
    run(
        "import sys, informers.objects, informers.errors, informers.logs; assert 'aiohttp' not in sys.modules"
    )
