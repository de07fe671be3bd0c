"""What distinguishes two versions of an object, field by field, and who owns a field. Pure.

A path is written as people write it: ``spec.replicas``, ``status.conditions[Ready].message``,
``spec.args[2]``. Items of a list are told apart by their ``name``, ``type`` or ``key``, where all have one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from informers.objects import Object

Path: TypeAlias = tuple[str, ...]
"""Field names; items of lists in brackets: ``("status", "conditions", "[Ready]", "message")``."""

_IGNORED = frozenset(
    {("metadata", "resourceVersion"), ("metadata", "managedFields"), ("metadata", "generation")}
)
"""Fields that follow from the others."""

_MISSING: Any = object()
_ITEM_KEYS = ("name", "type", "key")


def text(path: Path) -> str:
    """The path for people."""
    return "".join(part if part.startswith("[") else f".{part}" for part in path).removeprefix(".")


def changes(old: Object, new: Object) -> dict[Path, str]:
    """The deepest fields that differ, each with a fingerprint of its new value ("" for a removed one)."""
    return {
        path: "" if value is _MISSING else json.dumps(value, sort_keys=True)
        for path, value in _differences((), old, new)
    }


def _differences(path: Path, old: Any, new: Any) -> Iterator[tuple[Path, Any]]:
    if path in _IGNORED or old == new:
        return
    before, after = _members(old), _members(new)
    if before is None or after is None or type(old) is not type(new):
        yield path, new
        return
    for name in (*before, *(name for name in after if name not in before)):
        yield from _differences((*path, name), before.get(name, _MISSING), after.get(name, _MISSING))


def _members(value: Any) -> Mapping[str, Any] | None:
    """The parts of a mapping or a list by name; ``None`` for anything else."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return None
    for key in _ITEM_KEYS:
        names = [item.get(key) if isinstance(item, dict) else None for item in value]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return {f"[{name}]": item for name, item in zip(names, value, strict=True)}
    return {f"[{index}]": item for index, item in enumerate(value)}


def owners(obj: Object, path: Path) -> set[str]:
    """The managers that own a field, going by ``metadata.managedFields``: itself, or part of it; else what it
    is part of; those who wrote last when nobody does, as of a field that was removed."""
    entries: Sequence[Object] = obj["metadata"].get("managedFields") or ()
    names = tuple(part for part in path if not part.startswith("["))
    owned = [(str(entry.get("manager")), set(_owned((), entry.get("fieldsV1") or {}))) for entry in entries]
    for covers in (_is_part, _holds):
        found = {manager for manager, leaves in owned if any(covers(leaf, names) for leaf in leaves)}
        if found:
            return found
    latest = max((str(entry.get("time") or "") for entry in entries), default="")
    return {str(entry.get("manager")) for entry in entries if str(entry.get("time") or "") == latest}


def _owned(path: Path, fields: Mapping[str, Any]) -> Iterator[Path]:
    """The leaves of a ``fieldsV1``, by field names alone."""
    if not fields:
        yield path
    for name, value in fields.items():
        if name == ".":
            # The mapping itself, and none of what is in it.
            continue
        deeper = (*path, name[2:]) if name.startswith("f:") else path
        yield from _owned(deeper, value if isinstance(value, dict) else {})


def _is_part(owned: Path, names: Path) -> bool:
    """Whether the leaf is the field, or part of it."""
    return bool(names) and owned[: len(names)] == names


def _holds(owned: Path, names: Path) -> bool:
    """Whether the field is part of the leaf: either owned as a whole, or a mapping without its members, which
    looks the same."""
    return bool(owned) and names[: len(owned)] == owned
