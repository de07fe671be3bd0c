"""Trouble that lasts, and the Warning events about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controllers.status.conditions import Conditions
from informers.clock import Clock
from informers.events import EventRecorder
from informers.objects import Object, ObjectKey


class Troubles:
    """Distinguishes lasting from temporary problems: only the former are worth a Warning event.

    :param after: seconds.
    """

    def __init__(self, clock: Clock, after: float) -> None:
        self._clock = clock
        self._after = after
        self._seen: dict[ObjectKey, dict[str, float]] = {}
        """When each reason was first met since the object was last well; infinity once it was announced."""

    def lasts(self, key: ObjectKey, reason: str) -> bool:
        """Note the trouble. True once, when it was first met ``after`` seconds ago, or earlier."""
        now = self._clock.monotonic()
        reasons = self._seen.setdefault(key, {})
        if now - reasons.setdefault(reason, now) < self._after:
            return False
        reasons[reason] = float("inf")
        return True

    def left(self, key: ObjectKey, reason: str) -> float | None:
        """Seconds until the trouble is to be announced; ``None`` when it has been, or there is none."""
        since = self._seen.get(key, {}).get(reason, float("inf"))
        return None if since == float("inf") else max(0.0, since + self._after - self._clock.monotonic())

    def over(self, key: ObjectKey) -> None:
        """The object is well, or gone."""
        self._seen.pop(key, None)


@dataclass(frozen=True, slots=True)
class AlarmRules:
    """Which trouble is announced, how and when."""

    condition: str
    """Type of the condition that shows the problem while it is not True."""
    reasons: Mapping[str, str]
    """The condition's reasons that a user should act on, and those of the Warning events about them."""
    at_once: Collection[str]
    """Those that do not pass by themselves; the others are announced when they have lasted."""
    action: str
    """Of the events."""


class Alarms:
    """Warning events about the objects of one kind: only of what a user should act on.

    :param after: seconds that trouble lasts which may pass by itself.
    """

    def __init__(self, events: EventRecorder, clock: Clock, after: float, rules: AlarmRules) -> None:
        self._events = events
        self._rules = rules
        self._troubles = Troubles(clock, after)

    def look(self, key: ObjectKey, obj: Object, conditions: Conditions) -> None:
        """Report the problem in the conditions as an event, if it is time to."""
        rules = self._rules
        found = conditions.get(rules.condition)
        if found is None or found["status"] == "True":
            self.over(key)
            return
        reason, message = str(found["reason"]), str(found["message"])
        if reason in rules.reasons and (
            conditions.turned(rules.condition)
            if reason in rules.at_once
            else self._troubles.lasts(key, reason)
        ):
            event = rules.reasons[reason]
            self._events.event(obj, type="Warning", reason=event, action=rules.action, note=message)

    def left(self, key: ObjectKey, conditions: Conditions) -> float | None:
        """Seconds until the trouble is to be announced; ``None`` when it has been, or there is none."""
        found = conditions.get(self._rules.condition)
        return None if found is None else self._troubles.left(key, found["reason"])

    def over(self, key: ObjectKey) -> None:
        """The object is well, or gone."""
        self._troubles.over(key)
