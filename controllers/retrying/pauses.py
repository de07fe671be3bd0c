"""When to try again, and how long something has been waited for."""

from __future__ import annotations

from informers.clock import Clock
from informers.objects import ObjectKey


class Pauses:
    """A growing pause per key: ``base`` doubling to ``limit`` seconds, until :meth:`clear`."""

    def __init__(self, base: float, limit: float) -> None:
        self._base = base
        self._limit = limit
        self._failures: dict[ObjectKey, int] = {}

    def next(self, key: ObjectKey) -> float:
        """Seconds to wait after one more failure."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # Bounded exponent: the counter may run for weeks.
        return min(self._limit, self._base * 2.0 ** min(failures, 16))

    def clear(self, key: ObjectKey) -> None:
        """A success, or the object is gone."""
        self._failures.pop(key, None)


class Waiting:
    """How long this process has been waiting for something about each object."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[ObjectKey, tuple[str, float]] = {}

    def seconds(self, key: ObjectKey, uid: str = "") -> float:
        """Seconds since the first call for this key and uid."""
        now = self._clock.monotonic()
        before = self._since.get(key)
        if before is None or before[0] != uid:
            # An object of the same name that was made again has its own time.
            self._since[key] = before = uid, now
        return now - before[1]

    def over(self, key: ObjectKey) -> None:
        """The waiting has ended."""
        self._since.pop(key, None)


def sooner(one: float | None, other: float | None) -> float | None:
    """The shorter of two waits; ``None`` is none."""
    return min((wait for wait in (one, other) if wait is not None), default=None)
