"""How long to wait for a router that does not answer, and what its errors mean to people."""

from __future__ import annotations

from controllers import reasons as r
from etl_operator.router.errors import (
    NotLeader,
    Rejected,
    RouterAdminUnavailable,
    RouterError,
    Unreachable,
)
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
