"""The parameter ``timeout``: how long a request may take, as client-go sends it with every request.

A real server reads it before anything else, on every path, and ignores it where a request runs for long: the
end of a watch is ``timeoutSeconds``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import bad_request
from informers.apiserver.requests.routes import address, flag

_LONG_SUBRESOURCES = frozenset({"attach", "exec", "log", "portforward", "proxy"})
_NANOSECONDS: Mapping[str, int] = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,
    "\u03bcs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_LONGEST = 2**63
_TERM = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?(?P<unit>[^.0-9]*)")


def allowed_time(method: str, path: str, query: Mapping[str, str]) -> float | None:
    """Seconds the client gives a request; ``None`` for no limit, which is also what ``0s`` and less mean.

    :raises StatusError: 400 when the parameter is no duration.
    """
    text = query.get("timeout")
    if not text or runs_for_long(method, path, query):
        return None
    try:
        nanoseconds = parse_duration(text)
    except ValueError as error:
        raise bad_request(f"invalid timeout specified in the request URL - {error}") from None
    return nanoseconds / 10**9 if nanoseconds > 0 else None


def runs_for_long(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Whether a request ends only with its reader: a watch, a log that is followed, a session in a pod."""
    at = address(path)
    if at is None:
        return False
    if at.watched or at.subresource in _LONG_SUBRESOURCES:
        return True
    return method in ("GET", "HEAD") and not at.name and bool(flag(query, "watch"))


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration as Go writes it, such as ``1h15m30.5s``.

    :raises ValueError: for anything else, in the words of Go's ``time.ParseDuration``.
    """
    sign, rest = (-1 if text[:1] == "-" else 1), text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    invalid = ValueError(f"time: invalid duration {_quoted(text)}")
    if not rest:
        raise invalid
    total = 0
    while rest:
        term = _TERM.match(rest)
        if term is None or not (term["whole"] or term["part"]):
            raise invalid
        if not term["unit"]:
            raise ValueError(f"time: missing unit in duration {_quoted(text)}")
        if term["unit"] not in _NANOSECONDS:
            raise ValueError(f"time: unknown unit {_quoted(term['unit'])} in duration {_quoted(text)}")
        total += _term_of(term["whole"], term["part"] or "", _NANOSECONDS[term["unit"]])
        if total > _LONGEST - (sign > 0):
            raise invalid
        rest = rest[term.end() :]
    return sign * total


def _term_of(whole: str, part: str, unit: int) -> int:
    # More digits than any duration has; Python refuses to read very long numbers.
    if len(whole.lstrip("0")) > len(str(_LONGEST)):
        return _LONGEST + 1
    number = digits = 0
    for digit in part:
        if number > (_LONGEST - 1) // 10:
            break
        number, digits = 10 * number + int(digit), digits + 1
    # Go multiplies floats here, and cuts.
    return int(whole or "0") * unit + int(float(number) * (unit / 10.0**digits))


def _quoted(text: str) -> str:
    shown = []
    for character in text:
        if character in '"\\':
            shown.append(f"\\{character}")
        elif " " <= character < "\x80":
            shown.append(character)
        else:
            shown.extend(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    return f'"{"".join(shown)}"'


class TooLate(StatusError):
    """504: the time a client gave is up."""

    def __init__(self) -> None:
        text = "Timeout: request did not complete within the allotted timeout"
        super().__init__(504, "Timeout", text, {})

    def status(self) -> dict[str, Any]:
        """The ``Status``, without its kind: a real server gives up outside of what encodes its answers."""
        return {key: value for key, value in super().status().items() if key not in ("kind", "apiVersion")}


class Deadline:
    """The moment after which the client no longer waits for an answer.

    :param seconds: from now; ``None`` for no deadline.
    """

    def __init__(self, seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = None if seconds is None else self._loop.time() + seconds

    def check(self) -> None:
        """Nothing is begun, and above all nothing written, after the deadline.

        :raises TooLate: once it has passed.
        """
        if self._end is not None and self._loop.time() >= self._end:
            raise TooLate

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Interrupt what waits in here when the deadline passes.

        :raises TooLate: then.
        """
        try:
            async with asyncio.timeout_at(self._end):
                yield
        except TimeoutError:
            raise TooLate from None
