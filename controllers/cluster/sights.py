"""For how long something has been seen, on this process's monotonic clock."""

from __future__ import annotations

from collections.abc import Hashable


class FirstSight:
    """For how long something has been seen without a break, on this process's monotonic clock.

    Deadlines are measured so: the timestamps of objects come from other machines' clocks.
    """

    def __init__(self) -> None:
        self._since: dict[str, tuple[Hashable, float]] = {}

    def lasted(self, what: str, seen: Hashable, now: float) -> float:
        """Seconds for which ``seen`` has been the same; 0.0 at first sight, and while it is false.

        :param what: what is looked at; each has a clock of its own.
        :param seen: what is there now. A different one starts again.
        """
        if not seen:
            self._since.pop(what, None)
            return 0.0
        before, since = self._since.get(what, (None, now))
        if before != seen:
            since = now
        self._since[what] = (seen, since)
        return now - since
