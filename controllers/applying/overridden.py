"""Fields of children that do not keep the value the operator sends.

An admission webhook, a policy or the server itself stores another value than the one that was sent: sending
it again changes nothing. Or another controller changes the field back after every write: sending it again is
answered by another change. Neither costs a request per pass, keeps a cluster from being Ready, or holds up
other changes.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from controllers.applying.comparing import APPLIED_HASH, Difference
from informers.clock import Clock

_FREE_CORRECTIONS = 3
"""Corrections of the same change that are made at once; what follows is spaced out."""
_FIRST_PAUSE = 10.0
_LONGEST_PAUSE = 600.0
"""Seconds between two corrections after that: the first, doubled each time up to the second."""

_Signature = frozenset[tuple[str, str, str]]


@dataclass(slots=True)
class _Contest:
    """The same correction, made again and again."""

    signature: _Signature
    count: int
    corrected_at: float
    reported: bool = False

    @property
    def pause(self) -> float:
        """Seconds from the last correction to the next one."""
        if self.count < _FREE_CORRECTIONS:
            return 0.0
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.count - _FREE_CORRECTIONS, 16))


class Overridden:
    """What is known of the children of one controller. A restart forgets it, at one write per child."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stored: dict[Hashable, _Signature] = {}
        self._contests: dict[Hashable, _Contest] = {}

    def known(self, child: Hashable, found: Sequence[Difference]) -> bool:
        """Whether sending the object again would be of no use now.

        True when the server stored just this the last time, and while a correction that was undone several
        times rests.
        """
        if not found:
            return False
        signature = _signature(found)
        if self._stored.get(child) == signature:
            return True
        contest = self._contests.get(child)
        return (
            contest is not None
            and contest.signature == signature
            and self._clock.monotonic() < contest.corrected_at + contest.pause
        )

    def written(
        self, child: Hashable, found: Sequence[Difference], left: Sequence[Difference]
    ) -> Sequence[Difference]:
        """An object was applied.

        :param found: what differed before.
        :param left: what differs in the server's answer.
        :return: the differences that are to be reported now, each set of them once.
        """
        if left:
            signature = _signature(left)
            before = self._stored.get(child)
            self._stored[child] = signature
            # Reported by field: a new value of the same field is no news.
            return () if before is not None and _fields(before) == _fields(signature) else left
        self._stored.pop(child, None)
        return self._contested(child, found)

    def forget(self, child: Hashable) -> None:
        """The child is gone."""
        self._stored.pop(child, None)
        self._contests.pop(child, None)

    def _contested(self, child: Hashable, found: Sequence[Difference]) -> Sequence[Difference]:
        # Whoever changes the desired object changes its digest as well: that is no correction.
        if not found or any(APPLIED_HASH in one.path for one in found):
            return ()
        now, signature = self._clock.monotonic(), _signature(found)
        contest = self._contests.get(child)
        if (
            contest is None
            or contest.signature != signature
            or now > contest.corrected_at + 2 * _LONGEST_PAUSE
        ):
            self._contests[child] = _Contest(signature, 1, now)
            return ()
        contest.count, contest.corrected_at = contest.count + 1, now
        if contest.reported or contest.count < _FREE_CORRECTIONS:
            return ()
        contest.reported = True
        return found


def _signature(differences: Iterable[Difference]) -> _Signature:
    return frozenset((one.field, _text(one.sent), _text(one.stored)) for one in differences)


def _fields(signature: _Signature) -> frozenset[str]:
    return frozenset(field for field, _, _ in signature)


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
