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
"""Different pieces a table knows at once. Beyond that it starts again: what repeats is soon back."""
LARGEST = 1024
"""Bytes of a piece that is kept. Larger ones are seldom shared, and are packed with what they came in."""
IN_BODY = b"\0"
"""Stands for a larger one."""
_SLOTS = 256
"""Pieces a full table has met once, and would know if they came again. A power of two."""


def mapping(content: Any) -> Mapping[str, str]:
    """A dictionary nobody can write to."""
    return MappingProxyType(content)


class Shared(dict[bytes, bytes], Generic[T]):
    """A table of pieces of one type: ``shared[content]`` is the copy to keep of a piece, ``b""`` of one that
    says nothing, ``IN_BODY`` of a large one. A look-up instead of a call: several happen for every object.

    :param kind: what a piece of JSON must be.
    :param finish: makes the value that is handed out, which callers share.
    """

    def __init__(self, kind: Any, finish: Callable[[Any], T]) -> None:
        self._nothing = dict.fromkeys((b"", b"null", msgspec.json.encode(kind())), b"")
        super().__init__(self._nothing)
        self._decode = msgspec.json.Decoder(kind).decode
        self._finish = finish
        self._empty: T = finish(kind())
        self._values: dict[bytes, T] = {}
        self._met: list[bytes] = [b""] * _SLOTS

    def value(self, content: bytes) -> T:
        """What a piece means.

        :raises msgspec.ValidationError: when it is of another type.
        """
        found = self._values.get(content)
        if found is None:
            kept = self[content]
            found = self._finish(self._decode(content)) if kept else self._empty
            if kept in self:
                self._values[kept] = found
        return found

    def __missing__(self, content: bytes) -> bytes:
        if len(content) > LARGEST:
            return IN_BODY
        if len(self) >= REMEMBERED:
            # Where every object says something else, learning it all would only push out what repeats.
            slot = hash(content) & (_SLOTS - 1)
            met = self._met[slot]
            if met != content:
                self._met[slot] = content
                return content
            # Threads look things up as well; what they miss meanwhile they find out by themselves.
            self.clear()
            self.update(self._nothing)
            self._values = {}
            content = met
        self[content] = content
        return content
