"""The part of kubectl's JSONPath that printer columns use: fields, indexes, ``[*]`` and equality filters."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

_Step = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""
    \.(?P<field>(?:[^.\[\\]|\\.)+)
    | \[\s*'(?P<quoted>[^']*)'\s*\]
    | \[\s*(?P<index>-?\d+)\s*\]
    | \[\s*\*\s*\](?P<all>)
    | \[\?\(\s*@(?P<left>[^=!<>]+?)\s*==\s*(?P<right>"[^"]*"|'[^']*'|true|false|-?\d+)\s*\)\]
    """,
    re.VERBOSE,
)


class PathError(ValueError):
    """The expression is not one of the supported forms."""


def find(path: str, value: Any) -> list[Any]:
    """Every value the path leads to; empty when there is none.

    :raises PathError: for an expression outside the supported part.
    """
    found = [value]
    for step in compile_path(path):
        found = [result for one in found for result in step(one)]
    return found


@functools.lru_cache(maxsize=512)
def compile_path(path: str) -> tuple[_Step, ...]:
    """The path's steps.

    :raises PathError: for an expression outside the supported part.
    """
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    steps: list[_Step] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise PathError(f"unsupported path {path!r} at {text[position:]!r}")
        steps.append(_step(match))
        position = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> _Step:
    groups = match.groupdict()
    if groups["field"] is not None:
        return functools.partial(_field, re.sub(r"\\(.)", r"\1", groups["field"]))
    if groups["quoted"] is not None:
        return functools.partial(_field, groups["quoted"])
    if groups["index"] is not None:
        return functools.partial(_index, int(groups["index"]))
    if groups["all"] is not None:
        return _every
    return functools.partial(_filter, groups["left"].strip(), _literal(groups["right"]))


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return text[1:-1]
    return {"true": True, "false": False}[text] if text in ("true", "false") else int(text)


def _field(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, dict) and name in value:
        yield value[name]


def _index(index: int, value: Any) -> Iterator[Any]:
    if isinstance(value, list) and -len(value) <= index < len(value):
        yield value[index]


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()


def _filter(path: str, wanted: Any, value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (one for one in value if wanted in find(path, one))
