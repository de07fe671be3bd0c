"""Defaults and pruning. Results share unchanged parts with the argument; without a change it is returned."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from informers.apiserver.schema.node import Node

_TYPE_FIELDS = ("apiVersion", "kind", "metadata")


@dataclass(frozen=True, slots=True)
class Filling:
    """How defaults are filled in.

    :param keep_nulls: leave nulls in fields that must not be null to whoever validates.
    :param keep_map_nulls: leave those of map values, which Go types turn into zero values.
    :param whole: write 2.0 as 2.
    """

    keep_nulls: bool = False
    keep_map_nulls: bool = False
    whole: bool = True

    def drops_null(self, node: Node, key: str, child: Node) -> bool:
        """Whether a null is as good as nothing there."""
        if child.nullable or not child.type or self.keep_nulls:
            return False
        return key in node.properties or not self.keep_map_nulls


_PLAIN = Filling()


def defaulted(value: Any, node: Node, how: Filling = _PLAIN) -> Any:
    """The value with defaults, and without nulls in fields that must not be null, unless they are kept."""
    if isinstance(value, dict):
        return _defaulted_map(value, node, how)
    if isinstance(value, list) and node.items is not None:
        items = [defaulted(item, node.items, how) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value


def _defaulted_map(value: dict[str, Any], node: Node, how: Filling) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    for key, below in value.items():
        child = node.child(key)
        if child is None:
            continue
        if below is None:
            if how.drops_null(node, key, child):
                result = dict(value) if result is None else result
                del result[key]
            continue
        if isinstance(below, dict | list):
            new = defaulted(below, child, how)
            if new is not below:
                result = dict(value) if result is None else result
                result[key] = new
        elif how.whole and isinstance(below, float) and below.is_integer():
            # Servers write 2.0 as 2.
            result = dict(value) if result is None else result
            result[key] = int(below)
    if node.fills:
        for key, child in node.properties.items():
            if child.has_default and key not in (value if result is None else result):
                result = dict(value) if result is None else result
                result[key] = defaulted(copy.deepcopy(child.default), child)
    return value if result is None else result


def pruned(value: Any, node: Node, path: str, unknown: list[str]) -> Any:
    """The value without fields the schema does not know.

    :param unknown: gets the paths of what was dropped.
    """
    if isinstance(value, list):
        if node.items is None:
            return value
        items = [
            pruned(item, node.items, f"{path}[{position}]", unknown) for position, item in enumerate(value)
        ]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] | None = None
    for key, below in value.items():
        child = node.child(key)
        inner = f"{path}.{key}" if path else key
        if child is None:
            if node.open or (node.embedded and key in _TYPE_FIELDS):
                continue
            unknown.append(inner)
            result = dict(value) if result is None else result
            del result[key]
        elif isinstance(below, dict | list):
            new = pruned(below, child, inner, unknown)
            if new is not below:
                result = dict(value) if result is None else result
                result[key] = new
    return value if result is None else result
