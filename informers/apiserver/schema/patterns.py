"""Regular expressions of users run in RE2, with the syntax and guarantees of Go's ``regexp`` package.

RE2 takes time linear in the text, whatever the pattern. An engine that backtracks can be stopped by one short
pattern and one short text, so no pattern of a user may run in Python's ``re``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

_MAX_MEMORY = 1 << 26
"""Bytes that one compiled pattern may take, as far as Go lets one grow."""
_CACHED = 1024
_NESTED = 1000
"""How deep Go lets groups and repetitions nest."""

# What RE2 says, and what Go says about the same.
_IN_GO = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
}


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str, /) -> Any:
        """The first match, whose ``group(0)`` is what matched; ``None`` when nothing matches."""
        ...


class PatternError(ValueError):
    """A pattern that a server refuses; the text is what follows ``error parsing regexp:`` there."""


@lru_cache(maxsize=_CACHED)
def compiled(pattern: str) -> Pattern:
    """The pattern, compiled.

    :raises PatternError: when it is none, in the words of a real server.
    """
    # Imported here: whoever tests with schemas without patterns works without the library.
    import re2

    if len(pattern) >= _NESTED and _depth(pattern) > _NESTED:
        raise PatternError(f"expression nests too deeply: `{pattern}`")
    if _has_any_byte(pattern):
        raise PatternError("invalid escape sequence: `\\C`")
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    # Whoever wrote the pattern is told; the server's own output is not the place.
    options.log_errors = False
    try:
        made: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0]
        raise PatternError(_in_go(said.decode() if isinstance(said, bytes) else str(said))) from None
    except UnicodeEncodeError:
        raise PatternError(f"invalid UTF-8: `{pattern}`") from None
    return made


def _in_go(said: str) -> str:
    problem, _, place = said.partition(": ")
    return f"{_IN_GO.get(problem, problem)}: `{place}`"


def _has_any_byte(pattern: str) -> bool:
    """Whether it asks for any byte, whatever the encoding: RE2 alone knows that, Go refuses it."""
    position = 0
    while (position := pattern.find("\\", position)) >= 0:
        if pattern.startswith("\\Q", position):
            end = pattern.find("\\E", position)
            if end < 0:
                return False
            position = end + 2
        elif pattern.startswith("\\C", position):
            return True
        else:
            position += 2
    return False


def _depth(pattern: str) -> int:
    """How deep groups nest, at most: what is quoted or in a class is counted as well."""
    deepest = depth = 0
    for character in pattern:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest
