"""Field paths and sets of them, and the ``fieldsV1`` form they are stored in.

A path is a tuple of the keys ``fieldsV1`` uses: ``f:<field>``, ``k:<list-map keys>``, ``v:<set member>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, TypeAlias

from informers.apiserver.schema.node import Node

Path: TypeAlias = tuple[str, ...]
FieldSet: TypeAlias = frozenset[Path]

# Made once: this runs for every item of every list.
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode

EMPTY: FieldSet = frozenset()


def field(name: str) -> str:
    """The element of a field or map key."""
    return "f:" + name


def encoded(value: Any) -> str:
    """Compact JSON with sorted keys, as servers write it into keys."""
    return encode_basestring(value) if isinstance(value, str) else _encode(value)


def element(node: Node, item: Any) -> str | None:
    """The element of a list item, or ``None`` when the item has no usable key."""
    if node.list_type == "set":
        return None if isinstance(item, dict | list) or item is None else "v:" + encoded(item)
    if not isinstance(item, Mapping):
        return None
    keys = {}
    for key in node.keys:
        value = item.get(key)
        if value is None and node.items is not None:
            of_key = node.items.properties.get(key)
            value = of_key.default if of_key is not None else None
        if value is not None:
            keys[key] = value
    return "k:" + encoded(keys) if keys else None


def elements(node: Node, items: list[Any]) -> list[str] | None:
    """The elements of all items of a set or list map, or ``None`` when one has no key."""
    result = []
    for item in items:
        found = element(node, item)
        if found is None:
            return None
        result.append(found)
    return result


def to_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """A set as ``fieldsV1``, sorted; ``.`` says that the path above it is a member itself."""
    root: dict[str, Any] = {}
    # A path sorts before everything below it, so its own node exists when they come.
    for path in sorted(paths):
        inner = root
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = {".": {}}
    _drop_lonely_dots(root)
    return root


def _drop_lonely_dots(tree: dict[str, Any]) -> None:
    for below in tree.values():
        if len(below) == 1 and "." in below:
            del below["."]
        else:
            _drop_lonely_dots(below)


def from_v1(tree: Mapping[str, Any]) -> FieldSet:
    """The set a ``fieldsV1`` tree says. Fragments that are not trees are ignored."""
    found: list[Path] = []
    _collect(tree, (), found)
    return frozenset(found)


def _collect(tree: Mapping[str, Any], prefix: Path, found: list[Path]) -> None:
    for part, below in tree.items():
        if part == ".":
            found.append(prefix)
        elif not below:
            found.append((*prefix, part))
        elif isinstance(below, Mapping):
            _collect(below, (*prefix, part), found)


def readable(path: Path) -> str:
    """A path as servers write it into messages: ``.spec.containers[name="web"].image``."""
    parts = []
    for part in path:
        kind, rest = part[:2], part[2:]
        if kind == "f:":
            parts.append("." + rest)
        elif kind == "k:":
            keys = json.loads(rest)
            parts.append("[" + ",".join(f"{key}={encoded(keys[key])}" for key in sorted(keys)) + "]")
        elif kind == "v:":
            parts.append(f"[={rest}]")
        else:
            parts.append(f"[{rest}]")
    return "".join(parts)


def under(path: Path, prefixes: Iterable[Path]) -> bool:
    """Whether a path is one of the prefixes or below one."""
    return any(path[: len(prefix)] == prefix for prefix in prefixes)
