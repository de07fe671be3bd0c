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


def mapping(content: Any) -> Mapping[str, str]:
    """A dictionary nobody can write to."""
    return MappingProxyType(content)


class Shared(Generic[T]):
    """A table of pieces of one type. What says nothing is ``b""``.

    ``kept[content]`` is the copy to keep of a piece; it raises ``msgspec.ValidationError`` when the piece is of
    another type. A look-up instead of a call: several happen for every change of every object.

    :param kind: what a piece of JSON must be.
    :param finish: makes the value that is handed out, which callers share.
    """

    def __init__(self, kind: Any, finish: Callable[[Any], T]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._finish = finish
        self._nothing = frozenset((b"", b"null", msgspec.json.encode(kind())))
        self._values: dict[bytes, T] = {b"": finish(kind())}
        self._met: list[bytes] = [b""] * _SLOTS
        self.kept: dict[bytes, bytes] = _Kept(self._keep, dict.fromkeys(self._nothing, b""))

    def value(self, content: bytes) -> T:
        """The value of a piece that was kept."""
        found = self._values.get(content)
        if found is None:
            found = self._finish(self._decode(content))
            if content in self.kept:
                self._values[content] = found
        return found

    def _keep(self, content: bytes) -> bytes:
        """The copy to keep of a piece that is not in the table."""
        if len(self.kept) >= REMEMBERED:
            # Where every object says something else, learning it all would only push out what repeats.
            slot = hash(content) & (_SLOTS - 1)
            if self._met[slot] != content:
                self._decode(content)
                self._met[slot] = content
                return content
            content = self._met[slot]
            # New tables, not cleared ones: threads read as well.
            self._values = {b"": self._values[b""]}
            self.kept = _Kept(self._keep, dict.fromkeys(self._nothing, b""))
        value = self._finish(self._decode(content))
        self.kept[content] = content
        self._values[content] = value
        return content


class _Kept(dict[bytes, bytes]):
    def __init__(self, missing: Callable[[bytes], bytes], known: dict[bytes, bytes]) -> None:
        super().__init__(known)
        self._missing = missing

    def __missing__(self, content: bytes) -> bytes:
        return self._missing(content)
