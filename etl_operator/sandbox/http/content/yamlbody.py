"""YAML bodies as a real server reads them: as JSON, with its limits on depth and aliases.

A real server reads YAML with go-yaml v2, which knows other numbers and truth values than PyYAML, and makes a
JSON document of the result: keys become texts, dates stay texts, infinity is refused. The parser's events are
read here one after the other, so no document can exhaust the stack, and an alias costs what it stands for.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from informers.apiserver.errors.bounds import MAX_BODY, MAX_DEPTH, too_deep, too_large

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_ENDLESS = frozenset(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")) | frozenset(
    {".nan", ".NaN", ".NAN"}
)
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|(0|[1-9][0-9]*))", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_MERGE = object()
# go-yaml's guard against aliases: so many of the values may come from them, fewer the more there are.
_FEW_ALIASES, _FEW_VALUES = 100, 1_000
_LOW, _HIGH = 400_000, 4_000_000


class YamlError(ValueError):
    """A body that is no YAML, or cannot be JSON; the text says why."""


class _Anchored(NamedTuple):
    value: Any
    values: int
    weight: int


class _Open:
    """A list or map that is being read."""

    __slots__ = ("anchor", "items", "merged", "pending", "values", "weight")

    def __init__(self, items: Any, anchor: str | None, values: int, weight: int) -> None:
        self.items = items
        self.anchor = anchor
        self.values = values
        self.weight = weight
        self.pending: list[Any] = []
        self.merged: list[Any] = []


class _Reader:
    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._unfinished: set[str] = set()
        # A document is a value of its own.
        self._values, self._aliased, self._weight = 1, 0, 0
        self.result: Any = None

    def take(self, event: Any) -> bool:
        """Read one event; whether the first document is complete."""
        if isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor))
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
            self._count(1, len(event.value) + 2)
            if event.anchor:
                self._anchors[event.anchor] = _Anchored(value, 1, len(event.value) + 2)
            self._place(value)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        return isinstance(event, yaml.DocumentEndEvent)

    def _count(self, values: int, weight: int) -> None:
        self._values += values
        self._weight += weight
        if self._weight > MAX_BODY:
            raise too_large(f"limit is {MAX_BODY}, with what its aliases stand for")

    def _alias(self, anchor: str) -> None:
        if anchor in self._unfinished:
            raise YamlError(f"anchor '{anchor}' value contains itself")
        if anchor not in self._anchors:
            raise YamlError(f"unknown anchor '{anchor}' referenced")
        found = self._anchors[anchor]
        self._count(found.values + 1, found.weight)
        self._aliased += found.values
        if (
            self._aliased > _FEW_ALIASES
            and self._values > _FEW_VALUES
            and self._aliased / self._values > _allowed_share(self._values)
        ):
            raise YamlError("document contains excessive aliasing")
        if len(self._open) + _depth_of(found.value) > MAX_DEPTH:
            raise too_deep()
        self._place(_copied(found.value))

    def _begin(self, items: Any, anchor: str | None) -> None:
        if len(self._open) > MAX_DEPTH:
            raise too_deep()
        # What it weighs and counts alone comes at its end: by then all below it has been counted.
        self._open.append(_Open(items, anchor, self._values, self._weight))
        self._count(1, 2)
        if anchor:
            self._unfinished.add(anchor)

    def _end(self) -> None:
        done = self._open.pop()
        if isinstance(done.items, dict):
            for source in done.merged:
                for key, value in source.items():
                    done.items.setdefault(key, _copied(value))
        if done.anchor:
            self._unfinished.discard(done.anchor)
            self._anchors[done.anchor] = _Anchored(
                done.items, self._values - done.values, self._weight - done.weight
            )
        self._place(done.items)

    def _place(self, value: Any) -> None:
        if not self._open:
            self.result = None if value is _MERGE else value
            return
        around = self._open[-1]
        if isinstance(around.items, list):
            around.items.append("<<" if value is _MERGE else value)
        elif not around.pending:
            around.pending.append(value)
        else:
            key = around.pending.pop()
            if key is _MERGE:
                around.merged.extend(_sources(value))
            else:
                around.items[_key(key)] = "<<" if value is _MERGE else value


def load(raw: bytes) -> Any:
    """The first document of a body as JSON values; ``None`` when there is none.

    :raises YamlError: no YAML, or nothing that JSON could say.
    :raises StatusError: 400 when it nests too deep, 413 when its aliases stand for too much.
    """
    reader = _Reader()
    try:
        for event in yaml.parse(raw, Loader=_Loader):
            if reader.take(event):
                break
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from None
    return reader.result


def _allowed_share(values: int) -> float:
    if values <= _LOW:
        return 0.99
    return max(0.10, 0.99 - 0.89 * (values - _LOW) / (_HIGH - _LOW))


def _depth_of(value: Any) -> int:
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [below for one in level for below in (one.values() if isinstance(one, dict) else one)]
    return depth


def _copied(value: Any) -> Any:
    """A value of its own: who changes one place must not change all."""
    if isinstance(value, dict):
        return {key: _copied(below) for key, below in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _sources(value: Any) -> list[Any]:
    # The first of several maps wins.
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in sources):
        raise YamlError("map merge requires map or sequence of maps as the value")
    return sources


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, int):
        return str(value)
    raise YamlError("unsupported map key: a key is a text, a number or a truth value")


def _scalar(event: Any) -> Any:
    text, tag = str(event.value), event.tag
    if tag is None or tag == "!":
        plain = event.implicit[0] and not event.style and tag is None
        return _resolved(text, key=True) if plain else text
    if not tag.startswith(_CORE):
        return text
    kind = tag.removeprefix(_CORE)
    if kind == "binary":
        try:
            return base64.b64decode(text).decode(errors="replace")
        except (binascii.Error, ValueError):
            raise YamlError("!!binary value contains invalid base64 data") from None
    if kind not in _OF_KIND:
        return text
    value = _resolved(text)
    if not _OF_KIND[kind](value):
        raise YamlError(f"cannot decode !!str `{text}` as a !!{kind}")
    return value


_OF_KIND: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _resolved(text: str, *, key: bool = False) -> Any:
    """What a text without quotes stands for."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text in _ENDLESS:
        raise YamlError(f"json: unsupported value: {text}")
    if text == "<<":
        return _MERGE if key else text
    if text[0] in "+-0123456789.":
        return _number(text)
    return text


def _number(text: str) -> Any:
    plain = text.replace("_", "") if text[0] != "." else text
    if found := _INTEGER.fullmatch(plain):
        sign, *groups = found.groups()
        for digits, base in zip(groups, (16, 8, 2, 10), strict=True):
            # Longer ones are no 64 bits; Python would take its time over a million digits.
            if digits and len(digits) < 80:
                number = int(sign + digits, base)
                if -(2**63) <= number < 2**64:
                    return number
    if _FLOAT.fullmatch(plain):
        value = float(plain)
        if math.isfinite(value):
            return value
    return text
