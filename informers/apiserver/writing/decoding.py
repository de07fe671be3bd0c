"""Decoding: from what was sent to an object that has the fields and the shape of its kind.

A real server decodes into typed fields before it looks at anything else, and what comes after relies on it.
For most built-in kinds their own rules do that; here is what they leave: definitions, and the metadata of
custom resources.
"""

from __future__ import annotations

from typing import Any

from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.kinds.table import DEFINITION
from informers.apiserver.schema.node import Node
from informers.apiserver.schema.validation import kind_of
from informers.apiserver.writing.write import Write
from informers.objects import Object


def decoded(write: Write, obj: Object) -> Object:
    """The object without fields its kind does not know.

    :raises StatusError: 400 for such fields when validation is strict, and for values its Go type could
        not take.
    """
    if write.type.schema is None:
        return obj
    found = _misfit_of(obj, write.type)
    if found:
        raise write.undecodable(f"json: cannot unmarshal {found}")
    pruned, unknown = write.type.schema.pruned(obj)
    if unknown and write.options.validation != "Ignore":
        problems = [f'unknown field "{path}"' for path in unknown]
        if write.options.validation == "Strict":
            raise write.undecodable(f"strict decoding error: {', '.join(problems)}")
        write.warnings.extend(problems)
    return pruned


def _misfit_of(obj: Object, type_: ResourceType) -> str:
    """What does not fit, or "". Of a custom resource only the metadata is typed."""
    if type_.schema is None:
        return ""
    root = type_.schema.root
    if type_.resource == DEFINITION:
        return _misfit(obj, root, "")
    return _misfit(obj["metadata"], root.properties["metadata"], "metadata") if type_.custom else ""


def _misfit(value: Any, node: Node, path: str) -> str:
    if node.type == "object" and not isinstance(value, dict):
        return f"{kind_of(value)} into {path} of type object"
    if node.type == "array" and not isinstance(value, list):
        return f"{kind_of(value)} into {path} of type array"
    if node.type == "string" and not isinstance(value, str):
        return f"{kind_of(value)} into {path} of type string"
    if isinstance(value, dict):
        for key, below in value.items():
            child = node.child(key)
            # An absent value may be written as null anywhere but in a list.
            if child is not None and below is not None:
                found = _misfit(below, child, f"{path}.{key}" if path else key)
                if found:
                    return found
    elif isinstance(value, list) and node.items is not None:
        for position, item in enumerate(value):
            found = _misfit(item, node.items, f"{path}[{position}]")
            if found:
                return found
    return ""
