"""Objects with something in them that does not belong there."""

from __future__ import annotations

import json
from typing import Any

from informers.objects import Object


def broken(obj: Object, way: list[int], value: Any) -> Object:
    """A copy with something else at a place the numbers lead to."""
    result: Object = json.loads(json.dumps(obj))  # No two places share a value.
    inner: Any = result
    for step, number in enumerate(way):
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = keys[number % len(keys)]
        below = inner[key]
        if step == len(way) - 1 or not isinstance(below, dict | list) or not below:
            inner[key] = value
            break
        inner = below
    return result
