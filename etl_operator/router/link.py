"""The registrations of one node: one task keeps them all.

Each service has an :class:`Entry`: what is wanted there, and what the node is known to hold. The task does
whatever makes the two equal, and heartbeats for everything held, every third of the lease.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from etl_operator.router.errors import (
    Faulty,
    Overloaded,
    Rejected,
    RouterError,
    Unimplemented,
    Unreachable,
)
from etl_operator.router.heartbeat import HeartbeatStream
from etl_operator.router.registration import (
    DEFAULT_TTL,
    Beat,
    Health,
    Lease,
    Registration,
    RegistrationState,
)

BATCH = 32
"""Calls to one node under way at once."""

CHUNK = 512
"""Heartbeats sent before anything else gets a turn."""

REFUSED_PAUSE = 10.0
"""Seconds before a refused registration is tried again unchanged."""

PAUSE_BASE, PAUSE_LIMIT = 0.2, 2.0
"""Seconds between tries of a node that does not answer: doubling, jittered. The limit is low because only
pods that Kubernetes calls ready are in here: one that does not answer is about to come back or to go."""

PATIENCE = 3
"""Silences in a row before the error is shown: a pod that has just become ready is often met while the last
attempt to reach it still counts, and a warning about that would be noise."""


class RegistryNode(Protocol):
    """What a link needs of :class:`~etl_operator.router.client.RouterNode`."""

    async def register(self, registration: Registration) -> Lease: ...

    async def deregister(self, service: str) -> None: ...

    def heartbeats(self) -> HeartbeatStream: ...


_UNKNOWN = RegistrationState(False)


@dataclass(slots=True)
class Entry:
    """One service on this node."""

    wanted: Registration | None
    held: Registration | None = None
    """What the node has confirmed last; ``None`` when it has nothing, or nobody knows."""
    sent: bool = False
    """The node may know the service: a registration was tried, whatever came of it."""
    registration_id: str = ""
    health: Health | None = None
    """Goes along with its heartbeats."""
    error: str | None = None
    told: RegistrationState = _UNKNOWN
    """The state that was reported last."""
    left: bool = False
    """Nothing is to be undone: what the node holds may stay until its lease is over."""
    busy: asyncio.Future[None] | None = None
    """Set while a call about this service is under way: there is at most one."""

    @property
    def settled(self) -> bool:
        """Nothing is left to do."""
        return self.wanted is not None and self.held == self.wanted

    @property
    def to_undo(self) -> bool:
        """The node may know the service, and is to forget it."""
        return self.wanted is None and self.sent and not self.left


class Link:
    """Keeps one node's registry as wanted.

    :param node: the node's client.
    :param changed: called with a service id when its :meth:`state` has changed.
    :param rng: for jitter.
    """

    def __init__(
        self, address: str, node: RegistryNode, changed: Callable[[str], None], rng: random.Random
    ) -> None:
        self.address = address
        self._node = node
        self._changed = changed
        self._rng = rng
        self._entries: dict[str, Entry] = {}
        self._dirty: dict[str, None] = {}
        self._refused: dict[str, None] = {}
        self._retry_at = math.inf
        self._stream: HeartbeatStream | None = None
        self._ended = False
        self._wake = asyncio.Event()
        self._next_beat = math.inf
        self._round: deque[str] = deque()
        self._ttl = DEFAULT_TTL
        self._contact = -math.inf
        self._lapsed = False
        self._error: str | None = None
        self._failures = 0

    # -- desired state ------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Nothing is wanted here and nothing is left to undo."""
        return not self._entries

    def want(self, registration: Registration, health: Health | None = None) -> None:
        """Have this registration here. The same again costs nothing."""
        service = registration.service_id
        entry = self._entries.get(service)
        if entry is None:
            entry = self._entries[service] = Entry(registration, health=health)
        else:
            self._hear(service, entry, health)
            if entry.wanted == registration:
                return
        entry.wanted, entry.error, entry.left = registration, None, False
        self._mark(service)

    def _hear(self, service: str, entry: Entry, health: Health | None) -> None:
        """Note a service's health; the node is told at once if it turned."""
        before, entry.health = entry.health, health
        if _well(before) is not _well(health) and entry.held:
            self._beat_soon(service)

    def _beat_soon(self, service: str) -> None:
        # After a failure a whole round comes first, and has this service in it.
        if not self._failures and not self._lapsed:
            self._round.append(service)
            self._wake.set()

    def unwant(self, service: str) -> None:
        """Deregister the service from this node. If the node does not answer, the lease expires."""
        entry = self._entries.get(service)
        if entry is not None:
            entry.wanted = None
            self._mark(service)
            self._tidy(service, entry)

    def forget(self, service: str) -> None:
        """Stop the heartbeats of the service without deregistering it; its lease expires."""
        entry = self._entries.get(service)
        if entry is not None:
            entry.wanted, entry.left = None, True
            self._tidy(service, entry)

    def state(self, service: str) -> RegistrationState:
        """The state of the service at this node. The next change after this call is reported."""
        entry = self._entries.get(service)
        if entry is None:
            return _UNKNOWN
        entry.told = self._shown(entry)
        return entry.told

    async def release(self, service: str) -> None:
        """Deregister now, after whatever is under way. Afterwards the service is forgotten here.

        :raises RouterError: when the node could not be called.
        """
        entry = self._entries.get(service)
        if entry is None:
            return
        entry.wanted = None
        while entry.busy is not None:
            await asyncio.wait({entry.busy})
        if entry.to_undo:
            await self._deregister(service, entry)
        self._tidy(service, entry)

    # -- the task -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until nothing is left, or until cancelled.

        :raises Exception: what the fence raises. To be called again when writes pass again.
        """
        # After an interruption: what is held is verified first, what was under way is done again.
        self._next_beat = 0.0
        self._dirty.update((s, None) for s, e in self._entries.items() if not e.settled)
        try:
            while self._entries:
                try:
                    await self._step()
                except RouterError as error:
                    self._failed(error)
                    await asyncio.sleep(self._pause())
        finally:
            self._hang_up()

    async def _step(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._ended:
            raise Unreachable("the heartbeat stream failed", address=self.address)
        if self._round or now >= self._next_beat:
            await self._beat(now)
            if self._dirty:
                # A crowd of heartbeats must not starve new registrations, nor they the heartbeats.
                await self._settle()
        elif now >= self._retry_at:
            self._dirty.update(self._refused)
            self._refused.clear()
            self._retry_at = math.inf
        elif self._dirty:
            await self._settle()
        else:
            await self._sleep(min(self._next_beat, self._retry_at))

    async def _sleep(self, until: float) -> None:
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(None if until == math.inf else until):
                await self._wake.wait()

    async def _settle(self) -> None:
        """One batch of differences. Short, so that heartbeats are never late for a crowd of them."""
        # A node that has just failed is asked one thing, not thirty.
        size = 1 if self._failures else BATCH
        batch = list(islice(self._dirty, size))
        for service in batch:
            del self._dirty[service]
        outcomes = await asyncio.gather(
            *(self._settle_one(service) for service in batch), return_exceptions=True
        )
        failures = [error for error in outcomes if error]
        # What is no router's word ends the run: the next one does again what this one has left undone.
        failures.sort(key=lambda error: isinstance(error, RouterError))
        if failures:
            raise failures[0]
        self._answered()

    async def _settle_one(self, service: str) -> RouterError | None:
        """Make one entry what is wanted. Returns an error that is about the node rather than the entry."""
        entry = self._entries.get(service)
        # Whoever is busy with it marks it again if anything is left to do.
        if entry is None or entry.busy is not None:
            return None
        wanted, error = entry.wanted, None
        try:
            if wanted is None:
                if entry.to_undo:
                    await self._deregister(service, entry)
            elif entry.held != wanted:
                await self._register(service, entry, wanted)
        except (Rejected, Overloaded, Faulty) as refusal:
            entry.error = str(refusal)
            self._refuse(service)
        except RouterError as failure:
            error = failure
            if wanted is not None:
                self._dirty[service] = None
        if error is None:
            self._tell(service, entry)
        self._tidy(service, entry)
        return error

    async def _register(self, service: str, entry: Entry, wanted: Registration) -> None:
        with self._busy(service, entry):
            entry.sent = True
            lease = await self._node.register(wanted)
            entry.held, entry.registration_id, entry.error = wanted, lease.registration_id, None
            self._ttl = lease.ttl
            now = asyncio.get_running_loop().time()
            # The first heartbeat at once: the open stream shows a restart of the node.
            due = now if self._next_beat == math.inf else now + self._period()
            self._next_beat = min(self._next_beat, due)
            if not _well(entry.health):
                # A registration begins as a healthy one.
                self._beat_soon(service)

    async def _deregister(self, service: str, entry: Entry) -> None:
        with self._busy(service, entry):
            entry.held, entry.error = None, None
            try:
                await self._node.deregister(service)
            except RouterError:
                # Without heartbeats the lease runs out by itself.
                entry.sent = False
                raise
            entry.sent = False

    async def _beat(self, now: float) -> None:
        """A chunk of heartbeats; a round of them covers everything held."""
        if not self._round:
            self._round.extend(service for service, entry in self._entries.items() if entry.held)
            self._next_beat = now + self._period() if self._round else math.inf
        if self._round:
            await self._beat_chunk()
        else:
            self._hang_up()
        if self._lapsed and not self._round:
            self._lapsed = False
            self._tell_all()

    async def _beat_chunk(self) -> None:
        chunk = [self._round.popleft() for _ in range(min(CHUNK, len(self._round)))]
        found = ((service, self._entries.get(service)) for service in chunk)
        held = [(s, entry, entry.held) for s, entry in found if entry and entry.held and entry.wanted]
        if not held:
            return
        if self._stream is None:
            self._stream = self._node.heartbeats()
            self._stream.on_end = self._on_end
        known = await self._stream.beat(
            [Beat(service, entry.registration_id, entry.health) for service, entry, _ in held]
        )
        if self._stream.deadline > 0:
            self._ttl = self._stream.deadline
            self._next_beat = min(self._next_beat, asyncio.get_running_loop().time() + self._period())
        for (service, entry, then), acknowledged in zip(held, known, strict=True):
            # Only if nothing has happened to the entry since the question was asked.
            if not acknowledged and entry.held is then and self._entries.get(service) is entry:
                entry.held = None
                self._mark(service)
        self._answered()

    # -- bookkeeping --------------------------------------------------------------------------------

    def _mark(self, service: str) -> None:
        self._dirty[service] = None
        self._refused.pop(service, None)
        self._wake.set()

    def _refuse(self, service: str) -> None:
        self._refused[service] = None
        if self._retry_at == math.inf:
            self._retry_at = asyncio.get_running_loop().time() + REFUSED_PAUSE

    def _tidy(self, service: str, entry: Entry) -> None:
        """Forget an entry that has served its purpose, or have it looked at again."""
        if self._entries.get(service) is not entry or entry.busy is not None:
            return
        if entry.wanted is None and not entry.to_undo:
            del self._entries[service]
            self._dirty.pop(service, None)
            self._refused.pop(service, None)
            self._wake.set()

    @contextmanager
    def _busy(self, service: str, entry: Entry) -> Iterator[None]:
        before = entry.wanted
        entry.busy = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            entry.busy.set_result(None)
            entry.busy = None
            if entry.wanted != before or entry.to_undo:
                # Changed while the call was under way, or the call was cut short.
                self._mark(service)

    def _shown(self, entry: Entry) -> RegistrationState:
        if entry.held is not None and entry.held == entry.wanted and not self._lapsed:
            return RegistrationState(True)
        return RegistrationState(False, entry.error or self._error)

    def _tell(self, service: str, entry: Entry) -> None:
        state = self._shown(entry)
        if entry.wanted is not None and state != entry.told:
            entry.told = state
            self._changed(service)

    def _tell_all(self) -> None:
        for service, entry in list(self._entries.items()):
            self._tell(service, entry)

    def _answered(self) -> None:
        self._contact = asyncio.get_running_loop().time()
        self._failures = 0
        self._error = None

    def _failed(self, error: RouterError) -> None:
        self._failures += 1
        self._hang_up()
        now = asyncio.get_running_loop().time()
        self._next_beat = 0.0
        self._round.clear()
        if isinstance(error, Unimplemented):
            # Another build runs there now: registering finds out how it wants to be spoken to.
            for service, entry in self._entries.items():
                entry.held = None
                self._mark(service)
        lapsed = now - self._contact > self._ttl
        lost = lapsed and self._contact > -math.inf
        quiet = isinstance(error, Unreachable) and self._failures < PATIENCE and not lost
        shown = self._error if quiet else str(error)
        if (lapsed, shown) != (self._lapsed, self._error):
            self._lapsed, self._error = lapsed, shown
            self._tell_all()

    def _on_end(self) -> None:
        self._ended = True
        self._wake.set()

    def _hang_up(self) -> None:
        self._ended = False
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _period(self) -> float:
        return max(self._ttl / 3, 0.05)

    def _pause(self) -> float:
        longest = min(PAUSE_LIMIT, PAUSE_BASE * 2.0 ** min(self._failures - 1, 16))
        return longest * self._rng.uniform(0.5, 1.0)


def _well(health: Health | None) -> bool:
    return health is None or health.healthy
