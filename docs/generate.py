"""Renew what is made in docs/: ``python docs/generate.py [--check]``.

The field tables of ``api.md`` stand between ``<!-- fields KIND -->`` and ``<!-- end -->``, the known
deviations in ``sandbox.md`` between ``<!-- deviations -->`` and ``<!-- end -->``; everything else is written
by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from e2e.conformance.deviations import DEVIATIONS
from etl_operator.api.crds import KINDS, schema_of

_DIRECTORY = Path(__file__).resolve().parent
PAGE = _DIRECTORY / "api.md"
SANDBOX_PAGE = _DIRECTORY / "sandbox.md"

_SECTION = re.compile(r"(<!-- fields (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DEVIATIONS = re.compile(r"(<!-- deviations -->\n).*?(<!-- end -->)", re.DOTALL)
_AS_IN_A_POD = frozenset({"affinity", "tolerations", "topologySpreadConstraints", "env"})
"""Fields shaped as in Kubernetes' own API, which documents what is in them."""
_CONDITIONS = "conditions"


def renewed(page: str) -> str:
    """The page with all tables as the models have them now.

    :raises KeyError: the page asks for a kind that does not exist.
    """
    kinds = {kind.resource.kind: kind.resource for kind in KINDS}
    return _SECTION.sub(lambda found: found[1] + _table(schema_of(kinds[found[2]])) + found[3], page)


def with_deviations(page: str) -> str:
    """The page with the list of what the embedded server is known to do otherwise than a real one."""
    lines = [f"- {one.reason[0].upper()}{one.reason[1:]}." for one in DEVIATIONS]
    listed = "\n".join(["", *lines, "", ""])
    return _DEVIATIONS.sub(lambda found: found[1] + listed + found[2], page)


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
    """Write the pages, or with ``--check`` only say whether they are up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description="Renew what is made in docs/.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it would")
    check, old = parser.parse_args().check, False
    for page, renew in ((PAGE, renewed), (SANDBOX_PAGE, with_deviations)):
        before = page.read_text(encoding="utf-8")
        after = renew(before)
        old |= before != after
        if not check:
            page.write_text(after, encoding="utf-8")
    return int(check and old)


if __name__ == "__main__":
    sys.exit(main())
