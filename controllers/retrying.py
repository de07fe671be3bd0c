"""How long things take: pauses between retries, trouble that lasts, and what router errors mean to people.

Everything here is measured on this process's monotonic clock, from the moment it first saw the reason. The
API server's timestamps come from another clock, and only tell what came first.
"""

from __future__ import annotations

from controllers.status import reasons as r
from etl_operator.router.errors import (
    NotLeader,
    Rejected,
    RouterAdminUnavailable,
    RouterError,
    Unreachable,
)
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
            # An object of the same name that was made anew has its own time.
            self._since[key] = before = uid, now
        return now - before[1]

    def over(self, key: ObjectKey) -> None:
        """The waiting has ended."""
        self._since.pop(key, None)


class Troubles:
    """Tells trouble that lasts from trouble that passes: only the former is worth an alarm.

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


def sooner(one: float | None, other: float | None) -> float | None:
    """The shorter of two waits; ``None`` is none."""
    return min((wait for wait in (one, other) if wait is not None), default=None)


def verdict(error: RouterError) -> tuple[str, str]:
    """Reason and message of a condition."""
    if isinstance(error, RouterAdminUnavailable):
        return r.ADMIN_UNAVAILABLE, f"the router serves no RouterAdmin: {error}"
    if isinstance(error, Rejected):
        return r.REJECTED, str(error)
    if isinstance(error, NotLeader):
        return r.NO_LEADER, str(error)
    if isinstance(error, Unreachable):
        return r.UNREACHABLE, str(error)
    # Overloaded, or failed inside: an answer, and another one may come later.
    return r.RETRYING, str(error)
