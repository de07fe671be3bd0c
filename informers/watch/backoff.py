"""How long a watch rests after a failure."""

from __future__ import annotations

import random

from informers.clock import Clock

FIRST = 0.8
"""Seconds: the longest first rest."""
LIMIT = 30.0
"""Seconds: no rest is longer, unless the server asks for it."""
QUIET = 120.0
"""Seconds without a failure after which the next one counts as the first."""


class BackOff:
    """0.8 s doubling to 30 s, each rest drawn between nothing and that.

    Success alone does not start it over: a server that fails every other request is a failing server.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._ceiling = FIRST
        self._over_at = float("-inf")

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to rest now.

        :param at_least: what the server asked for; it is spread a little, for others were told the same.
        """
        now = self._clock.monotonic()
        if now - self._over_at > QUIET:
            self._ceiling = FIRST
        drawn = self._rng.uniform(0.0, self._ceiling)
        self._ceiling = min(self._ceiling * 2, LIMIT)
        rest = drawn if at_least <= drawn else at_least + self._rng.uniform(0.0, FIRST)
        self._over_at = now + rest
        return rest
