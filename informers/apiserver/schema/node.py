"""One compiled schema fragment, and how OpenAPI v3 fragments become such nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from informers.apiserver.schema.bundle import OBJECT_META, resolved
from informers.apiserver.schema.patterns import Pattern, PatternError, compiled

_GVK = "x-kubernetes-group-version-kind"
_STRING = {"type": "string"}

JUNCTORS = ("allOf", "anyOf", "oneOf")
"""The words that join several fragments."""


class Node:
    """A fragment with the questions answered that are asked at every object.

    :param raw: the OpenAPI v3 fragment, without references.
    """

    __slots__ = (
        "additional",
        "atomic",
        "compiled_rules",
        "default",
        "embedded",
        "fills",
        "has_default",
        "int_or_string",
        "items",
        "junctors",
        "keys",
        "list_type",
        "nullable",
        "pattern",
        "preserve",
        "properties",
        "raw",
        "required",
        "rules",
        "type",
    )

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self.type: str = raw.get("type") or ""
        self.properties: dict[str, Node] = {}
        self.additional: Node | None = None
        self.items: Node | None = None
        self.list_type: str = raw.get("x-kubernetes-list-type") or "atomic"
        self.keys: tuple[str, ...] = tuple(raw.get("x-kubernetes-list-map-keys") or ())
        self.atomic: bool = raw.get("x-kubernetes-map-type") == "atomic"
        self.preserve: bool = bool(raw.get("x-kubernetes-preserve-unknown-fields"))
        self.int_or_string: bool = bool(raw.get("x-kubernetes-int-or-string"))
        self.embedded: bool = bool(raw.get("x-kubernetes-embedded-resource"))
        self.nullable: bool = bool(raw.get("nullable"))
        self.required: tuple[str, ...] = tuple(raw.get("required") or ())
        self.has_default: bool = "default" in raw
        self.default: Any = raw.get("default")
        self.rules: tuple[Mapping[str, Any], ...] = tuple(raw.get("x-kubernetes-validations") or ())
        # Filled by the module that knows CEL, when the first object is validated.
        self.compiled_rules: tuple[Any, ...] | None = None
        self.junctors: dict[str, list[Node]] = {}
        self.pattern: Pattern | None = None
        # Whether this node or one below it has a default: most subtrees have none and are skipped.
        self.fills = False

    def child(self, name: str) -> Node | None:
        """The node of a field or map key, or ``None`` when nothing is said about it."""
        return self.properties.get(name) or self.additional

    @property
    def open(self) -> bool:
        """Whether any field may stand here: no type said, or unknown fields are kept."""
        return self.preserve or not self.type


class Compiler:
    """Compiles fragments; one dictionary is compiled once, so that shared fragments share their node."""

    def __init__(self) -> None:
        self._done: dict[int, Node] = {}
        # Keeps the fragments alive: the memory above is by identity.
        self._kept: list[Mapping[str, Any]] = []

    def compile(self, raw: Mapping[str, Any]) -> Node:
        """The node of a fragment."""
        known = self._done.get(id(raw))
        if known is not None:
            return known
        node = Node(raw)
        self._done[id(raw)] = node
        self._kept.append(raw)
        for name, fragment in (raw.get("properties") or {}).items():
            node.properties[name] = self.compile(fragment)
        additional = raw.get("additionalProperties")
        if isinstance(additional, Mapping):
            node.additional = self.compile(additional)
        elif additional is True:
            node.preserve = True
        items = raw.get("items")
        if isinstance(items, Mapping):
            node.items = self.compile(items)
        for word in JUNCTORS:
            if raw.get(word):
                node.junctors[word] = [self.compile(fragment) for fragment in raw[word]]
        if isinstance(raw.get("not"), Mapping):
            node.junctors["not"] = [self.compile(raw["not"])]
        if raw.get("pattern"):
            node.pattern = _pattern(raw["pattern"])
        if node.embedded:
            self._complete(node)
        below = [*node.properties.values(), node.additional, node.items]
        node.fills = node.has_default or any(one is not None and one.fills for one in below)
        return node

    def root(self, raw: Mapping[str, Any]) -> Node:
        """The node of a whole object: type fields and metadata are there, whatever the schema says."""
        if raw.get(_GVK):
            return self.compile(raw)
        node = self.compile(dict(raw))
        self._complete(node)
        return node

    def _complete(self, node: Node) -> None:
        node.properties.setdefault("apiVersion", self.compile(_STRING))
        node.properties.setdefault("kind", self.compile(_STRING))
        node.properties["metadata"] = BUILTIN.compile(resolved(OBJECT_META))
        node.type = node.type or "object"


BUILTIN = Compiler()
"""Shared by all built-in kinds: a pod template is compiled once."""


def _pattern(pattern: str) -> Pattern | None:
    """``None`` for what is no pattern: schemas with one are refused before they are served."""
    try:
        return compiled(pattern)
    except PatternError:
        return None
