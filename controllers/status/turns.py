"""When counters may be written to a status: seldom for one object, and few at a time for all."""

from __future__ import annotations

from informers.clock import Clock
from informers.objects import ObjectKey


class Turns:
    """Gives objects turns to write their counters, in the order in which they ask.

    :param each: seconds between two turns of one object, at least.
    :param every: seconds between two turns of any objects, at least.
    """

    def __init__(self, clock: Clock, each: float, every: float) -> None:
        self._clock = clock
        self._each = each
        self._every = every
        self._last: dict[ObjectKey, float] = {}
        self._booked: dict[ObjectKey, float] = {}
        self._next = float("-inf")
        """No turn is booked for this time or later."""
        self._taken = float("-inf")

    def take(self, key: ObjectKey) -> float:
        """Take the object's turn: 0 when it has it now, otherwise the seconds after which to ask again."""
        now = self._clock.monotonic()
        last = self._last.get(key)
        if last is not None and now - last < self._each:
            return last + self._each - now
        at = self._booked.get(key)
        soonest = self._taken + self._every
        if at is None or (now < soonest and now - at >= self._every):
            # Of many that come late together each gets a new turn, or all would ask again at once.
            at = self._book(key, max(now, soonest))
        # A key that comes late for its turn must not crowd those after it.
        at = max(at, soonest)
        if now < at:
            return at - now
        del self._booked[key]
        self._last[key] = self._taken = now
        return 0.0

    def wrote(self, key: ObjectKey) -> None:
        """The counters went along with another write."""
        self._booked.pop(key, None)
        self._last[key] = self._clock.monotonic()

    def forget(self, key: ObjectKey) -> None:
        """The object is gone."""
        self._booked.pop(key, None)
        self._last.pop(key, None)

    def _book(self, key: ObjectKey, now: float) -> float:
        at = self._booked[key] = max(now, self._next)
        self._next = at + self._every
        return at
