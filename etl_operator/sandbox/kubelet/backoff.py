"""How long a container that keeps ending has to wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CrashBackoff:
    """The kubelet's: the first restart is immediate, then 10 s, doubling to 5 min.

    :param base: seconds of the second restart's delay.
    :param limit: seconds, the longest delay.
    :param forgiven_after: seconds a container must have run for its past to be forgotten.
    """

    base: float = 10.0
    limit: float = 300.0
    forgiven_after: float = 600.0
    _next: float = 0.0

    def ended(self, ran_for: float) -> float:
        """Record that the container ended after ``ran_for`` seconds; returns the delay before its restart."""
        if ran_for >= self.forgiven_after:
            self._next = 0.0
        delay = self._next
        self._next = min(max(delay * 2, self.base), self.limit)
        return delay
