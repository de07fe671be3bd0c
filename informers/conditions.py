"""Conditions as Kubernetes has them, on plain data: lists of dictionaries as in ``status.conditions``.

Nothing here reads the clock, and nothing is changed in place: each function returns a new list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

MAX_MESSAGE = 32768
"""Characters, as the schema of the Kubernetes API has it."""

_TYPE = itemgetter("type")


def get_condition(items: Sequence[Mapping[str, Any]], type: str) -> Mapping[str, Any] | None:
    """The condition of a type, or ``None``."""
    return next((item for item in items if item["type"] == type), None)


def set_condition(
    items: Sequence[dict[str, Any]],
    type: str,
    status: str,
    reason: str,
    message: str,
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """The conditions with one set, sorted by type.

    :param status: ``True``, ``False`` or ``Unknown``.
    :param message: a sentence; what the schema would refuse for its length is cut off.
    :param generation: the generation the verdict is about.
    :param now: RFC 3339. It becomes ``lastTransitionTime`` when the status differs from before; a new
        reason, message or generation does not move it.
    """
    before = get_condition(items, type)
    moved = before is None or before["status"] != status
    condition = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message[:MAX_MESSAGE],
        "lastTransitionTime": now if before is None or moved else before["lastTransitionTime"],
        "observedGeneration": generation,
    }
    return sorted((*(item for item in items if item["type"] != type), condition), key=_TYPE)


def remove_condition(items: Sequence[dict[str, Any]], type: str) -> list[dict[str, Any]]:
    """The conditions without one type, sorted by type."""
    return sorted((item for item in items if item["type"] != type), key=_TYPE)
