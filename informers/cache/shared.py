"""One copy of what many objects say: small pieces of JSON, and what they mean.

Labels, finalizers and owners repeat: a few hundred different ones serve a hundred thousand objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

REMEMBERED = 1024
"""Different pieces a table knows at once. Beyond that it starts anew: what repeats is soon back."""
_SLOTS = 256
"""Pieces a full table has met once, and would know if they came again. A power of two."""

_EMPTY = frozenset({b"", b"null", b"{}", b"[]"})


def mapping(content: Any) -> Mapping[str, str]:
    """A dictionary nobody can write to."""
    return MappingProxyType(content)


class Shared(Generic[T]):
    """A table of pieces of one type. What says nothing is ``b""``.

    :param kind: what a piece of JSON must be.
    :param finish: makes the value that is handed out, which callers share.
    """

    def __init__(self, kind: Any, finish: Callable[[Any], T]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._finish = finish
        nothing: tuple[bytes, T] = (b"", finish(kind()))
        self._empty = dict.fromkeys((b"", b"null", msgspec.json.encode(kind())), nothing)
        self._known = dict(self._empty)
        self._met: list[bytes] = [b""] * _SLOTS

    def keep(self, raw: msgspec.Raw | bytes) -> bytes:
        """The copy to keep.

        :raises msgspec.ValidationError: when the piece is of another type.
        """
        # Not the Raw itself: that refers to the whole page it was found in.
        content = bytes(raw)
        found = self._known.get(content)
        if found is not None:
            return found[0]
        if len(self._known) < REMEMBERED:
            return self._learn(content)[0]
        # Where every object says something else, learning it all would only push out what repeats.
        slot = hash(content) & (_SLOTS - 1)
        met = self._met[slot]
        if met == content:
            return self._learn(met)[0]
        self._decode(content)
        self._met[slot] = content
        return content

    def knows(self, content: bytes) -> bool:
        """Whether the piece was kept lately."""
        return content in self._known

    def value(self, content: bytes) -> T:
        """The value of a piece that was kept."""
        found = self._known.get(content)
        if found is None:
            found = self._learn(content)
        return found[1]

    def _learn(self, content: bytes) -> tuple[bytes, T]:
        learned = content, self._finish(self._decode(content))
        if len(self._known) >= REMEMBERED:
            # A new table, not a cleared one: threads read as well.
            self._known = dict(self._empty)
        self._known[content] = learned
        return learned
