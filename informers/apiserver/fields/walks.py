"""Functions over whole objects that field ownership needs: list fields, compare, merge, remove.

Without a schema maps are granular and lists are one value. With one, lists that say so are sets or maps,
and maps may be one value. Nothing here changes its arguments; results share what did not change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from informers.apiserver.fields.paths import FieldSet, Path, element, elements
from informers.apiserver.schema.node import Node

MISSING: Any = object()
"""Stands for a value that is not there, where ``None`` is a null that is."""


def is_map(node: Node | None, value: Any) -> bool:
    """Whether a value is walked into by field."""
    return isinstance(value, dict) and not (node is not None and node.atomic)


def is_list(node: Node | None, value: Any) -> bool:
    """Whether a value is walked into by item: only sets and list maps are."""
    return isinstance(value, list) and node is not None and node.list_type in ("set", "map")


def field_set(value: Any, node: Node | None) -> FieldSet:
    """The fields an applied object has an opinion on."""
    found: set[Path] = set()
    _fields(value, node, (), found)
    found.discard(())
    return frozenset(found)


def _fields(value: Any, node: Node | None, path: Path, found: set[Path]) -> None:
    if is_map(node, value):
        for key, below in value.items():
            inner = (*path, "f:" + key)
            _fields(below, node.child(key) if node else None, inner, found)
            # A declared field is implied by what is in it; a key of a free map is a thing of its own.
            if below is None or below == {} or node is None or key not in node.properties:
                found.add(inner)
        return
    if is_list(node, value):
        assert node is not None
        names = elements(node, value)
        if names is not None:
            for name, item in zip(names, value, strict=True):
                inner = (*path, name)
                _fields(item, node.items, inner, found)
                found.add(inner)
            return
    found.add(path)


@dataclass(slots=True)
class Comparison:
    """What changed between two objects, as sets of paths."""

    added: set[Path] = field(default_factory=set)
    modified: set[Path] = field(default_factory=set)
    removed: set[Path] = field(default_factory=set)

    def without(self, unwanted: FieldSet) -> Comparison:
        """The comparison without these paths."""
        return Comparison(self.added - unwanted, self.modified - unwanted, self.removed - unwanted)


def compare(old: Any, new: Any, node: Node | None) -> Comparison:
    """What changed from ``old`` to ``new``."""
    result = Comparison()
    _compare(old, new, node, (), result)
    return result


def _compare(old: Any, new: Any, node: Node | None, path: Path, result: Comparison) -> None:
    if old is new or old == new:
        return
    gone, come = old is MISSING, new is MISSING
    filled = _filled(old) or _filled(new)
    if filled and (is_map(node, old) or _absent(old)) and (is_map(node, new) or _absent(new)):
        _compare_maps(old, new, node, path, result)
    elif filled and (is_list(node, old) or _absent(old)) and (is_list(node, new) or _absent(new)):
        assert node is not None
        if not _compare_lists(old, new, node, path, result):
            _leaf(gone, come, path, result)
            return
    else:
        if not (gone or come):
            # A change of kind: what was below is gone too.
            result.removed |= {(*path, *below) for below in field_set(old, node)}
            result.added |= {(*path, *below) for below in field_set(new, node)}
        _leaf(gone, come, path, result)
        return
    if gone:
        result.added.add(path)
    elif come:
        result.removed.add(path)


def _absent(value: Any) -> bool:
    return value is MISSING or value is None


def _filled(value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _leaf(old_missing: bool, new_missing: bool, path: Path, result: Comparison) -> None:
    if old_missing:
        result.added.add(path)
    elif new_missing:
        result.removed.add(path)
    else:
        result.modified.add(path)


def _compare_maps(old: Any, new: Any, node: Node | None, path: Path, result: Comparison) -> None:
    before = old if isinstance(old, dict) else {}
    after = new if isinstance(new, dict) else {}
    for key in before.keys() | after.keys():
        _compare(
            before.get(key, MISSING),
            after.get(key, MISSING),
            node.child(key) if node else None,
            (*path, "f:" + key),
            result,
        )


def _compare_lists(old: Any, new: Any, node: Node, path: Path, result: Comparison) -> bool:
    """Compare by item. False when the items of one side have no keys, so that they are one value."""
    before, after = _indexed(node, old), _indexed(node, new)
    if before is None or after is None:
        return False
    for name in before.keys() | after.keys():
        left, right = before.get(name, []), after.get(name, [])
        inner = (*path, name)
        if len(left) > 1 or len(right) > 1:
            if left != right:
                _leaf(not left, not right, inner, result)
        else:
            one, other = (left[0] if left else MISSING), (right[0] if right else MISSING)
            _compare(one, other, node.items, inner, result)
    return True


def _indexed(node: Node, items: Any) -> dict[str, list[Any]] | None:
    result: dict[str, list[Any]] = {}
    if isinstance(items, list):
        for item in items:
            name = element(node, item)
            if name is None:
                return None
            result.setdefault(name, []).append(item)
    return result


def merge(live: Any, applied: Any, node: Node | None) -> Any:
    """``live`` with the opinions of ``applied``; nothing is removed."""
    if applied is MISSING or live is applied or live == applied:
        return live
    if live is MISSING:
        return applied
    if is_map(node, live) and live and (is_map(node, applied) or applied is None):
        result = dict(live)
        for key, value in (applied or {}).items():
            result[key] = merge(live.get(key, MISSING), value, node.child(key) if node else None)
        return result
    if is_list(node, live) and live and (is_list(node, applied) or applied is None):
        assert node is not None
        return _merge_lists(live, applied or [], node)
    return applied


def _merge_lists(live: list[Any], applied: list[Any], node: Node) -> list[Any]:
    """Applied items keep their order among themselves, live ones stay where they are around them."""
    live_names, applied_names = elements(node, live), elements(node, applied)
    if live_names is None or applied_names is None:
        return applied
    theirs = dict(zip(applied_names, applied, strict=True))
    ours: dict[str, Any] = {}
    for name, item in zip(live_names, live, strict=True):
        # Duplicates of a live list are no partner to merge with: the applied item replaces them all.
        ours[name] = MISSING if name in ours else item
    shared = [name for name in applied_names if name in ours]
    result: list[Any] = []
    left = right = turn = 0

    def take(name: str) -> None:
        nonlocal right, turn
        result.append(merge(ours.get(name, MISSING), theirs[name], node.items))
        right += 1
        if turn < len(shared) and shared[turn] == name:
            turn += 1

    taken: set[str] = set()
    while left < len(live) or right < len(applied):
        here = live_names[left] if left < len(live) else None
        if here is not None and here not in theirs:
            result.append(live[left])
            left += 1
        elif here is not None and (here in taken or (turn < len(shared) and shared[turn] != here)):
            # Shared, but its place is decided by the applied order.
            left += 1
        elif right < len(applied):
            current = applied_names[right]
            taken.add(current)
            take(current)
            if current == here:
                left += 1
        else:
            left += 1
    return result


def remove(value: Any, node: Node | None, paths: Iterable[Path]) -> Any:
    """``value`` without the given paths and everything below them."""
    tree: dict[str, Any] = {}
    for path in paths:
        inner = tree
        for part in path:
            inner = inner.setdefault(part, {})
        inner[""] = True
    return _removed(value, node, tree)


def _removed(value: Any, node: Node | None, tree: dict[str, Any]) -> Any:
    if is_map(node, value):
        result = {}
        for key, below in value.items():
            inner = tree.get("f:" + key)
            if inner is None:
                result[key] = below
            elif "" not in inner:
                result[key] = _removed(below, node.child(key) if node else None, inner)
        # What is left of a map that loses everything is a null, not an empty map.
        return result if result or not value else None
    if is_list(node, value):
        assert node is not None
        kept = []
        for item in value:
            inner = tree.get(element(node, item) or "")
            if inner is None:
                kept.append(item)
            elif "" not in inner:
                kept.append(_removed(item, node.items, inner))
        return kept if kept or not value else None
    return value


def with_parents(paths: FieldSet, node: Node | None) -> FieldSet:
    """The set with every declared field that leads to a member: owning ``spec.a`` keeps ``spec``."""
    result = set(paths)
    for path in paths:
        current = node
        for depth, part in enumerate(path[:-1], 1):
            if current is None:
                break
            if part.startswith("f:"):
                declared = part[2:] in current.properties
                current = current.child(part[2:])
                if declared:
                    result.add(path[:depth])
            else:
                current = current.items
    return frozenset(result)
