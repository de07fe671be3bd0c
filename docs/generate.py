"""Renew the field tables of docs/api.md: ``python docs/generate.py [--check]``.

A table stands between ``<!-- fields KIND -->`` and ``<!-- end -->``; everything else is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from etl_operator.api.crds import KINDS, schema_of

PAGE = Path(__file__).resolve().parent / "api.md"

_SECTION = re.compile(r"(<!-- fields (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_AS_IN_A_POD = frozenset({"affinity", "tolerations", "topologySpreadConstraints", "env"})
"""Fields shaped as in Kubernetes' own API, which documents what is in them."""
_CONDITIONS = "conditions"


def renewed(page: str) -> str:
    """The page with all tables as the models have them now.

    :raises KeyError: the page asks for a kind that does not exist.
    """
    kinds = {kind.resource.kind: kind.resource for kind in KINDS}
    return _SECTION.sub(lambda found: found[1] + _table(schema_of(kinds[found[2]])) + found[3], page)


def _table(schema: Mapping[str, Any]) -> str:
    lines = ["", "| field | type | meaning |", "| --- | --- | --- |"]
    for section in ("spec", "status"):
        for path, fragment, required in _fields(schema["properties"][section], section):
            mark = " (required)" if required else ""
            lines.append(f"| `{path}`{mark} | {_type(fragment)} | {_cell(fragment['description'])} |")
    return "\n".join([*lines, "", ""])


def _fields(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Every field below a fragment: its path, its fragment, and whether it must be given."""
    for name, fragment in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, fragment, name in schema.get("required", ())
        if name in _AS_IN_A_POD or name == _CONDITIONS:
            continue
        yield from _fields(fragment, here)
        yield from _fields(fragment.get("items", {}), f"{here}[]")


def _type(fragment: Mapping[str, Any]) -> str:
    if "enum" in fragment:
        return " or ".join(f"`{word}`" for word in fragment["enum"])
    if fragment.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind = str(fragment["type"])
    if kind == "integer":
        low, high = fragment["minimum"], fragment["maximum"]
        return f"integer, {low} to {high}" if high < 2**31 - 1 else f"integer, from {low}"
    if kind == "array":
        return f"list, up to {fragment['maxItems']}"
    if "maxProperties" in fragment:
        return f"map, up to {fragment['maxProperties']}"
    if kind == "string":
        return f"text, up to {fragment['maxLength']}"
    return kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    """Write the page, or with ``--check`` only say whether it is up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description="Renew the field tables of docs/api.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when they are old")
    before = PAGE.read_text(encoding="utf-8")
    after = renewed(before)
    if parser.parse_args().check:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
