"""How the members come to be what the flags say. Shared by all engines.

The leader compares the members with its flags and makes one change at a time; the engine commits each through
its log. A node that is new to the flags becomes a learner, and a voter once it has caught up; one that the
flags no longer name is removed; a voter that says that its data directory is empty is removed and added
again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import (
    ChangeRefused,
    ConsensusError,
    Expected,
    Member,
    MembershipEngine,
    Role,
    Status,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One step."""

    what: Literal["add", "promote", "remove", "hand over"]
    member: int
    """Whom it is about: the leader itself for "hand over"."""
    why: str = ""


def next_change(status: Status, expected: Expected, lag: int = 100) -> Change | None:
    """What the leader does next; None if the members are as they should be, or nothing can be done now. Pure.

    :param status: of the leader.
    :param lag: entries that a learner may be behind when it becomes a voter.
    """
    if status.role is not Role.LEADER or not expected.members:
        return None
    surplus = _removal(status, expected)
    if surplus is not None:
        return surplus
    present = {member.node_id: member for member in status.members}
    for number in sorted(expected.members):
        member = present.get(number)
        if member is None:
            return Change("add", number)
        ready = member.healthy and not member.blank and member.match_index >= status.commit_index - lag
        if not member.voter and ready:
            return Change("promote", number)
    return None


def _removal(status: Status, expected: Expected) -> Change | None:
    voters = [member for member in status.members if member.voter]
    for member in sorted(status.members, key=lambda one: -one.node_id):
        why = _superfluous(member, expected)
        if not why or (member.voter and not _quorum_without(member, voters)):
            continue
        if member.node_id != status.node_id:
            return Change("remove", member.node_id, why)
        if len(voters) > 1:
            return Change("hand over", member.node_id, why)
    return None


def _superfluous(member: Member, expected: Expected) -> str:
    """Why a member has to go, or ""."""
    if member.node_id not in expected.members:
        return "it is not in the member list"
    if member.voter and member.blank and (expected.replace_lost or member.latecomer):
        return "its data directory is empty"
    return ""


def _quorum_without(leaving: Member, voters: Collection[Member]) -> bool:
    """Whether the remaining voters have a majority among themselves that has answered this leader."""
    rest = [voter for voter in voters if voter.node_id != leaving.node_id]
    there = sum(voter.healthy and not voter.blank and voter.match_index > 0 for voter in rest)
    return 2 * there > len(rest)


class MembershipLoop:
    """Takes the steps of `next_change` for as long as this node leads.

    :param interval: seconds between two looks.
    """

    def __init__(self, engine: MembershipEngine, expected: Expected, interval: float) -> None:
        self._engine = engine
        self._interval = interval
        self.expected = expected

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            change = next_change(self._engine.status(), self.expected)
            if change is not None:
                await self._make(change)

    async def _make(self, change: Change) -> None:
        try:
            await self._begin(change)
        except ChangeRefused as refusal:
            log.debug("cannot %s node %d now: %s", change.what, change.member, refusal)
        except ConsensusError as error:
            log.warning("cannot %s node %d: %s; trying again", change.what, change.member, error)
        else:
            why = f": {change.why}" if change.why else ""
            log.info("members: %s node %d%s", _DONE[change.what], change.member, why)

    async def _begin(self, change: Change) -> None:
        engine, member = self._engine, change.member
        if change.what == "add":
            await engine.add_learner(member, self._address(member))
        elif change.what == "promote":
            await engine.promote(member)
        elif change.what == "remove":
            await engine.remove(member)
        else:
            await engine.hand_over([other for other in self.expected.members if other != member])

    def _address(self, member: int) -> Address:
        return self.expected.members[member]


_DONE = {
    "add": "added as a learner:",
    "promote": "promoted to voter:",
    "remove": "removed",
    "hand over": "left",
}
