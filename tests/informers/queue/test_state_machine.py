"""The queue against a model that is too simple to be wrong, through any sequence of calls and pauses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from informers.errors import Terminal, TooManyRequests, TransportError
from informers.objects import ObjectKey
from informers.queue import Priority, Work, WorkQueue
from informers.testing.clock import VirtualClock, VirtualLoop

T = TypeVar("T")

KEYS = st.sampled_from([ObjectKey("n", name) for name in "abcd"])
PRIORITIES = st.sampled_from(list(Priority))
SECONDS = st.sampled_from([0.0, 0.5, 3.0, 60.0, 400.0])


@dataclass
class Wish:
    """What the model knows of a key that is asked for."""

    due: float
    priority: Priority
    backing_off: bool = False


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.queue = self.on_loop(lambda: WorkQueue(clock=VirtualClock(), rng=random.Random(0)))
        self.wishes: dict[ObjectKey, Wish] = {}
        self.working: dict[ObjectKey, None] = {}

    def on_loop(self, act: Callable[[], T]) -> T:
        async def main() -> T:
            return act()

        return self.loop.run_until_complete(main())

    def now(self) -> float:
        return self.loop.time()

    def ready(self) -> set[ObjectKey]:
        return {k for k, w in self.wishes.items() if w.due <= self.now() and k not in self.working}

    @initialize(key=KEYS)
    def start(self, key: ObjectKey) -> None:
        self.add(key, Priority.INITIAL)

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: ObjectKey, priority: Priority) -> None:
        self.on_loop(lambda: self.queue.add(key, priority=priority, cause="test"))
        self.wanted_now(key, priority)

    def wanted_now(self, key: ObjectKey, priority: Priority) -> None:
        wish = self.wishes.setdefault(key, Wish(self.now(), priority))
        wish.priority = min(wish.priority, priority)
        if priority <= Priority.CHANGE or not wish.backing_off:
            wish.due, wish.backing_off = min(wish.due, self.now()), False

    @rule(key=KEYS, seconds=SECONDS, priority=PRIORITIES)
    def add_after(self, key: ObjectKey, seconds: float, priority: Priority) -> None:
        self.on_loop(lambda: self.queue.add_after(key, seconds, priority=priority))
        if seconds <= 0:
            self.wanted_now(key, priority)
            return
        wish = self.wishes.setdefault(key, Wish(self.now() + seconds, priority))
        wish.priority = min(wish.priority, priority)
        if not wish.backing_off:
            wish.due = min(wish.due, self.now() + seconds)

    @rule()
    def take(self) -> None:
        work = self.on_loop(self.queue.get_nowait)
        ready = self.ready()
        assert (work is None) == (not ready)
        if work is not None:
            self.taken(work)

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        """Take the next key, waiting so long for one."""
        dues = [wish.due for key, wish in self.wishes.items() if key not in self.working]
        due, until = max(min(dues, default=inf), self.now()), self.now() + seconds
        work = self.loop.run_until_complete(self.within(seconds))
        if work is None:
            assert due >= until
        else:
            assert self.now() == pytest.approx(due)
            self.taken(work)
        self.time_has_passed()

    async def within(self, seconds: float) -> Work | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self.queue.get()
        return None

    def taken(self, work: Work) -> None:
        assert work.key in self.ready(), "neither in work, nor early"
        assert work.priority == self.wishes.pop(work.key).priority
        self.working[work.key] = None

    @precondition(lambda self: self.working)
    @rule(data=st.data(), outcome=st.sampled_from(["well", "failed", "throttled", "terminal"]))
    def done(self, data: st.DataObject, outcome: str) -> None:
        key = data.draw(st.sampled_from(list(self.working)))
        if outcome == "well":
            self.on_loop(lambda: self.queue.forget(key))
        elif outcome == "terminal":
            assert self.on_loop(lambda: self.queue.retry(key, Terminal("no"))) is None
        else:
            error = TransportError("gone") if outcome == "failed" else TooManyRequests(429, retry_after=100)
            delay = self.on_loop(lambda: self.queue.retry(key, error))
            self.failed(key, delay)
        self.on_loop(lambda: self.queue.done(key))
        del self.working[key]

    def failed(self, key: ObjectKey, delay: float | None) -> None:
        wish = self.wishes.get(key)
        if wish is not None and wish.priority <= Priority.CHANGE and wish.due <= self.now():
            assert delay is None, "the newer wish goes first"
            return
        assert delay is not None
        assert 0 < delay <= 300
        if wish is None:
            wish = self.wishes[key] = Wish(0.0, Priority.RETRY)
        wish.due, wish.backing_off = self.now() + delay, True

    @rule(seconds=SECONDS)
    def pause(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.time_has_passed()

    def time_has_passed(self) -> None:
        for wish in self.wishes.values():
            wish.backing_off = wish.backing_off and wish.due > self.now()

    @invariant()
    def counts_agree(self) -> None:
        statistics = self.on_loop(self.queue.statistics)
        assert statistics.processing == len(self.working)
        assert sum(statistics.ready.values()) + statistics.waiting == len(self.wishes)

    def teardown(self) -> None:
        """Nothing is ever lost: when all work ends, every wish is handed out within the longest back-off."""
        for key in list(self.working):
            self.on_loop(lambda key=key: self.queue.done(key))  # type: ignore[misc]
        self.working.clear()
        self.loop.run_until_complete(asyncio.sleep(500))
        for _ in range(len(self.wishes)):
            self.take()
        assert not self.wishes
        self.loop.close()


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestQueue = QueueMachine.TestCase
