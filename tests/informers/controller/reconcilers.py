"""Reconcilers made of functions, and controllers that run them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from informers.controller import Controller
from informers.objects import ObjectKey, Result
from informers.testing.clock import VirtualClock

A, B, C = (ObjectKey("default", name) for name in "abc")


class Calls:
    """A reconciler made of a function; remembers when it was called with what."""

    def __init__(self, act: Callable[[ObjectKey], Awaitable[Result]]) -> None:
        self._act = act
        self.at: list[tuple[float, ObjectKey]] = []

    async def reconcile(self, key: ObjectKey) -> Result:
        self.at.append((asyncio.get_running_loop().time(), key))
        return await self._act(key)

    def of(self, key: ObjectKey) -> list[float]:
        return [when for when, what in self.at if what == key]


def controller(
    act: Callable[[ObjectKey], Awaitable[Result]], *, workers: int = 4, deadline: float = 60.0
) -> tuple[Controller, Calls]:
    calls = Calls(act)
    return Controller("test", calls, workers=workers, deadline=deadline, clock=VirtualClock()), calls


async def nothing(_: ObjectKey) -> Result:
    return Result.done()
