"""Health: named checks, asked when someone asks, and an eye on the event loop.

Two questions, which must not be mixed up. *Live*: would a restart help? *Ready*: does it do its work? An
unreachable API server makes a process unready; restarting it would change nothing.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

from informers.clock import Clock
from informers.metrics import Metrics

log = logging.getLogger(__name__)

Check: TypeAlias = Callable[[], str | None]
"""Says what is wrong, or ``None``."""

_BEAT = 1.0
"""Seconds between two looks at the event loop."""

_STANDARD_ERROR = 2

_LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check said; ``problem`` is ``None`` when all is well."""

    name: str
    problem: str | None


class Checks:
    """A set of named checks."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}

    def add(self, name: str, check: Check) -> None:
        """Add a check. A name taken already is an error.

        :raises ValueError: for a second check of the same name.
        """
        if name in self._checks:
            raise ValueError(f"a check named {name} exists already")
        self._checks[name] = check

    def remove(self, name: str) -> None:
        """Ask it no more."""
        del self._checks[name]

    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._checks)

    def findings(self, *, only: Collection[str] = (), exclude: Collection[str] = ()) -> list[Finding]:
        """Ask the checks, sorted by name. One that raises counts as failed.

        :param only: ask these alone; all by default.
        """
        names = [name for name in self.names() if (not only or name in only) and name not in exclude]
        return [Finding(name, self._ask(name)) for name in names]

    def _ask(self, name: str) -> str | None:
        try:
            return self._checks[name]()
        except Exception as error:
            log.exception("a health check raised an exception", extra={"check": name})
            return f"the check failed: {type(error).__name__}"


def report(findings: Collection[Finding]) -> str:
    """One line per check, for people: ``[+]name ok`` or ``[-]name: what is wrong``."""
    lines = [
        f"[+]{finding.name} ok" if finding.problem is None else f"[-]{finding.name}: {finding.problem}"
        for finding in findings
    ]
    return "\n".join(lines) + "\n" if lines else "ok\n"


class LoopMonitor:
    """Measures how late the event loop is, and shows where it hangs when it does.

    A blocked loop cannot answer a liveness probe, which is all the probe needs. To tell people why, the
    stacks of all threads are written to standard error when the loop has not turned for ``limit`` seconds.

    :param limit: seconds; 20 by default. Zero writes no stacks.
    """

    def __init__(self, clock: Clock, metrics: Metrics, *, limit: float = 20.0) -> None:
        self._clock = clock
        self._limit = limit
        self._lag = metrics.histogram(
            "event_loop_lag_seconds", "Delay of a timer of the event loop in seconds.", (), _LAG_SECONDS
        )

    async def run(self) -> None:
        """Measure until cancelled."""
        try:
            while True:
                self._arm()
                before = self._clock.monotonic()
                await asyncio.sleep(_BEAT)
                self._lag.observe(max(0.0, self._clock.monotonic() - before - _BEAT))
        finally:
            if self._limit:
                faulthandler.cancel_dump_traceback_later()

    def _arm(self) -> None:
        if self._limit:
            # One watchdog thread of the interpreter, which needs no lock of ours and no loop.
            faulthandler.dump_traceback_later(self._limit, file=_STANDARD_ERROR)
