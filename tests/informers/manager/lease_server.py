"""Leases on a server that is never wrong, behind a network that often is."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from informers.client import Client
from informers.errors import AlreadyExists, Conflict, NotFound, TransportError
from informers.objects import Object, ObjectKey, Resource


@dataclass
class LeaseServer:
    """Keeps objects by key, with resource versions. Writes are atomic: nothing here waits."""

    objects: dict[ObjectKey, Object] = field(default_factory=dict)
    holders: list[tuple[float, str]] = field(default_factory=list)
    """Every change of the lease's holder, with when."""
    version: int = 0

    def get(self, key: ObjectKey) -> Object:
        try:
            return copy.deepcopy(self.objects[key])
        except KeyError:
            raise NotFound(404, "NotFound") from None

    def create(self, body: Object) -> Object:
        if ObjectKey.of(body) in self.objects:
            raise AlreadyExists(409, "AlreadyExists")
        return self._store(body)

    def update(self, body: Object) -> Object:
        current = self.get(ObjectKey.of(body))
        if current["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict")
        return self._store(body)

    def _store(self, body: Object) -> Object:
        stored = copy.deepcopy(body)
        self.version += 1
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[ObjectKey.of(body)] = stored
        holder = str(stored["spec"].get("holderIdentity") or "")
        if not self.holders or self.holders[-1][1] != holder:
            self.holders.append((asyncio.get_running_loop().time(), holder))
        return copy.deepcopy(stored)


@dataclass
class Link:
    """One client's way to the server: delays, outages, answers that get lost. A double of ``Client``."""

    server: LeaseServer
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    latency: float = 0.01
    """Seconds: the longest delay of one direction."""
    down: Callable[[float], bool] = lambda _: False
    """Whether nothing passes at a moment."""
    losing: Callable[[float], bool] = lambda _: False
    """Whether answers get lost at a moment, although the server acts."""
    requests: list[str] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return cast(Client, self)

    async def carry(self, act: Callable[[], Any]) -> Any:
        """One request and its answer."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.latency * self.rng.random())
        if self.down(loop.time()):
            await asyncio.sleep(3.0)
            raise TransportError("no route")
        try:
            answer = act()
        finally:
            await asyncio.sleep(self.latency * self.rng.random())
            if self.down(loop.time()) or self.losing(loop.time()):
                raise TransportError("connection reset")
        return answer

    async def get(self, resource: Resource, key: ObjectKey) -> Object:
        self.requests.append("get")
        return cast(Object, await self.carry(lambda: self.server.get(key)))

    async def create(self, resource: Resource, body: Object) -> Object:
        self.requests.append("create")
        sent = copy.deepcopy(body)
        return cast(Object, await self.carry(lambda: self.server.create(sent)))

    async def update(self, resource: Resource, body: Object) -> Object:
        self.requests.append("update")
        sent = copy.deepcopy(body)
        return cast(Object, await self.carry(lambda: self.server.update(sent)))
