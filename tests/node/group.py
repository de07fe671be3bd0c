"""Several consensus engines in one process, over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.embedded import EmbeddedEngine
from etl_operator.node.consensus.engine import NotLeader, OutcomeUnknown, Role
from etl_operator.node.consensus.settings import Timing
from tests.hanging import HANGS
from tests.processes import until

# Long enough for a busy machine not to hold elections nobody asked for.
TIMING = Timing(0.5, 1.0, 0.1)
PORT = 50052


class Log:
    """A state machine that remembers its commands in order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, command: bytes) -> int:
        self.commands.append(command)
        return len(self.commands)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.commands)

    def valid(self, data: bytes) -> bool:
        return True

    def restore(self, data: bytes) -> None:
        self.commands = msgspec.msgpack.decode(data, type=list[bytes])


G = TypeVar("G", bound="Group")


@dataclass
class Group:
    """Engines 1..n on loopback addresses of their own."""

    directory: Path
    options: dict[str, Any] = field(default_factory=dict)
    engines: dict[int, EmbeddedEngine] = field(default_factory=dict)
    machines: dict[int, Log] = field(default_factory=dict)
    network: str = ""

    def __post_init__(self) -> None:
        pick = random.SystemRandom()
        self.network = f"127.{pick.randint(128, 191)}.{pick.randint(0, 255)}"

    def address(self, node: int) -> Address:
        return Address(f"{self.network}.{node}", PORT)

    def make(self, *where: Any, **options: Any) -> Any:
        """An engine that has not started."""
        return EmbeddedEngine(*where, **options)

    async def start(self, node: int, members: Iterable[int], **options: Any) -> EmbeddedEngine:
        self.machines[node] = Log()
        engine: EmbeddedEngine = self.make(
            node,
            self.address(node),
            {peer: self.address(peer) for peer in members if peer != node},
            self.directory / str(node),
            self.machines[node],
            **{"timing": TIMING, **self.options, **options},
        )
        await engine.start()
        self.engines[node] = engine
        return engine

    async def crash(self, node: int) -> None:
        """End an engine without any of its farewells."""
        engine = self.engines.pop(node)
        engine._stopped = True
        for task in (engine._ticker, engine._changing):
            task.cancel()
        await asyncio.gather(engine._ticker, engine._changing, return_exceptions=True)
        await engine._transport.stop()
        engine._member.close()

    async def leader(self, among: Iterable[int] | None = None) -> int:
        """Wait until one of them leads and has its state."""
        nodes = list(among or self.engines)
        found: list[int] = []

        def leads() -> bool:
            found[:] = [n for n in nodes if self.readable(n) and self.leads(n)]
            return bool(found)

        await until(leads)
        return found[0]

    async def write(self, command: bytes) -> object:
        """Propose until a leader takes the command and says so; what the machine answered."""
        answers: list[object] = []

        async def taken() -> bool:
            try:
                answers.append(await self.engines[await self.leader()].propose(command, within=HANGS))
            except (NotLeader, OutcomeUnknown):  # On a busy machine others may be elected at any time.
                return False
            return True

        await until(taken)
        return answers[0]

    async def move(self) -> tuple[int, int]:
        """Have another node lead: the former leader and the new one."""
        former = await self.leader()

        async def moved() -> bool:
            # Best effort: a call of it may find no node that is ready, or run out of time.
            await self.engines[former].hand_over()
            return not self.leads(former)

        await until(moved)
        return former, await self.leader([node for node in self.engines if node != former])

    def readable(self, node: int) -> bool:
        """It has all that earlier leaders acknowledged."""
        return bool(self.engines[node]._member.readable())

    def leads(self, node: int) -> bool:
        return self.engines[node].status().role is Role.LEADER

    async def follow(self, nodes: Iterable[int], leader: int) -> None:
        await until(lambda: all(self.engines[n].status().leader_id == leader for n in nodes))

    async def equal(self, commands: list[bytes]) -> None:
        await until(lambda: all(self.machines[node].commands == commands for node in self.engines))


@asynccontextmanager
async def engines(kind: type[G], directory: Path, size: int, **options: Any) -> AsyncIterator[G]:
    """Engines of a kind, started; ended without farewells."""
    made = kind(directory, options)
    try:
        for node in range(1, size + 1):
            await made.start(node, range(1, size + 1))
        yield made
    finally:
        for node in list(made.engines):
            await made.crash(node)


@asynccontextmanager
async def group(directory: Path, size: int, **options: Any) -> AsyncIterator[Group]:
    """Embedded engines."""
    async with engines(Group, directory, size, **options) as made:
        yield made
