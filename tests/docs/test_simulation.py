"""The kit for testing controllers: every fault does what it says, and a seed repeats all of it."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from informers.apiserver.errors import StatusError
from informers.cache.informer import Delta, Informer
from informers.controller import Controller, block_on
from informers.errors import ApiError, Conflict, Gone, NotFound, TooManyRequests, TransportError
from informers.leader import LeaseLost
from informers.manager import Manager
from informers.objects import Object, ObjectKey, Resource, Result
from informers.testing import clock
from informers.testing.clock import VirtualStandstill
from informers.testing.simulation import NAMESPACE, Simulation, simulate
from tests.definitions import definition

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
SECRET = Resource("", "v1", "secrets", "Secret")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")


def config_map(name: str, **data: str) -> Object:
    metadata = {"namespace": NAMESPACE, "name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def key(name: str) -> ObjectKey:
    return ObjectKey(NAMESPACE, name)


def edit(world: Simulation, name: str, value: str) -> None:
    world.server.edit(CONFIG_MAP, key(name), lambda obj: {**obj, "data": {"x": value}})


def value(view: Any) -> str:
    return str(view.object()["data"]["x"])


async def follow(world: Simulation) -> tuple[Informer, list[str], asyncio.Task[None]]:
    """An informer, and the values of every change it shows."""
    informer = Informer(world.client(), CONFIG_MAP, clock=world.clock, rng=world.rng)
    seen: list[str] = []

    def saw(delta: Delta) -> None:
        if delta.new is not None:
            seen.append(value(delta.new))

    informer.add_handler(saw)
    task = asyncio.ensure_future(informer.run())
    await informer.wait_synced()
    return informer, seen, task


@pytest.mark.parametrize(
    ("rule", "error", "done"),
    [
        ({"status": 409}, Conflict, False),
        ({"status": 429, "retry_after": 7}, TooManyRequests, False),
        ({"status": 410}, Gone, False),
        ({"status": 503}, ApiError, False),
        ({"cut": "before"}, TransportError, False),
        ({"cut": "after"}, TransportError, True),
    ],
    ids=["conflict", "throttled", "gone", "failing", "request lost", "answer lost"],
)
def test_a_write_fails_as_the_rule_says(rule: dict[str, Any], error: type[Exception], done: bool) -> None:
    async def play(world: Simulation) -> None:
        world.fault(verb="create", resource="configmaps", times=1, **rule)
        with pytest.raises(error) as caught:
            await world.client().create(CONFIG_MAP, config_map("a"))
        assert (world.server.find(CONFIG_MAP, key("a")) is not None) is done
        if rule.get("retry_after"):
            assert getattr(caught.value, "retry_after", None) == 7
        if not done:
            await world.client().create(CONFIG_MAP, config_map("a"))

    simulate(play)


def test_a_duplicate_meets_what_the_first_has_done() -> None:
    async def play(world: Simulation) -> None:
        client = world.client()
        world.fault(verb="delete", duplicate=True)
        with pytest.raises(NotFound):
            await client.delete(CONFIG_MAP, key("a"))
        world.fault(verb="patch", duplicate=True)
        answer = await client.apply(CONFIG_MAP, config_map("b", x="1"), field_manager="test")
        assert answer["data"] == {"x": "1"}
        assert len(list(world.server.all(CONFIG_MAP))) == 1

    simulate(play, config_map("a"))


def test_stale_reads_answer_from_the_past_and_never_from_before_it() -> None:
    async def play(world: Simulation) -> None:
        client = world.client()
        for number in range(1, 6):
            edit(world, "a", str(number))
        world.server.create(config_map("b", x="0"))
        rule = world.fault(stale=2)
        assert (await client.get(CONFIG_MAP, key("a")))["data"] == {"x": "4"}
        page = await client.list(CONFIG_MAP, namespace=NAMESPACE)
        assert [one["data"] for one in page.items] == [{"x": "4"}]
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAP, key("b"))
        rule.stale = 10_000
        world.compact()
        assert (await client.get(CONFIG_MAP, key("a")))["data"] == {"x": "5"}
        world.server.faults.clear()
        assert (await client.get(CONFIG_MAP, key("b")))["data"] == {"x": "0"}

    simulate(play, config_map("a", x="0"))


def test_requests_overtake_each_other() -> None:
    async def play(world: Simulation) -> None:
        client = world.client()
        world.fault(verb="create", delay=1.0, spread=10.0)
        names = [f"x{number}" for number in range(10)]
        began = world.clock.monotonic()
        await asyncio.gather(*(client.create(CONFIG_MAP, config_map(name)) for name in names))
        assert 1.0 <= world.clock.monotonic() - began <= 11.0
        created = {int(obj["metadata"]["resourceVersion"]): obj for obj in world.server.all(CONFIG_MAP)}
        order = [created[revision]["metadata"]["name"] for revision in sorted(created)]
        assert sorted(order) == names
        assert order != names

    simulate(play)


def test_events_are_late_but_in_order() -> None:
    async def play(world: Simulation) -> None:
        world.server.flow.delay, world.server.flow.jitter = 1.0, 20.0
        informer, seen, task = await follow(world)
        other, seen_by_other, task_of_other = await follow(world)
        parted = False
        for number in range(1, 30):
            edit(world, "a", str(number))
            await world.sleep(1)
            parted = parted or len(seen) != len(seen_by_other)
        await world.sleep(30)
        assert value(informer.get(key("a"))) == value(other.get(key("a"))) == "29"
        for one in (seen, seen_by_other):
            assert [int(text) for text in one] == sorted(int(text) for text in one)
        assert parted, "each watch has its own delays"
        task.cancel()
        task_of_other.cancel()

    simulate(play, config_map("a", x="0"), seed=3)


def test_silence_is_noticed_and_survived() -> None:
    async def play(world: Simulation) -> None:
        informer, _, task = await follow(world)
        speak = world.silence("", "configmaps")
        watches = world.fault(verb="watch", resource="configmaps", delay=0.001)
        await world.sleep(69)
        assert watches.hits == 0
        await world.sleep(3)
        assert watches.hits == 1, "not even bookmarks came"
        edit(world, "a", "1")
        await world.sleep(1)
        assert value(informer.get(key("a"))) == "0"
        speak()
        await world.until(lambda: value(informer.get(key("a"))) == "1", within=120)
        task.cancel()

    simulate(play, config_map("a", x="0"))


def test_compaction_and_cut_watches_make_who_comes_back_relist() -> None:
    async def play(world: Simulation) -> None:
        informer, _, task = await follow(world)
        watches = world.fault(verb="watch", resource="configmaps", status=503, times=1)
        world.cut_watches()
        edit(world, "a", "1")
        world.server.delete(CONFIG_MAP, key("b"))
        await world.sleep(0.01)
        world.compact()
        await world.until(lambda: value(informer.get(key("a"))) == "1")
        assert informer.get(key("b")) is None
        assert watches.hits == 1
        task.cancel()

    simulate(play, config_map("a", x="0"), config_map("b", x="0"))


def trace(seed: int) -> list[str]:
    """What a world with faults and a manager did."""
    done: list[str] = []

    async def play(world: Simulation) -> None:
        world.server.subscribe(
            lambda change: done.append(f"{world.clock.monotonic():.6f} {change.key} {change.revision}")
        )
        manager = world.manager(elect=True)
        manager.informer(CONFIG_MAP)
        world.fault(probability=0.3, spread=3.0)
        world.fault(verb="update", probability=0.2, cut="after")
        try:
            async with world.running(manager):
                for number in range(20):
                    world.server.create(config_map(f"x{number}"))
                    await world.sleep(world.rng.uniform(0, 10))
        except LeaseLost:
            done.append("lost")

    simulate(play, seed=seed)
    return done


def test_a_seed_repeats_everything() -> None:
    first, again, other = trace(1), trace(1), trace(2)
    assert len(first) > 40
    for number, (one, two) in enumerate(itertools.zip_longest(first, again)):
        assert one == two, number
    assert first != other


def defined(plural: str, kind: str) -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return definition(kind, "example.com", schema, names={"plural": plural})


def box(kind: str = "Box") -> Object:
    return {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"namespace": NAMESPACE, "name": "a"}}


def test_what_a_definition_defines_can_be_there_from_the_start() -> None:
    async def play(world: Simulation) -> None:
        boxes = Resource("example.com", "v1", "boxes", "Box")
        assert world.server.find(boxes, key("a")) is not None
        with pytest.raises(StatusError) as caught:
            world.server.create(box("Crate"))
        assert caught.value.__notes__ == ["this server does not serve Crate of example.com/v1"]
        with pytest.raises(ValueError, match=r"others\.example\.com is not served: .*already in use"):
            await world.create(defined("others", "Box"))
        await world.create(defined("crates", "Crate"))
        assert await world.create(box("Crate")) == world.server.find(
            replace(boxes, plural="crates"), key("a")
        )

    simulate(play, defined("boxes", "Box"), box())


def test_waiting_in_vain_says_so_and_names_who_has_ended() -> None:
    async def play(world: Simulation) -> None:
        async def fails() -> None:
            raise LookupError("a bug")

        manager = world.manager()
        manager.add_runnable("broken", fails)
        async with world.running(manager, world.manager()):
            await world.until(lambda: False, within=60)

    with pytest.raises(TimeoutError, match="has not come true in 60 virtual seconds") as caught:
        simulate(play)
    assert caught.value.__notes__ == ["a manager had ended: LookupError('a bug')"]


def test_a_manager_that_fails_is_no_secret() -> None:
    async def play(world: Simulation) -> None:
        async def fails() -> None:
            raise LookupError("a bug")

        manager = world.manager()
        manager.add_runnable("broken", fails)
        async with world.running(manager):
            await world.sleep(10)

    with pytest.raises(LookupError, match="a bug"):
        simulate(play)


class Eager:
    async def reconcile(self, _: ObjectKey) -> Result:
        return Result.after(0)


def test_what_never_waits_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_TURNS", 1000)

    async def play(world: Simulation) -> None:
        manager = world.manager()
        controller = Controller("eager", Eager())
        controller.watches(manager.informer(CONFIG_MAP))
        manager.add(controller)
        async with world.running(manager):
            await world.sleep(10)

    with pytest.raises(VirtualStandstill, match="something never waits"):
        simulate(play, config_map("a"))


def test_a_selection_is_a_cache_of_its_own() -> None:
    async def play(world: Simulation) -> None:
        manager = world.manager(preflight=True)
        everything = manager.informer(CONFIG_MAP)
        wanted = manager.informer(CONFIG_MAP, label_selector="wanted=yes")
        headers = manager.informer(CONFIG_MAP, field_selector="metadata.name=b", metadata_only=True)
        assert manager.informer(CONFIG_MAP, label_selector="wanted=yes") is wanted
        assert len({id(one) for one in (everything, wanted, headers)}) == 3
        async with world.running(manager):
            await world.sleep(10)
            edit(world, "b", "2")
            world.server.edit(CONFIG_MAP, key("a"), lambda obj: labelled(obj, wanted="yes"))
            await world.sleep(1)
            assert [len(one) for one in (everything, wanted, headers)] == [2, 1, 1]
            assert value(wanted.get(key("a"))) == "1"
            header = headers.get(key("b"))
            assert header is not None and "data" not in header.object()
            text = manager.metrics.render().decode()
            findings = manager.ready.findings() + manager.live.findings()
            assert {one.name: one.problem for one in findings if one.problem} == {}
        for selector in ("", "wanted=yes", "metadata.name=b metadata only"):
            series = f'informer_objects{{namespaces="",resource="configmaps",selector="{selector}"}}'
            assert f"{series} {2.0 if not selector else 1.0}" in text

    simulate(play, config_map("a", x="1"), config_map("b", x="1"))


def labelled(obj: Object, **labels: str) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


class Copies:
    """A plain reconciler, which writes by way of the loop."""

    def __init__(self, world: Simulation, manager: Manager, pause: float = 0.0) -> None:
        self._world, self._client, self._pause = world, manager.client, pause
        self._events = manager.events
        self.maps = manager.informer(CONFIG_MAP)
        self.calls: list[tuple[float, str]] = []

    def reconcile(self, key: ObjectKey) -> Result:
        assert threading.current_thread() is not threading.main_thread()
        # Longer than virtual time takes to leap.
        time.sleep(0.001)
        self.calls.append((self._world.clock.time(), key.name))
        view = self.maps.get(key)
        if view is None:
            return Result.done()
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {**key._asdict()}}
        block_on(self._write(secret))
        self._events.event(view.object(), type="Normal", reason="Copied", action="Copy", note="done")
        return Result.after(3600)

    async def _write(self, secret: Object) -> None:
        await asyncio.sleep(self._pause)
        await self._client.apply(SECRET, secret, field_manager="test")


def copying(world: Simulation, pause: float = 0.0) -> tuple[Manager, Copies]:
    manager = world.manager()
    copies = Copies(world, manager, pause)
    controller = Controller("copies", copies)
    controller.watches(copies.maps)
    manager.add(controller)
    return manager, copies


def test_no_time_passes_while_a_plain_reconciler_works() -> None:
    def played() -> list[tuple[float, str]]:
        calls: list[tuple[float, str]] = []

        async def play(world: Simulation) -> None:
            began = world.clock.time()
            manager, copies = copying(world)
            async with world.running(manager):
                await world.sleep(3 * 3600 + 60)
            calls.extend((at - began, name) for at, name in copies.calls)
            assert {obj["metadata"]["name"] for obj in world.server.all(SECRET)} == {"a", "b", "c"}
            (event,) = (one for one in world.server.all(EVENT) if one["regarding"]["name"] == "a")
            assert event["reason"] == "Copied"

        simulate(play, *(config_map(name) for name in "abc"), seed=1)
        return calls

    calls = played()
    assert [name for _, name in sorted(calls)] == [name for _, name in calls]
    for hour in range(4):
        assert len([at for at, _ in calls if hour * 3600 <= at < hour * 3600 + 5]) == 3
    assert played() == calls


def test_what_a_plain_reconciler_waits_for_ends_with_its_deadline(caplog: pytest.LogCaptureFixture) -> None:
    async def play(world: Simulation) -> None:
        manager, copies = copying(world, pause=100)
        async with world.running(manager):
            await world.sleep(90)
            assert len(copies.calls) == 2, "a deadline of 60 s has passed once"
        assert not list(world.server.all(SECRET))

    simulate(play, config_map("a"))
    assert "the reconcile took longer than 60 s" in caplog.text


def test_an_object_nobody_can_place_is_refused() -> None:
    async def play(world: Simulation) -> None:
        lost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
        with pytest.raises(StatusError) as caught:
            world.server.create(lost)
        assert caught.value.__notes__ == ["configmaps are namespaced, and metadata.namespace is not set"]
        client = world.client()
        for write in (client.create(CONFIG_MAP, lost), client.apply(CONFIG_MAP, lost, field_manager="test")):
            with pytest.raises(ValueError, match="namespace is not set"):
                await write
        with pytest.raises(TypeError, match=r"such as \['default'\]"):
            world.manager().informer(CONFIG_MAP, namespaces="default")

    simulate(play)


def test_conditions_may_be_coroutines() -> None:
    async def play(world: Simulation) -> None:
        client = world.client()

        async def deleted() -> bool:
            return not (await client.list(CONFIG_MAP)).items

        asyncio.get_running_loop().call_later(10, world.server.delete, CONFIG_MAP, key("a"))
        await world.until(deleted)
        assert 10 <= world.clock.monotonic() < 11

    simulate(play, config_map("a"))


def test_a_seed_repeats_back_offs_of_controllers_that_say_nothing_of_chance() -> None:
    def failures(seed: int) -> list[float]:
        times: list[float] = []

        async def play(world: Simulation) -> None:
            class Fails:
                async def reconcile(self, _: ObjectKey) -> Result:
                    times.append(world.clock.monotonic())
                    raise LookupError

            manager = world.manager()
            controller = Controller("fails", Fails())
            controller.watches(manager.informer(CONFIG_MAP))
            manager.add(controller)
            async with world.running(manager):
                await world.sleep(60)

        simulate(play, config_map("a"), seed=seed)
        return times

    assert failures(1) == failures(1) != failures(2)


def test_an_informer_the_manager_does_not_run_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def play(world: Simulation) -> None:
        manager, other = world.manager(), world.manager()
        controller = Controller("waits", Eager())
        controller.watches(manager.informer(CONFIG_MAP))
        controller.watches(other.informer(SECRET))
        manager.add(controller)
        async with world.running(manager):
            await world.sleep(1)

    simulate(play)
    (record,) = (one for one in caplog.records if "does not belong to this manager" in one.getMessage())
    assert (vars(record)["controller"], vars(record)["resource"]) == ("waits", "secrets")
