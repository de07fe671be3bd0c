"""What must hold for an applied object before its field ownership can be computed."""

from __future__ import annotations

from typing import Any

from informers.apiserver.errors import StatusError
from informers.apiserver.fields.paths import Path, element, readable
from informers.apiserver.fields.walks import is_list, is_map
from informers.apiserver.schema.node import Node
from informers.objects import Object

_SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
}
_NAMES = {"string": "string", "integer": "numeric (int or float)", "number": "numeric (int or float)"}


def check_applied(intent: Object, node: Node | None) -> None:
    """Refuse unknown fields, values of the wrong shape, and list items without or with the same keys.

    :raises StatusError: 500 with all that is wrong, in the form servers answer.
    """
    problems: list[str] = []
    _check(intent, node, (), problems)
    if not problems:
        return
    metadata = intent.get("metadata", {})
    group, _, version = intent.get("apiVersion", "").rpartition("/")
    about = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    kind = f"{group}/{version}, Kind={intent.get('kind', '')}"
    if len(problems) > 1:
        problems = ["errors:\n  " + "\n  ".join(problems)]
    raise StatusError(500, "", f"failed to create typed patch object ({about}; {kind}): {problems[0]}")


def _check(value: Any, node: Node | None, path: Path, problems: list[str]) -> None:
    if node is None or value is None:
        return
    if is_map(node, value) and node.type in ("", "object"):
        for key, below in sorted(value.items()):
            child = node.child(key)
            if child is not None:
                _check(below, child, (*path, "f:" + key), problems)
            elif not node.open:
                problems.append(f"{readable((*path, 'f:' + key))}: field not declared in schema")
    elif is_list(node, value) and node.type in ("", "array"):
        _check_items(value, node, path, problems)
    elif isinstance(value, list) and node.type == "array":
        if node.items is not None:
            for position, item in enumerate(value):
                _check(item, node.items, (*path, f"i:{position}"), problems)
    elif wrong := _wrong_kind(value, node):
        problems.append(f"{readable(path)}: {wrong}")


def _check_items(items: list[Any], node: Node, path: Path, problems: list[str]) -> None:
    seen: set[str] = set()
    for position, item in enumerate(items):
        name = element(node, item)
        if name is None:
            problems.append(f"{readable(path)}: element {position}: {_unkeyed(node, item)}")
            continue
        if name in seen:
            problems.append(f"{readable(path)}: duplicate entries for key {readable((name,))}")
        seen.add(name)
        if node.items is not None:
            _check(item, node.items, (*path, name), problems)


def _unkeyed(node: Node, item: Any) -> str:
    if node.list_type == "set":
        return "associative list without keys has an element that's a null or not a scalar"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    names = ", ".join(f'"{key}"' for key in node.keys)
    return (
        f"associative list with keys has an element that omits key field {names} "
        "(and doesn't have default value)"
    )


def _wrong_kind(value: Any, node: Node) -> str:
    if node.int_or_string or not node.type or node.preserve:
        return ""
    if node.type == "object":
        return "" if isinstance(value, dict) else f"expected map, got {_shown(value)}"
    if node.type == "array":
        return "" if isinstance(value, list) else f"expected list, got &{{{value}}}"
    expected = _SCALARS.get(node.type, ())
    if isinstance(value, expected) and (node.type == "boolean" or not isinstance(value, bool)):
        return ""
    return f"expected {_NAMES.get(node.type, node.type)}, got {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"&{{{value}}}"
    if isinstance(value, bool):
        return f"&value.valueUnstructured{{Value:{str(value).lower()}}}"
    return f"&value.valueUnstructured{{Value:{value!r}}}"
