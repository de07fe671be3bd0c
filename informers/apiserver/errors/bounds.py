"""Limits of the size and the depth of bodies and stored objects."""

from __future__ import annotations

from typing import Any

from informers.apiserver.errors.status import StatusError

MAX_BODY = 3 * 1024 * 1024
"""Bytes of a request's body, and of what its YAML aliases stand for."""

MAX_STORED = 1536 * 1024
"""Bytes of a stored object as JSON: etcd's limit of a request."""

MAX_DEPTH = 256
"""How deep lists and maps may nest. A real server takes 10 000; rules in Python recurse, and this leaves them
room."""


def too_large(problem: str) -> StatusError:
    """The refusal of what is too much."""
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {problem}", {})


def too_deep() -> StatusError:
    """The refusal of what nests too deep."""
    return StatusError(400, "BadRequest", f"the object is nested more than {MAX_DEPTH} levels deep")


def check_depth(value: Any) -> None:
    """:raises StatusError: 400 when lists and maps in ``value`` nest deeper than :data:`MAX_DEPTH`."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(item for item in one.values() if isinstance(item, dict | list))
            elif isinstance(one, list):
                below.extend(item for item in one if isinstance(item, dict | list))
        if not below:
            return
        level = below
    raise too_deep()
