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
        self._known: dict[bytes, tuple[bytes, T]] = {}
        self._nothing = finish(kind())

    def known(self, raw: msgspec.Raw) -> bytes | None:
        """The copy to keep, if the piece is known or says nothing."""
        # Not the Raw itself: that refers to the whole page it was found in.
        content = bytes(raw)
        if len(content) <= 4 and content in _EMPTY:
            return b""
        found = self._known.get(content)
        return found[0] if found is not None else None

    def keep(self, raw: msgspec.Raw) -> bytes:
        """The copy to keep.

        :raises msgspec.ValidationError: when the piece is of another type.
        """
        known = self.known(raw)
        if known is not None:
            return known
        content = bytes(raw)
        self._learn(content)
        return content

    def decode(self, content: bytes) -> T:
        """The value of a piece, without learning it.

        :raises msgspec.ValidationError: when the piece is of another type.
        """
        return self._finish(self._decode(content))

    def value(self, content: bytes) -> T:
        """The value of a piece that was kept."""
        if not content:
            return self._nothing
        found = self._known.get(content)
        return found[1] if found is not None else self._learn(content)

    def _learn(self, content: bytes) -> T:
        value = self.decode(content)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[content] = content, value
        return value
