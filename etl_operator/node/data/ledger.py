"""What became of every record: who waits for it, what is done, and how far a partition has come. Pure.

A *ticket* is one batch of a source: it is answered once, when every record in it is decided in every pipeline
concerned. A *tally* is one record in one pipeline: it counts the copies and children that are under way, and
decides when the last one ends. A *cohort* stands for the tallies of a whole batch as long as they would be
equal. A *ledger* is one partition of a source in one pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush

from etl_operator.node.data.ranges import Ranges

_REMEMBERED = 4096
"""Intervals of decided positions per partition. What is forgotten is delivered again when it comes again."""


class Verdict(IntEnum):
    """The end of a record. Where a record has several, the highest holds."""

    DUPLICATE = 0
    """Delivered before; nothing was sent again."""
    ACCEPTED = 1
    """In a sink, in the dead-letter sink, or filtered by a transform."""
    REJECTED = 2
    """Will never be accepted."""
    LET_GO = 3
    """Not decided, and nobody works on it any more: the source must send it again."""


class Ticket:
    """One batch that waits for its answer.

    :param waits: how many pipelines decide about each record; at least 1.
    :param decided: called once, with this ticket.
    """

    __slots__ = ("_decided", "_left", "_missing", "all_accepted", "errors", "verdicts")

    def __init__(self, size: int, waits: int, decided: Callable[[Ticket], None]) -> None:
        self.verdicts = [Verdict.DUPLICATE] * size
        """One per record, in the order of the batch."""
        self.all_accepted = False
        """All of it at once; see `accept_all`."""
        self.errors: dict[int, str] = {}
        """By number of the record: why it was rejected."""
        self._missing = [waits] * size
        self._left = size
        self._decided = decided

    @property
    def is_let_go(self) -> bool:
        """Some record must be sent again."""
        return Verdict.LET_GO in self.verdicts

    def accept_all(self) -> None:
        """The one pipeline concerned has accepted all records, of which none was settled before."""
        self.all_accepted = True
        self.verdicts = [Verdict.ACCEPTED] * len(self.verdicts)
        self._left = 0
        self._decided(self)

    def settle(self, number: int, verdict: Verdict, error: str = "") -> None:
        """One pipeline has decided about one record."""
        if verdict > self.verdicts[number]:
            self.verdicts[number] = verdict
        if error:
            self.errors.setdefault(number, error)
        self._missing[number] -= 1
        if not self._missing[number]:
            self._left -= 1
            if not self._left:
                self._decided(self)


class Tally:
    """One record in one pipeline, and all that became of it."""

    __slots__ = ("_error", "_left", "_verdict", "_waiters", "ledger", "open", "position")

    def __init__(self, ledger: Ledger, position: int, ticket: Ticket, number: int) -> None:
        self.ledger = ledger
        self.position = position
        """Its sequence number; 0 if it has none."""
        self.open = True
        """Not decided yet."""
        self._left = 1
        self._verdict = Verdict.ACCEPTED
        self._error = ""
        self._waiters = [(ticket, number)]

    def join(self, ticket: Ticket, number: int) -> None:
        """Another batch brought the same record: it gets the same answer."""
        self._waiters.append((ticket, number))

    def more(self, copies: int) -> None:
        """So many more copies or children are under way."""
        self._left += copies

    def finish(self, verdict: Verdict = Verdict.ACCEPTED, error: str = "") -> None:
        """One copy or child has come to its end."""
        if not self.open:
            return
        self._verdict = max(self._verdict, verdict)
        self._error = self._error or error
        self._left -= 1
        if not self._left:
            self._settle()

    def let_go(self) -> None:
        """Nobody works on it any more. What is still under way of it does not count."""
        if self.open:
            self._verdict = Verdict.LET_GO
            self._settle()

    def _settle(self) -> None:
        self.open = False
        self.ledger.settled(self, self._verdict)
        for ticket, number in self._waiters:
            ticket.settle(number, self._verdict, self._error)


class Cohort:
    """A whole batch in one pipeline, whose records have had the same fate so far.

    When they part, or one of them comes again, it is replaced by a tally for each record.

    :param ended: called once, when it is decided or replaced.
    """

    __slots__ = ("_ended", "_tallies", "_ticket", "count", "first", "ledger")

    def __init__(
        self, ledger: Ledger, first: int, ticket: Ticket, count: int, ended: Callable[[Cohort], None]
    ) -> None:
        self.ledger = ledger
        self.first = first
        """Position of its first record; those of the others follow without a gap."""
        self.count = count
        self._ticket = ticket
        self._ended = ended
        self._tallies: list[Tally] | None = None

    @property
    def last(self) -> int:
        """Position of its last record."""
        return self.first + self.count - 1

    @property
    def is_whole(self) -> bool:
        """Not replaced by tallies."""
        return self._tallies is None

    def tallies(self) -> list[Tally]:
        """One for each record, in their order, from now on."""
        if self._tallies is None:
            self._tallies = [
                Tally(self.ledger, self.first + number, self._ticket, number) for number in range(self.count)
            ]
            self.ledger.parted(self, self._tallies)
            self._ended(self)
        return self._tallies

    def finish(self) -> None:
        """All records have come to their end."""
        if self._tallies is not None:
            for tally in self._tallies:
                tally.finish()
        elif self.ledger.passed(self):
            self._ended(self)
            self._ticket.accept_all()

    def let_go(self) -> None:
        """Nobody works on it any more."""
        for tally in self.tallies():
            tally.let_go()


class Ledger:
    """One partition of a source in one pipeline.

    :param on_settled: called with every tally when it is decided, before its tickets.
    """

    __slots__ = (
        "_cohorts",
        "_committed",
        "_decided",
        "_flying",
        "_highest",
        "_holes",
        "_on_settled",
        "_order",
        "_rejected",
        "open",
    )

    def __init__(self, on_settled: Callable[[Tally], None]) -> None:
        self._flying: dict[int, Tally] = {}
        self._order: list[int] = []
        """A heap of positions that were under way; those that are no longer are dropped when they come up."""
        self._decided = Ranges(_REMEMBERED)
        self._rejected = Ranges(_REMEMBERED)
        self._holes = Ranges()
        """Positions let go and not seen since: nothing beyond them is committed, until another member has
        delivered them."""
        self._committed = 0
        self._highest = 0
        """Of all positions that came."""
        self._cohorts: dict[int, Cohort] = {}
        """By first position, ascending."""
        self._on_settled = on_settled
        self.open = 0
        """Tallies not decided yet."""

    def admit_all(
        self, first: int, ticket: Ticket, count: int, ended: Callable[[Cohort], None]
    ) -> Cohort | None:
        """Take all records of a batch whose positions follow each other.

        :param ended: see `Cohort`.
        :returns: None, and nothing is taken, if one of the positions may have come before.
        """
        if first <= self._highest:
            return None
        cohort = Cohort(self, first, ticket, count, ended)
        self._highest = cohort.last
        self._cohorts[first] = cohort
        self.open += count
        return cohort

    def passed(self, cohort: Cohort) -> bool:
        """Called by a cohort when it is decided; False if it was before."""
        if self._cohorts.pop(cohort.first, None) is not cohort:
            return False
        self.open -= cohort.count
        self._decided.add_all(cohort.first, cohort.last)
        return True

    def parted(self, cohort: Cohort, tallies: list[Tally]) -> None:
        """Called by a cohort when tallies replace it."""
        del self._cohorts[cohort.first]
        for tally in tallies:
            self._flying[tally.position] = tally
            heappush(self._order, tally.position)

    def admit(self, position: int, ticket: Ticket, number: int) -> Tally | None:
        """Take a record, or settle it.

        :param position: its sequence number. 0 is no position: such a record is always delivered.
        :returns: the tally of a record that must be processed; None if it is done or under way.
        """
        if position:
            if position > self._highest:
                self._highest = position
            elif self._cohorts:
                self._part_at(position)
            flying = self._flying.get(position)
            if flying is not None:
                flying.join(ticket, number)
                return None
            if position in self._decided and position not in self._rejected:
                ticket.settle(number, Verdict.DUPLICATE)
                return None
        tally = Tally(self, position, ticket, number)
        self.open += 1
        if position:
            self._flying[position] = tally
            heappush(self._order, position)
            if self._holes:
                self._holes.discard(position)
        return tally

    def _part_at(self, position: int) -> None:
        for cohort in self._cohorts.values():
            if cohort.first <= position <= cohort.last:
                cohort.tallies()
                return

    def settled(self, tally: Tally, verdict: Verdict) -> None:
        """Called by a tally when it is decided."""
        self.open -= 1
        position = tally.position
        if position:
            del self._flying[position]
            if verdict is Verdict.LET_GO:
                self._holes.add(position)
                # It may have been rejected before.
                self._decided.discard(position)
                self._rejected.discard(position)
            else:
                self._decided.add(position)
                if verdict is Verdict.REJECTED:
                    self._rejected.add(position)
                elif self._rejected:
                    self._rejected.discard(position)
        self._on_settled(tally)

    @property
    def committed(self) -> int:
        """The highest decided position with no undecided one before it, of all that came; 0 if there is none.

        Never goes back.
        """
        order, flying = self._order, self._flying
        while order and order[0] not in flying:
            heappop(order)
        bounds = [order[0]] if order else []
        if self._cohorts:
            bounds.append(next(iter(self._cohorts)))
        if self._holes:
            bounds.append(self._holes.lowest)
        if bounds:
            reached = self._decided.below(min(bounds))
        else:
            reached = self._decided.highest if self._decided else None
        self._committed = max(self._committed, reached or 0)
        return self._committed

    @property
    def hole(self) -> int:
        """The lowest position that was let go here and did not come again; 0 if there is none."""
        return self._holes.lowest if self._holes else 0

    def passed_elsewhere(self, position: int) -> bool:
        """Other members have delivered everything up to ``position``; whether that fills a hole."""
        if not self._holes or self._holes.lowest > position:
            return False
        self._holes.discard_to(position)
        return True

    def is_clear(self, position: int) -> bool:
        """Nothing at or below ``position`` is undecided, and nothing without a position."""
        order, flying = self._order, self._flying
        while order and order[0] not in flying:
            heappop(order)
        return (
            self.open == len(flying) + sum(cohort.count for cohort in self._cohorts.values())
            and not (self._cohorts and next(iter(self._cohorts)) <= position)
            and not (order and order[0] <= position)
            and not (self._holes and self._holes.lowest <= position)
        )
