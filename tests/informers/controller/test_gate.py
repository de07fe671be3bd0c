"""The input gate skips what is unnecessary, and nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.cache.informer import Informer
from informers.client import Client
from informers.controller import Controller, Gate
from informers.metrics import Metrics
from informers.objects import ObjectKey, Resource, Result
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.informers.manager.operator import CONFIG_MAP, NAMESPACE, config_map, key, server

SECRET = Resource("", "v1", "secrets", "Secret")
NAMES = ("a", "b", "c")
GROUPS = ("red", "blue")


def group_of(view: Any) -> list[str]:
    return [view.labels["group"]] if "group" in view.labels else []


@dataclass
class World:
    """A pure reconciler behind a gate, and an eye on every skip."""

    core: ApiServer
    client: Client
    maps: Informer
    gate: Gate
    metrics: Metrics
    pause: float = 0.0
    setting: int = 0
    failing: set[ObjectKey] = field(default_factory=set)
    asks_again: dict[ObjectKey, float] = field(default_factory=dict)
    runs: list[tuple[float, ObjectKey]] = field(default_factory=list)
    written: dict[ObjectKey, object] = field(default_factory=dict)
    """What the last successful run of a key has made of its inputs."""
    failed: set[ObjectKey] = field(default_factory=set)
    skips: int = 0
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.gated = self.gate.reads(self.maps)
        self.probe: Callable[[], Hashable] = lambda: self.setting
        self.controller = Controller(
            "gated", self, workers=2, clock=VirtualClock(), rng=random.Random(0), gate=self.gate
        )
        self.controller.measure(self.metrics)
        judge = self.gate.unmoved

        def unmoved(key: ObjectKey, now: float) -> float | None:
            due = judge(key, now)
            if due is not None:
                self.skips += 1
                assert key not in self.failed, "a failed run does not count"
                assert self.written[key] == self.outcome(self.maps, key), "the run was needed"
            return due

        self.gate.unmoved = unmoved  # type: ignore[method-assign]

    def outcome(self, maps: Any, key: ObjectKey) -> object:
        """A function of the inputs alone: the object, those of its group, and of a namespace; a setting."""
        view = maps.get(key)
        if view is None:
            return ("gone", self.setting)
        data = view.object().get("data")
        peers = sorted(
            str(one.object().get("data")) for group in group_of(view) for one in maps.by_index("group", group)
        )
        everybody = len(maps.list(NAMESPACE)) if key.name == "c" else 0
        return (data, peers, everybody, self.setting)

    async def reconcile(self, key: ObjectKey) -> Result:
        self.runs.append((asyncio.get_running_loop().time(), key))
        self.failed.add(key)
        self.gate.depends(self.probe)
        made = self.outcome(self.gated, key)
        await asyncio.sleep(self.pause)
        if key in self.failing:
            raise OSError("made to fail")
        self.written[key] = made
        self.failed.discard(key)
        return Result(self.asks_again.get(key))

    def skipped(self) -> float:
        """What the metrics say of skips."""
        line = next(
            line
            for line in self.metrics.render().decode().splitlines()
            if line.startswith("controller_runtime_reconcile_skipped_total{")
        )
        return float(line.rpartition(" ")[2])


@asynccontextmanager
async def world(*objects: Any, gate: Gate | None = None) -> AsyncIterator[World]:
    async with server(*objects) as core:
        client = Client(ApiServerTransport(core), clock=VirtualClock())
        maps = Informer(
            client,
            CONFIG_MAP,
            indexes={"group": group_of},
            clock=VirtualClock(),
            rng=random.Random(0),
        )
        one = World(core, client, maps, gate or Gate(), Metrics(process=False))
        tasks = [asyncio.ensure_future(maps.run()), asyncio.ensure_future(one.controller.run())]
        await maps.wait_synced()
        try:
            yield one
        finally:
            for task in tasks:
                task.cancel()
            done, _ = await asyncio.wait(tasks)
        # An assertion inside a worker ends the controller with it.
        for task in done:
            if not task.cancelled():
                task.result()


def in_world(play: Callable[[World], Any], *objects: Any, gate: Gate | None = None) -> None:
    async def main() -> None:
        async with world(*objects, gate=gate) as one:
            await play(one)

    run_virtual(main())


def grouped(name: str, group: str, **data: str) -> dict[str, Any]:
    obj = config_map(name, **data)
    obj["metadata"]["labels"] = {"group": group}
    return obj


async def again(one: World, name: str, **options: Any) -> int:
    """Enqueue a key; how often it ran for that."""
    before = len(one.runs)
    one.controller.enqueue(key(name), **options)
    await asyncio.sleep(1)
    return len(one.runs) - before


def test_runs_once_per_state_of_its_inputs() -> None:
    async def play(one: World) -> None:
        assert await again(one, "a") == 1
        assert [await again(one, "a") for _ in range(3)] == [0, 0, 0]
        one.core.edit(CONFIG_MAP, key("b"), lambda obj: {**obj, "data": {"x": "2"}})
        await asyncio.sleep(1)
        assert await again(one, "a") == 1, "b is of its group"
        one.core.edit(CONFIG_MAP, key("c"), lambda obj: {**obj, "data": {"x": "2"}})
        await asyncio.sleep(1)
        assert await again(one, "a") == 0, "c is not"
        one.core.create(grouped("d", "red"))
        await asyncio.sleep(1)
        assert await again(one, "a") == 1, "another one of its group"
        one.core.delete(CONFIG_MAP, key("d"))
        await asyncio.sleep(1)
        assert await again(one, "a") == 1
        assert one.skips == 4 == one.skipped()

    in_world(play, grouped("a", "red"), grouped("b", "red"), grouped("c", "blue"))


def test_what_is_not_there_is_an_input_as_well() -> None:
    async def play(one: World) -> None:
        assert await again(one, "a") == 1
        assert await again(one, "a") == 0
        one.core.create(config_map("a"))
        await asyncio.sleep(1)
        assert await again(one, "a") == 1

    in_world(play)


def test_an_answer_of_our_own_is_an_input_before_its_event_comes() -> None:
    async def play(one: World) -> None:
        assert await again(one, "a") == 1
        body = config_map("a", x="2")
        one.maps.written(await one.client.apply(CONFIG_MAP, body, field_manager="test"))
        one.controller.enqueue(key("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(one.runs) == 2

    in_world(play, config_map("a"))


def test_an_answer_that_a_bookmark_overtakes_without_an_event_is_gone_as_an_input() -> None:
    async def play(one: World) -> None:
        revision = one.core.store.revision + 1
        ghost = config_map("a", x="never stored")
        one.maps.written({**ghost, "metadata": {**ghost["metadata"], "resourceVersion": str(revision)}})
        assert await again(one, "a") == 1
        assert await again(one, "a") == 0
        # Something else moves the server's revision; of the ghost there will be no event.
        one.core.create({"apiVersion": "v1", "kind": "Secret", "metadata": config_map("s")["metadata"]})
        await asyncio.sleep(90)
        assert await again(one, "a") == 1
        assert one.written[key("a")] == ("gone", 0)

    in_world(play)


def test_force_failure_and_age_open_the_gate() -> None:
    async def play(one: World) -> None:
        assert await again(one, "a") == 1
        assert await again(one, "a", force=True) == 1
        assert await again(one, "a") == 0
        one.setting = 1
        one.failing.add(key("a"))
        assert await again(one, "a") > 1, "it fails, and is retried"
        one.failing.clear()
        await asyncio.sleep(300)
        before = len(one.runs)
        assert await again(one, "a") == 0
        await asyncio.sleep(601)
        assert await again(one, "a") == 1, "too old to count"
        assert len(one.runs) == before + 1, "an age makes nobody run by itself"

    in_world(play, config_map("a"))


def test_forced_while_running_runs_once_more() -> None:
    async def play(one: World) -> None:
        one.pause = 10.0
        one.controller.enqueue(key("a"))
        await asyncio.sleep(1)
        one.controller.enqueue(key("a"), force=True)
        await asyncio.sleep(60)
        assert len(one.runs) == 2

    in_world(play, config_map("a"))


def test_a_skip_keeps_the_look_that_was_asked_for() -> None:
    async def play(one: World) -> None:
        one.asks_again[key("a")] = 100.0
        assert await again(one, "a") == 1
        for _ in range(3):
            assert await again(one, "a") == 0
        await asyncio.sleep(90)
        assert len(one.runs) == 1
        await asyncio.sleep(10)
        assert [round(when) for when, _ in one.runs] == [0, 100]

    in_world(play, config_map("a"))


def test_what_changes_during_a_run_is_run_for() -> None:
    async def play(one: World) -> None:
        one.pause = 10.0
        one.controller.enqueue(key("a"))
        await asyncio.sleep(5)
        one.core.edit(CONFIG_MAP, key("a"), lambda obj: {**obj, "data": {"x": "2"}})
        await asyncio.sleep(10)
        one.controller.enqueue(key("a"))
        await asyncio.sleep(20)
        assert len(one.runs) == 2

    in_world(play, config_map("a"))


def test_without_reads_nothing_is_skipped() -> None:
    async def main() -> None:
        calls = 0

        class Blind:
            async def reconcile(self, _: ObjectKey) -> Result:
                nonlocal calls
                calls += 1
                return Result.done()

        one = Controller("blind", Blind(), clock=VirtualClock(), gate=Gate())
        running = asyncio.ensure_future(one.run())
        for _ in range(3):
            one.enqueue(key("a"))
            await asyncio.sleep(1)
        assert calls == 3
        running.cancel()

    run_virtual(main())


def test_a_gate_is_for_one_controller_and_forgets_the_oldest() -> None:
    async def play(one: World) -> None:
        with pytest.raises(ValueError, match="belongs to controller gated"):
            Controller("other", one, gate=one.gate)
        for name in ("a", "b", "c"):
            assert await again(one, name) == 1
        assert one.gate.remembered == 2
        assert await again(one, "c") == 0
        assert await again(one, "a") == 1

    in_world(play, gate=Gate(capacity=2))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *["edit"] * 2,
                *["enqueue"] * 3,
                *("create", "delete", "write", "force", "fail", "heal", "setting", "again"),
                *("cut", "late", "prompt", "refuse"),
            ]
        ),
        st.sampled_from(NAMES),
        st.sampled_from(GROUPS),
        st.sampled_from([0.0, 0.0, 0.001, 0.02, 1.0, 50.0, 700.0]),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(steps=STEPS, pause=st.sampled_from([0.0, 0.01, 2.0]))
def test_never_skips_a_run_that_is_needed(steps: list[tuple[str, str, str, float]], pause: float) -> None:
    """Every skip is judged at its moment, by :class:`World`; at the end every key is up to date."""

    async def play(one: World) -> None:
        one.pause = pause
        for serial, (what, name, group, wait) in enumerate(steps):
            await do(one, what, name, group, serial)
            await asyncio.sleep(wait)
        one.failing.clear()
        await asyncio.sleep(2_000)
        for name in NAMES:
            one.controller.enqueue(key(name))
        await asyncio.sleep(50)
        for name in NAMES:
            assert one.written[key(name)] == one.outcome(one.maps, key(name))

    in_world(play, grouped("a", "red"), grouped("b", "red"))


async def do(one: World, what: str, name: str, group: str, serial: int) -> None:
    """One step of somebody."""
    exists = one.core.find(CONFIG_MAP, key(name)) is not None
    body = grouped(name, group, serial=str(serial))
    if what == "edit" and exists:
        metadata = {"labels": {"group": group}}
        one.core.edit(
            CONFIG_MAP,
            key(name),
            lambda obj: {**obj, "data": body["data"], "metadata": {**obj["metadata"], **metadata}},
        )
    elif what == "create" and not exists:
        one.core.create(body)
    elif what == "delete" and exists:
        one.core.delete(CONFIG_MAP, key(name))
    elif what == "write":
        one.maps.written(await one.client.apply(CONFIG_MAP, body, field_manager="us", force=True))
    elif what in ("enqueue", "force"):
        one.controller.enqueue(key(name), force=what == "force")
    elif what == "fail":
        one.failing.add(key(name))
    elif what == "heal":
        one.failing.clear()
    elif what == "setting":
        one.setting += 1
    elif what == "cut":
        one.core.store.compact()
        one.core.flow.cut()
    elif what == "late":
        one.core.flow.delay = 3.0
    elif what == "prompt":
        one.core.flow.delay = 0.0
    elif what == "refuse":
        one.core.faults.add(FaultRule(verb="watch", status=410, times=1))
    elif what == "again":
        one.asks_again[key(name)] = 30.0


def test_two_answers_to_one_question_spoil_a_run() -> None:
    async def main() -> None:
        gate, calls, setting = Gate(), 0, 0

        def probe() -> int:
            return setting

        class Torn:
            async def reconcile(self, _: ObjectKey) -> Result:
                nonlocal calls, setting
                calls += 1
                gate.depends(probe)
                # It comes and goes, and the run has seen both.
                setting += calls == 1
                gate.depends(probe)
                setting = 0
                return Result.done()

        one = Controller("torn", Torn(), clock=VirtualClock(), gate=gate)
        running = asyncio.ensure_future(one.run())
        for expected in (1, 2, 2):
            one.enqueue(key("a"))
            await asyncio.sleep(1)
            assert calls == expected
        running.cancel()

    run_virtual(main())


def test_a_probe_that_fails_fails_the_run_and_nothing_else() -> None:
    async def main() -> None:
        facts = {"setting": 1}
        gate, ran = Gate(), 0

        def probe() -> Hashable:
            return facts["setting"]

        class Probing:
            async def reconcile(self, _: ObjectKey) -> Result:
                nonlocal ran
                ran += 1
                gate.depends(probe)
                return Result.done()

        controller = Controller("probing", Probing(), clock=VirtualClock(), gate=gate)
        running = asyncio.ensure_future(controller.run())
        controller.enqueue(key("a"))
        await asyncio.sleep(1)
        assert ran == 1
        facts.clear()
        controller.enqueue(key("a"))
        await asyncio.sleep(600)
        assert ran > 10 and not running.done(), "retried with back-off"
        facts["setting"] = 1
        await asyncio.sleep(600)
        before = ran
        controller.enqueue(key("a"))
        await asyncio.sleep(1)
        assert ran == before
        running.cancel()

    run_virtual(main())
