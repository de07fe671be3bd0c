"""Conditions while a status is put together. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controllers.status.reasons import READY, RECONCILING, STALLED
from informers.conditions import get_condition, remove_condition, set_condition
from informers.objects import Object


class Conditions:
    """The conditions of one object, starting from those it has.

    :param generation: the generation the new verdicts are about.
    :param now: timestamp for transitions.
    """

    def __init__(self, obj: Object, generation: int, now: str) -> None:
        self._items: list[dict[str, Any]] = list((obj.get("status") or {}).get("conditions") or ())
        self._before = {item["type"]: item for item in self._items}
        self._generation = generation
        self._now = now

    def set(self, kind: str, status: bool | None, reason: str, message: str) -> None:
        """Set a condition; ``None`` is Unknown."""
        word = "Unknown" if status is None else str(status)
        self._items = set_condition(self._items, kind, word, reason, message, self._generation, self._now)

    def clear(self, *kinds: str) -> None:
        """Remove conditions that are only present when true."""
        for kind in kinds:
            self._items = remove_condition(self._items, kind)

    def ready(self, reason: str, message: str) -> None:
        """Everything is as asked: nothing is under way, nothing is stuck."""
        self.set(READY, True, reason, message)
        self.clear(RECONCILING, STALLED)

    def working(self, reason: str, message: str, *, unknown: bool = False) -> None:
        """Not there yet, and work (or a retry) is under way."""
        self.set(READY, None if unknown else False, reason, message)
        self.set(RECONCILING, True, reason, message)
        self.clear(STALLED)

    def stalled(self, reason: str, message: str) -> None:
        """Not there, and only a change by the user can help."""
        self.set(READY, False, reason, message)
        self.set(STALLED, True, reason, message)
        self.clear(RECONCILING)

    def has(self, kind: str) -> bool:
        """Whether the condition is present now."""
        return get_condition(self._items, kind) is not None

    def is_true(self, kind: str) -> bool:
        """Whether the condition is True now."""
        found = get_condition(self._items, kind)
        return found is not None and found["status"] == "True"

    def turned(self, kind: str) -> Mapping[str, Any] | None:
        """The condition if its status or reason differs from before, else ``None``."""
        now = get_condition(self._items, kind)
        before = self._before.get(kind)
        if now is None or (
            before is not None and (before["status"], before["reason"]) == (now["status"], now["reason"])
        ):
            return None
        return now

    def get(self, kind: str) -> Mapping[str, Any] | None:
        """The condition as it is now, or ``None``."""
        return get_condition(self._items, kind)

    def before(self, kind: str) -> Mapping[str, Any] | None:
        """The condition as it was when the object was read."""
        return self._before.get(kind)

    def was_ready(self) -> bool:
        """Whether the object, as it was read, was Ready at this very generation."""
        found = self._before.get(READY)
        return found is not None and (found["status"], found["observedGeneration"]) == (
            "True",
            self._generation,
        )

    def items(self) -> list[dict[str, Any]]:
        """For ``status.conditions``: sorted by type."""
        return self._items
