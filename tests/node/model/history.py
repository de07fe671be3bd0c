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
from etl_operator.node.consensus.engine import (
    ConsensusError,
    EngineFault,
    NotLeader,
    Role,
    StorageError,
    StorageFull,
)
from etl_operator.node.consensus.journal import DiskJournal, Entry
from etl_operator.node.consensus.member import Member
from etl_operator.node.consensus.settings import Timing
from tests.node.model.disk import Disk
from tests.node.model.properties import Alarms, Kept, Properties, Violation

TIMING = Timing(0.15, 0.3, 0.05)
TICK = 0.02
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
        self.life = 0
        """Counts starts and ends; events of an earlier life are void."""
        self.paused_until = 0.0
        self.tick_due = False
        self.up = False
        self.known: list[int] = []
        """The members as this one was told when it last started."""
        self.member: Member

    def start(self) -> None:
        history = self.history
        self.life += 1
        self.known = sorted(history.nodes)
        self.machine = Counter(self.properties)
        try:
            self.member = history.member_type(
                self.number,
                [number for number in self.known if number != self.number],
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
            )
        except StorageError:
            if not self.disk.full and not self.disk.broken:
                raise
            return  # Tried again later.
        self.up = True
        self.connect()
        history.at(history.chance.uniform(0, TICK), self.tick_again, self.life)

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
        self.members_changed = False
        self.events = 0

    def at(self, delay: float, work: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), work, args))

    def carry(self, sender: int, receiver: int, frame: bytes) -> None:
        network, chance = self.network, self.chance
        if (sender, receiver) in network.cut or chance.random() < network.loss:
            return
        for _ in range(2 if chance.random() < network.repeats else 1):
            late = chance.random() < network.late
            delay = chance.uniform(0.001, 0.5) if late else 0.002 + network.jitter * chance.random()
            self.at(delay, self.arrive, sender, receiver, frame)

    def arrive(self, sender: int, receiver: int, frame: bytes) -> None:
        node = self.nodes.get(receiver)
        if node is None:
            return
        if self.now < node.paused_until:
            self.at(
                node.paused_until - self.now + self.chance.uniform(0, 0.002),
                self.arrive,
                sender,
                receiver,
                frame,
            )
        else:
            node.deliver(sender, frame)

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
            if isinstance(error, NotLeader | StorageFull):
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
        self.network.loss = self.network.repeats = self.network.late = self.network.jitter = 0
        mend_links(self)
        everything_fails = self.chance.random() < 0.5
        for node in self.nodes.values():
            node.disk.full = node.disk.broken = False
            node.paused_until = 0.0
            if node.up and (everything_fails or node.known != sorted(self.nodes)):
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
        missing = self.properties.acknowledged - set(self.properties.applied)
        if missing:
            raise Violation(f"acknowledged and lost: {missing}")

    def settled(self, last: bytes) -> bool:
        everything = len(self.properties.applied)
        return last in self.properties.acknowledged and all(
            node.up and node.machine.position == everything and node.member.readable()
            for node in self.nodes.values()
        )

    def describe(self, node: Node) -> str:
        raft = node.member.raft
        return (
            f"{node.number} up {node.up} {raft.role.value} term {raft.term} leader {raft.leader} "
            f"last {raft._log.last} commit {raft.commit} applied {node.machine.position}"
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
    """One more or one less; the others learn of it when they start again."""
    if history.members_changed:
        return
    history.members_changed = True
    if len(history.nodes) < 5 and history.chance.random() < 0.6:
        number = max(history.nodes) + 1
        history.nodes[number] = Node(number, history)
        history.nodes[number].start()
    elif len(history.nodes) > 1:
        leaving = history.any()
        if leaving.up:
            leaving.end(power=False)
        del history.nodes[leaving.number]


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
