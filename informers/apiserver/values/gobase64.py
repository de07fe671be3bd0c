"""Base64 as Go's decoder reads it: line breaks anywhere are skipped, all else is strict."""

from __future__ import annotations

import base64
import re

_BREAKS = str.maketrans("", "", "\r\n")
_LETTER = "[A-Za-z0-9+/]"
_STRICT = re.compile(f"(?:{_LETTER}{{4}})*(?:{_LETTER}{{2}}==|{_LETTER}{{3}}=)?")
_PAD = ord("=")
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def rewritten(text: str) -> str:
    """The text as a server stores it: without line breaks.

    :raises ValueError: for what is no base64, in the words of Go's ``encoding/base64``.
    """
    plain = text.translate(_BREAKS)
    if _STRICT.fullmatch(plain) is None:
        data = text.encode("utf-8", "surrogatepass")
        raise ValueError(f"illegal base64 data at input byte {_mistake(data)}")
    # Bits beyond the last byte are dropped, so that the same bytes are always written the same.
    return base64.b64encode(base64.b64decode(plain)).decode() if plain.endswith("=") else plain


def _mistake(data: bytes) -> int:
    """Where Go's decoder stops: the offset it names in its error."""
    filled = 0
    for place, letter in enumerate(data):
        if letter in b"\r\n":
            continue
        if letter in _LETTERS:
            filled = (filled + 1) % 4
        elif letter != _PAD or filled < 2:
            return place
        else:
            return _after_padding(data, place, missing=filled == 2)
    return len(data) - filled


def _after_padding(data: bytes, place: int, *, missing: bool) -> int:
    """The offset of a mistake at or after the first padding character, which stands at ``place``."""
    following = _skip_breaks(data, place + 1)
    if missing:
        if following == len(data):
            return following
        if data[following] != _PAD:
            return following - 1
        following = _skip_breaks(data, following + 1)
    return following


def _skip_breaks(data: bytes, place: int) -> int:
    while place < len(data) and data[place] in b"\r\n":
        place += 1
    return place
