"""Asking before standing for election (pre-vote). Pure: time, term and log are passed in.

A member that stands raises the term, and with that unseats a leader everybody else is happy with. So it first
asks whether it would be elected. Nobody stores anything for the question or the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.journal import Entry
from etl_operator.node.consensus.settings import Timing


class Inquiry:
    """The asking side.

    :param majority: whether these other members and this one are enough to elect it.
    """

    def __init__(self, majority: Callable[[Collection[int]], bool], timing: Timing) -> None:
        self._majority = majority
        self._timing = timing
        self._ask_again = float("-inf")
        self._grants: dict[int, tuple[int, float]] = {}

    def granted(self, member: int, term: int, now: float) -> None:
        """``member`` would vote for this one in ``term``."""
        self._grants[member] = (term, now)

    def may_stand(self, term: int, last: Entry, now: float) -> Literal[True] | wire.PreVote | None:
        """True with a majority of fresh grants; a question to send, once per heartbeat; else None.

        :param term: the present term; the question is about the next one.
        :param last: this member's last log entry.
        """
        fresh = [
            member
            for member, (granted_term, at) in self._grants.items()
            if granted_term == term + 1 and now - at <= self._timing.election_min
        ]
        if self._majority(fresh):
            return True
        if now < self._ask_again:
            return None
        self._ask_again = now + self._timing.heartbeat
        _, index, last_term = last
        return wire.PreVote(term=term + 1, last_log_index=index, last_log_term=last_term)


def answer(question: wire.PreVote, term: int, last: Entry, *, led: bool) -> wire.Message | None:
    """The asked side: a grant, the present term if the asker is behind it, or nothing.

    :param led: this member leads, or has heard from a leader within the shortest election timeout.
    """
    if question.term <= term:
        return wire.StaleTerm(term=term)
    _, index, last_term = last
    up_to_date = (question.last_log_term, question.last_log_index) >= (last_term, index)
    return wire.PreVoteGranted(term=question.term) if up_to_date and not led else None
