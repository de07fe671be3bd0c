"""One history: members, clients and faults, all drawn from a seed."""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etl_operator.node.consensus import progress, wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.configuration import Kind
from etl_operator.node.consensus.engine import (
    ChangeRefused,
    ConsensusError,
    EngineFault,
    Expected,
    NotLeader,
    Role,
    Status,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.engine import Member as MemberStatus
from etl_operator.node.consensus.journal import DiskJournal, Entry
from etl_operator.node.consensus.member import Member
from etl_operator.node.consensus.membership import next_change
from etl_operator.node.consensus.settings import Timing
from tests.node.model.disk import Disk
from tests.node.model.properties import Alarms, Kept, Properties, Violation

TIMING = Timing(0.15, 0.3, 0.05)
TICK = 0.02
LONGEST_DELAY = 0.5
"""Seconds that a message takes at most, unless its receiver is paused."""
FAULTS_UNTIL = 2.5
"""Virtual seconds with faults."""
SETTLED_WITHIN = 30.0
"""Virtual seconds until members without faults must agree. Some faults leave waits of ten seconds."""


class WatchedJournal(DiskJournal):
    """Tells the properties what is stored."""

    watcher: Node

    def __init__(self, directory: Path, files: Any = None) -> None:
        self.watcher = files.node
        super().__init__(directory, files)
        self.watcher.properties.opened(self.watcher.number, self, self.watcher.kept)

    def add(self, command: bytes, idx: int, term: int) -> None:
        kept = self.watcher.kept
        kept.written[idx] = term
        before: Entry = self[-1] if len(self) else (b"", 0, 0)
        super().add(command, idx, term)
        self.watcher.properties.stored(before, (command, idx, term))

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        first = self.first + entryFrom
        if entryFrom:
            self.watcher.properties.removed(self.watcher.number, self.watcher.member.raft, first)
        for index in [index for index in self.watcher.kept.flushed if index >= first]:
            del self.watcher.kept.flushed[index]
        super().deleteEntriesFrom(entryFrom)

    def deleteEntriesTo(self, entryTo: int) -> None:
        self.watcher.properties.commits(self.watcher.number, self.watcher.member.raft)
        super().deleteEntriesTo(entryTo)

    def sync(self) -> None:
        super().sync()
        self.keep()

    def keep(self) -> None:
        self.watcher.kept.flushed = {index: term for _, index, term in self[:]}

    def start_at(self, previous: Entry, last: Entry) -> None:
        self.watcher.kept.flushed = {}
        super().start_at(previous, last)
        self.sync()

    def _rewrite(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        self.watcher.kept.written.update({index: term for _, index, term in entries})
        if self.watcher.up:
            self.watcher.properties.rewritten(self.watcher.number, self.watcher.member.raft, entries[-1][1])
        super()._rewrite(entries)

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:
        self.watcher.kept.votes.append((term, votedForNodeId))
        super().setCurrentTerm(term, votedForNodeId)
        self.watcher.kept.votes = [(term, votedForNodeId)]


class Counter:
    """A state machine whose state is a position in the one true sequence of commands."""

    def __init__(self, properties: Properties) -> None:
        self._properties = properties
        self.position = 0

    def apply(self, command: bytes) -> int:
        self._properties.applies(self.position, command)
        self.position += 1
        return self.position

    def snapshot(self) -> bytes:
        return b"%d %d" % (self.position, self._properties.digests[self.position])

    def valid(self, data: bytes) -> bool:
        return b" " in data

    def restore(self, data: bytes) -> None:
        position, digest = map(int, data.split())
        if self._properties.digests[position] != digest:
            self._properties.violated(f"state machine safety: a snapshot of {position} commands differs")
        self.position = position


class Node:
    """A member, its disk, and what the model knows of both."""

    def __init__(self, number: int, history: History) -> None:
        self.number = number
        self.history = history
        self.properties = history.properties
        self.disk = Disk(history.chance, self)
        self.kept = Kept()
        self.volume = 0
        """Counts lost volumes; messages to and from an earlier one went with its connections."""
        self.life = 0
        """Counts starts and ends; events of an earlier life are void."""
        self.paused_until = 0.0
        self.tick_due = False
        self.up = False
        self.expected = Expected({})
        """The members as this one's flags say."""
        self.member: Member
        self.named: object = None

    def start(self) -> None:
        history = self.history
        self.life += 1
        self.expected = history.expected()
        self.machine = Counter(self.properties)
        try:
            self.member = history.member_type(
                self.number,
                [number for number in self.expected.members if number != self.number],
                Path("/model"),
                self.machine,
                timing=TIMING,
                snapshot_every=history.snapshot_every,
                clock=lambda: history.now,
                chance=history.chance,
                send=self.send,
                wake=self.wake,
                failed=self.failed,
                files=self.disk,
                existing=self.expected.existing,
            )
        except StorageError:
            if not self.disk.full and not self.disk.broken:
                raise
            return  # Tried again later.
        self.up = True
        self.connect()
        history.at(history.chance.uniform(0, TICK), self.tick_again, self.life)

    @property
    def known(self) -> set[int]:
        """Whom it reaches: those whom its flags or its log name."""
        named = (members.members for members in self.member.raft.possible)
        return {*self.expected.members}.union(*named)

    def read_flags(self) -> None:
        self.expected = self.history.expected()
        self.member.raft.existing = self.expected.existing
        self.member.raft.expect(self.expected.members.keys() - {self.number})
        self.connect()

    def lose_volume(self) -> None:
        """An empty directory, and nothing in memory."""
        if self.up:
            self.end(power=True)
        self.volume += 1
        self.disk, self.kept = Disk(self.history.chance, self), Kept()
        self.properties.lost(self.number)

    def status(self) -> Status:
        raft = self.member.raft
        members = []
        for seat in raft.members.seats:
            one, own = raft.progress_of(seat.node_id), seat.node_id == self.number
            healthy = own or (one is not None and self.history.now - one.answered < 2 * TIMING.election_max)
            blank = one is not None and one.blank
            late = one is not None and one.latecomer
            match = one.match if one else raft._log.last if own else 0
            members.append(
                MemberStatus(seat.node_id, "", Role.FOLLOWER, healthy, match, None, seat.voter, blank, late)
            )
        leader = raft.leader
        return Status(
            self.number, leader, raft.role, raft.term, raft.commit, raft.applied, tuple(members), True
        )

    def change_members(self) -> None:
        """What `membership.MembershipLoop` does; in a restless history anything that a leader may do."""
        if self.history.restless and self.history.chance.random() < 0.5:
            self.change_anything()
            return
        change = next_change(self.status(), self.expected)
        raft = self.member.raft
        if change is None:
            return
        if change.what == "hand over":
            raft.transfer([number for number in self.expected.members if number != self.number])
        else:
            raft.change(change.what, change.member, self.changed)

    def change_anything(self) -> None:
        """Any change at all, as of operators who contradict each other: safety does not depend on them."""
        raft, chance = self.member.raft, self.history.chance
        members, others = raft.members.members, set(self.history.nodes) - {self.number}
        if raft.role is Role.LEADER and others and self.history.existing and not self.history.lost:
            number = chance.choice(sorted(others))
            kind: Kind = "add" if number not in members else chance.choice(["remove", "promote"])
            raft.change(kind, number, self.changed)

    def changed(self, result: object, error: ConsensusError | None) -> None:
        if error is None:
            self.properties.counts["membership changes"] += 1

    def connect(self) -> None:
        for node in self.history.running():
            if node is not self and self.number in node.known and node.number in self.known:
                self.member.connected(node.number, True)
                node.member.connected(self.number, True)

    def end(self, *, power: bool) -> None:
        if self.up:
            self.up = False
            for node in self.history.nodes.values():
                if node.up and self.number in node.known:
                    node.member.connected(self.number, False)
        self.life += 1
        self.properties.ended(self.number)
        if power:
            self.disk.power_cut()
        else:
            self.disk.process_end()

    def failed(self, error: ConsensusError) -> None:
        if isinstance(error, EngineFault):
            self.properties.violated(f"node {self.number} ended: {error}")
        elif not self.disk.broken:
            self.properties.violated(f"node {self.number} ended with a disk that works: {error}")
        self.history.at(0.0, lambda _: self.end(power=True), 0)

    # Events.

    def tick_again(self, life: int) -> None:
        if life == self.life:
            self.history.at(TICK, self.tick_again, life)
            self.tick(life)
            if life == self.life and self.history.now >= self.paused_until:
                self.change_members()
                if self.member.raft.possible != self.named:
                    self.named = self.member.raft.possible
                    self.connect()

    def wake(self) -> None:
        if not self.tick_due:
            self.tick_due = True
            self.history.at(0.0, self.woken, self.life)

    def woken(self, life: int) -> None:
        self.tick_due = False
        self.tick(life)

    def tick(self, life: int) -> None:
        if life == self.life and self.up and self.history.now >= self.paused_until:
            self.member.tick()
            self.properties.observe(self.number, self.member.raft)

    def send(self, peer: int, message: wire.Message) -> bool:
        self.properties.sends(self.number, self.member.raft, peer, message)
        self.history.carry(self.number, peer, wire.encode(message))
        return True

    def deliver(self, sender: int, frame: bytes) -> None:
        if self.up and sender in self.known:
            self.member.deliver(sender, wire.decode(frame[4:]))
            self.properties.observe(self.number, self.member.raft)


@dataclass
class Network:
    """How unreliable it is. Each history has its own."""

    loss: float = 0.0
    repeats: float = 0.0
    late: float = 0.0
    """Share of messages that take up to half a second, and are overtaken meanwhile."""
    jitter: float = 0.0
    """Seconds by which delays differ: without any, messages stay in order."""
    cut: set[tuple[int, int]] = field(default_factory=set)


class History:
    """A group of members and what happens to it."""

    def __init__(self, seed: int, member_type: type[Member] = Member) -> None:
        self.chance = random.Random(seed)
        self.member_type = type(
            "Watched", (member_type,), {"journal_type": watched(member_type.journal_type)}
        )
        self.now = 100.0
        self.properties = Properties()
        self.snapshot_every = self.chance.choice([4, 10, 1000])
        self.network = Network()
        self.nodes: dict[int, Node] = {}
        for number in range(1, self.chance.choice([1, 2, 3, 3, 3, 4, 5, 5]) + 1):
            self.nodes[number] = Node(number, self)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._proposed = itertools.count(1)
        self.wanted = set(self.nodes)
        """The members as the flags of a node that starts now say."""
        self.stays = self.chance.choice(sorted(self.wanted))
        self.existing = False
        """Every founder has been a member."""
        self.complete_since = float("inf")
        self.restless = self.chance.random() < 0.3
        self.lost: Node | None = None
        """Whose volume was lost, until it is a voter again."""
        self.retired: dict[int, Node] = {}
        """Removed members, with their volumes."""
        self.events = 0

    def at(self, delay: float, work: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), work, args))

    def carry(self, sender: int, receiver: int, frame: bytes) -> None:
        network, chance = self.network, self.chance
        if (sender, receiver) in network.cut or chance.random() < network.loss:
            return
        volumes = self.volumes(sender, receiver)
        for _ in range(2 if chance.random() < network.repeats else 1):
            late = chance.random() < network.late
            delay = chance.uniform(0.001, LONGEST_DELAY) if late else 0.002 + network.jitter * chance.random()
            self.at(delay, self.arrive, sender, receiver, frame, volumes)

    def volumes(self, *numbers: int) -> list[tuple[Node, int]]:
        return [(self.nodes[number], self.nodes[number].volume) for number in numbers if number in self.nodes]

    def arrive(self, sender: int, receiver: int, frame: bytes, volumes: list[tuple[Node, int]]) -> None:
        node = self.nodes.get(receiver)
        if node is None or volumes != self.volumes(sender, receiver):
            return
        if self.now < node.paused_until:
            self.at(
                node.paused_until - self.now + self.chance.uniform(0, 0.002),
                self.arrive,
                sender,
                receiver,
                frame,
                volumes,
            )
        else:
            node.deliver(sender, frame)

    def expected(self) -> Expected:
        """What the flags say now."""
        return Expected({number: Address("", number) for number in sorted(self.wanted)}, self.existing)

    def look(self) -> None:
        """What an operator sees of the members, and does: nodes that were removed end."""
        complete = all(
            node.up and node.member.caught_up and not node.member.raft.joining for node in self.nodes.values()
        )
        self.complete_since = min(self.complete_since, self.now) if complete else float("inf")
        # A message of the time before may still be on its way.
        self.existing = self.existing or self.now > self.complete_since + LONGEST_DELAY
        for node in self.running():
            raft = node.member.raft
            if raft.role is not Role.LEADER or raft._configurations.index > raft.commit:
                continue
            for number in self.nodes.keys() - self.wanted - raft.members.members:
                self.retire(number)
            lost = self.lost
            if lost and lost.up and lost.number in raft.members.voters and not lost.member.raft.joining:
                self.lost = None

    def retire(self, number: int) -> None:
        leaving = self.nodes[number]
        if leaving.up:
            leaving.end(power=False)
        self.retired[number] = self.nodes.pop(number)

    def settled_members(self) -> bool:
        """Every member agrees with the flags on who the members are."""
        return all(
            node.up and node.member.raft.members.voters == node.member.raft.members.members == self.wanted
            for node in self.nodes.values()
        )

    def advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, work, args = heapq.heappop(self._events)
            work(*args)
            self.events += 1
            if self.properties.violations:
                raise Violation(f"at {self.now:.4f}: " + "; ".join(self.properties.violations[:3]))
        self.now = until

    # What happens.

    def play(self) -> None:
        """The whole history. :raises Violation: a promise was broken."""
        for node in self.nodes.values():
            node.start()
        network = self.network
        network.loss = self.chance.choice([0, 0, 0.05, 0.2])
        network.repeats = self.chance.choice([0, 0, 0.1, 0.3])
        network.late = self.chance.choice([0, 0, 0.05, 0.3])
        network.jitter = self.chance.choice([0, 0.002, 0.01])
        faults = self.chance.sample(FAULTS, self.chance.randint(1, len(FAULTS)))
        end = self.now + FAULTS_UNTIL
        while self.now < end:
            self.advance(self.now + self.chance.expovariate(1 / 0.06))
            self.look()
            if self.chance.random() < 0.6:
                self.propose()
            else:
                self.chance.choice(faults)(self)
        self.settle()

    def propose(self) -> None:
        leaders = [node for node in self.running() if node.member.raft.role is Role.LEADER]
        node = self.chance.choice(leaders or self.running() or [None])
        for _ in range(self.chance.choice([1, 1, 2, 8])):
            command = b"%d" % next(self._proposed) * self.chance.choice([1, 1, 1, 30])
            if node is not None:
                node.member.raft.propose(command, self.outcome(command))
                node.wake()

    def outcome(self, command: bytes) -> Callable[[object, ConsensusError | None], None]:
        def done(result: object, error: ConsensusError | None) -> None:
            if isinstance(error, NotLeader | StorageFull | ChangeRefused):
                self.properties.refused.add(command)
            if error is None:
                self.properties.acknowledged.add(command)
                if command not in self.properties.applied:
                    self.properties.violated(f"{command!r} is acknowledged and not applied")

        return done

    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.up]

    def any(self) -> Node:
        return self.chance.choice(list(self.nodes.values()))

    def settle(self) -> None:
        """Without faults the members agree before long, and nothing that was acknowledged is missing."""
        self.restless = False
        self.network.loss = self.network.repeats = self.network.late = self.network.jitter = 0
        mend_links(self)
        everything_fails = self.chance.random() < 0.5
        for node in self.nodes.values():
            node.disk.full = node.disk.broken = False
            node.paused_until = 0.0
            if node.up and everything_fails:
                node.end(power=self.chance.random() < 0.5)
        for node in self.nodes.values():
            if not node.up:
                node.start()
        give_up = self.now + SETTLED_WITHIN
        last = b""
        while not self.settled(last):
            if self.now > give_up:
                raise Violation(f"no agreement: {[self.describe(node) for node in self.nodes.values()]}")
            if last not in self.properties.acknowledged:
                last = b"last %d" % next(self._proposed)
                for node in self.running():
                    if node.member.raft.role is Role.LEADER:
                        node.member.raft.propose(last, self.outcome(last))
            self.advance(self.now + 0.2)
            self.look()
            for node in self.running():
                node.read_flags()
        missing = self.properties.acknowledged - set(self.properties.applied)
        if missing:
            raise Violation(f"acknowledged and lost: {missing}")

    def settled(self, last: bytes) -> bool:
        everything = len(self.properties.applied)
        return (
            self.settled_members()
            and last in self.properties.acknowledged
            and all(
                node.up and node.machine.position == everything and node.member.readable()
                for node in self.nodes.values()
            )
        )

    def describe(self, node: Node) -> str:
        raft = node.member.raft
        return (
            f"{node.number} up {node.up} {raft.role.value} term {raft.term} leader {raft.leader} "
            f"last {raft._log.last} commit {raft.commit} applied {node.machine.position} "
            f"joining {raft.joining} {[(seat.node_id, seat.voter) for seat in raft.members.seats]}"
        )


# Faults.


def cut_links(history: History) -> None:
    numbers = list(history.nodes)
    side = set(history.chance.sample(numbers, history.chance.randint(0, len(numbers))))
    cut = {(a, b) for a in numbers for b in numbers if (a in side) != (b in side)}
    if history.chance.random() < 0.4:  # In one direction, or some links only.
        cut = {link for link in cut if history.chance.random() < 0.5}
    history.network.cut = cut
    if history.chance.random() < 0.5:
        for a, b in cut:
            if history.nodes[a].up and b in history.nodes[a].known:
                history.nodes[a].member.connected(b, False)


def isolate_leader(history: History) -> None:
    """It goes on for a while, and what it appends meanwhile contradicts its successor's log."""
    leaders = [node for node in history.running() if node.member.raft.role is Role.LEADER]
    if leaders:
        cut_off = history.chance.choice(leaders).number
        others = [number for number in history.nodes if number != cut_off]
        history.network.cut = {(cut_off, other) for other in others} | {(other, cut_off) for other in others}
        history.propose()


def mend_links(history: History) -> None:
    history.network.cut = set()
    for node in history.running():
        node.connect()


def crash(history: History) -> None:
    node = history.any()
    if node.up:
        node.end(power=history.chance.random() < 0.6)


def crash_all(history: History) -> None:
    power = history.chance.random() < 0.8
    for node in history.running():
        node.end(power=power)
    restart(history)


def restart(history: History) -> None:
    for node in history.nodes.values():
        if not node.up and history.chance.random() < 0.8:
            node.start()


def pause(history: History) -> None:
    history.any().paused_until = history.now + history.chance.choice([0.05, 0.3, 1.0])


def fill_disk(history: History) -> None:
    history.any().disk.full = True


def free_disks(history: History) -> None:
    for node in history.nodes.values():
        node.disk.full = False


def break_disk(history: History) -> None:
    if history.chance.random() < 0.2:
        history.any().disk.broken = True


def hand_over(history: History) -> None:
    for node in history.running():
        node.member.raft.transfer()


def change_members(history: History) -> None:
    """One or two more or less in the flags. Removed nodes end, and their volumes are kept or not.

    One member stays: a new one could not know the others, and they could not hand anything over to it.
    """
    if not history.existing or history.lost:
        return
    for _ in range(history.chance.choice([1, 1, 1, 2])):
        if len(history.wanted) < 5 and history.chance.random() < 0.55:
            number = min({1, 2, 3, 4, 5, 6} - history.wanted)
            history.wanted.add(number)
            if number not in history.nodes:
                kept = history.retired.pop(number, None) if history.chance.random() < 0.5 else None
                history.nodes[number] = kept or new_node(number, history)
                history.nodes[number].start()
        elif len(history.wanted) > 1:
            history.wanted.remove(history.chance.choice(sorted(history.wanted - {history.stays})))


def new_node(number: int, history: History) -> Node:
    """With an empty volume, and no past that anybody relies on."""
    history.properties.lost(number)
    return Node(number, history)


def read_flags(history: History) -> None:
    """Files that are mounted change at their own pace."""
    for node in history.running():
        if history.chance.random() < 0.7:
            node.read_flags()


def lose_volume(history: History) -> None:
    """Of one member, while the others are a majority of members that are all there."""
    enough = history.existing and len(history.wanted) > 2 and history.settled_members()
    # A late message may still have a leader replace another one.
    others = [one for node in history.running() for one in node.member.raft._progress.values()]
    enough = enough and not any(one.blank for one in others)
    if history.lost is None and enough and history.nodes.keys() == history.wanted:
        history.lost = history.any()
        history.lost.lose_volume()


FAULTS: list[Callable[[History], None]] = [
    cut_links,
    isolate_leader,
    mend_links,
    mend_links,
    crash,
    crash_all,
    restart,
    restart,
    pause,
    fill_disk,
    free_disks,
    break_disk,
    hand_over,
    change_members,
    change_members,
    read_flags,
    read_flags,
    lose_volume,
]


def watched(journal_type: type[DiskJournal]) -> type[DiskJournal]:
    """The journal type with the properties looking on."""
    if journal_type is DiskJournal:
        return WatchedJournal
    return type("WatchedMutant", (WatchedJournal, journal_type), {})


def run(seed: int, member_type: type[Member] = Member) -> History:
    """Play the history of a seed.

    :raises Violation: a promise was broken.
    """
    history = History(seed, member_type)
    alarms = Alarms()
    alarms.properties = history.properties
    logger = logging.getLogger("etl_operator.node.consensus")
    level, spreads = logger.level, logger.propagate
    part = progress._PART
    logger.addHandler(alarms)
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
    progress._PART = 24  # Snapshots of several parts.
    try:
        history.play()
    except Violation as violation:
        raise Violation(f"seed {seed}: {violation}") from None
    finally:
        progress._PART = part
        logger.removeHandler(alarms)
        logger.setLevel(level)
        logger.propagate = spreads
    return history
