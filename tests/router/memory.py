"""Router nodes in memory, with the faults of real ones, for the keeper in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from etl_operator.router.errors import Rejected, TimedOut, Unreachable
from etl_operator.router.heartbeat import HeartbeatStream
from etl_operator.router.registration import Beat, Health, Lease, Registration
from informers.errors import Fenced

ADDRESSES = ("n1:1", "n2:1", "n3:1")
SERVICES = tuple(f"etl/s{number}" for number in range(5))
TTL = 30.0
# Longer than any pause, refusal or deadline in the keeper and in the nodes below.
LONG = 120.0


class Gate:
    """The fence of all nodes."""

    def __init__(self) -> None:
        self.left: int | None = None
        """So many writes pass yet; ``None`` is any number."""

    def write(self) -> None:
        if self.left == 0:
            raise Fenced("somebody else leads")
        if self.left is not None:
            self.left -= 1


class Node:
    """A node in memory: a registry, and ways to fail."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.wrong: list[str] = []
        """What the keeper should not have done: what is raised here it may take for a fault of the node."""
        self.registry: dict[str, Registration] = {}
        self.heard: dict[str, Health | None] = {}
        """Health, as the last heartbeat had it; a registration begins without."""
        self.down = False
        self.mute = False
        self.refusing: set[str] = set()
        self.busy: set[str] = set()
        self.streams: set[Stream] = set()

    async def register(self, registration: Registration) -> Lease:
        await self._call(registration.service_id)
        if registration.service_id in self.refusing:
            raise Rejected("endpoint required")
        self.registry[registration.service_id] = registration
        self.heard.pop(registration.service_id, None)
        return Lease(registration.service_id, TTL)

    async def deregister(self, service: str) -> None:
        await self._call(service)
        self.registry.pop(service, None)

    def heartbeats(self) -> HeartbeatStream:
        return cast(HeartbeatStream, Stream(self))

    def forget(self) -> None:
        """Restart: nothing is known any more, every stream ends."""
        self.registry.clear()
        for stream in list(self.streams):
            stream.end()

    async def _call(self, service: str) -> None:
        if service in self.busy:
            self.wrong.append(f"two calls about {service} at once")
        self.busy.add(service)
        try:
            await asyncio.sleep(0.01)
            self.gate.write()
            await self.reply()
        finally:
            self.busy.discard(service)

    async def reply(self) -> None:
        if self.down:
            raise Unreachable("connection refused")
        if self.mute:
            await asyncio.sleep(5.0)
            raise TimedOut("no answer in time")


class Stream:
    """A heartbeat stream to such a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._ended = False
        self.deadline = TTL
        self.on_end: Callable[[], None] = lambda: None
        node.streams.add(self)

    async def beat(self, beats: Sequence[Beat]) -> list[bool]:
        if not beats:
            self._node.wrong.append("an empty round is no round")
        await asyncio.sleep(0.01)
        self._node.gate.write()
        await self._node.reply()
        if self._ended:
            raise Unreachable("connection lost")
        for beat in beats:
            self._node.heard[beat.service] = beat.health
        return [beat.service in self._node.registry for beat in beats]

    def end(self) -> None:
        self._ended = True
        self._node.streams.discard(self)
        self.on_end()

    def close(self) -> None:
        self._node.streams.discard(self)


class Nodes:
    """Where the keeper gets its nodes from."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.by_address = {address: Node(self.gate) for address in ADDRESSES}

    def node(self, address: str) -> Node:
        return self.by_address[address]

    def may_write(self) -> bool:
        return self.gate.left != 0


def registration(service: str, port: int) -> Registration:
    return Registration(service, type=1, name=service.partition("/")[2], host="h", port=port)
