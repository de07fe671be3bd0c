"""A leader's message against the log of a follower. Pure: both are passed in."""

from __future__ import annotations

from typing import NamedTuple

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.journal import DiskJournal


class Contradiction(NamedTuple):
    """A committed entry for which a message has another term. No correct leader sends that."""

    entry: int
    stored: int
    """Its term here."""
    claimed: int
    """Its term in the message."""


def contradiction(message: wire.AppendEntries, log: DiskJournal, commit: int) -> Contradiction | None:
    """The first committed entry that the message would replace, if any.

    :param commit: the last entry known to be committed.
    """
    claims = [(message.prev_index, message.prev_term), *(entry[1:] for entry in message.entries)]
    for index, claimed in claims:
        stored = log.term_at(index) if index <= commit else None
        if stored is not None and stored != claimed:
            return Contradiction(index, stored, claimed)
    return None


def disagreement(message: wire.AppendEntries, log: DiskJournal, commit: int) -> int | None:
    """Where the leader should continue if its previous entry is not in the log; None if it is.

    :param commit: the last entry known to be committed, which every later leader has.
    """
    previous = message.prev_index
    if previous <= commit:
        return None
    term = log.term_at(previous)
    if term is None:
        return log.last + 1
    if term == message.prev_term:
        return None
    # The logs part somewhere in this term, or before it: skip all of it.
    while previous > commit + 1 and log.term_at(previous - 1) == term:
        previous -= 1
    return previous
