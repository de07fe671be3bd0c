"""What never comes to rest is found, named, told once; and what is merely busy is left alone."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from informers.apiserver.core import ApiServer
from informers.client import Client
from informers.controller import Controller
from informers.controller.loops import Finding, Kind, LoopDetector, judge
from informers.controller.versions import changes, owners, text
from informers.metrics import Metrics
from informers.objects import Object, ObjectKey, Result
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.informers.manager.operator import (
    CONFIG_MAP,
    EVENT,
    Operator,
    config_map,
    key,
    operator,
    server,
    started,
    until,
)


def test_differences_are_named_as_people_name_them() -> None:
    old = {
        "metadata": {"resourceVersion": "1", "labels": {"a": "1"}},
        "spec": {"replicas": 1, "args": ["x", "y"], "gone": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "True"}]},
    }
    new = {
        "metadata": {"resourceVersion": "2", "labels": {"a": "2"}},
        "spec": {"replicas": 2, "args": ["x", "z"]},
        "status": {"conditions": [{"type": "Old", "status": "True"}, {"type": "Ready", "status": "False"}]},
    }
    assert {text(path): value for path, value in changes(old, new).items()} == {
        "metadata.labels.a": '"2"',
        "spec.replicas": "2",
        "spec.args[1]": '"z"',
        "spec.gone": "",
        "status.conditions[Ready].status": '"False"',
    }
    assert changes(old, old) == {}


@pytest.mark.parametrize("limit", [0, 255])
def test_a_limit_that_cannot_be_counted_to_is_refused(limit: int) -> None:
    client = Client(ApiServerTransport(ApiServer(VirtualClock())))
    with pytest.raises(ValueError, match="does not fit"):
        LoopDetector(client, own="x", clock=VirtualClock(), metrics=Metrics(), limit=limit)


def test_owners_are_read_from_managed_fields() -> None:
    fields: list[Object] = [
        {"manager": "one", "time": "1", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {
            "manager": "two",
            "time": "2",
            "fieldsV1": {"f:spec": {"f:selector": {}, "f:args": {".": {}, 'v:"x"': {}}}},
        },
        {
            "manager": "three",
            "time": "2",
            "fieldsV1": {"f:status": {"f:conditions": {'k:{"type":"Ready"}': {".": {}, "f:status": {}}}}},
        },
    ]
    obj = {"metadata": {"managedFields": fields}}
    assert owners(obj, ("spec", "replicas")) == {"one"}
    assert owners(obj, ("spec", "selector", "app")) == {"two"}, "owned as a whole"
    assert owners(obj, ("spec", "args", "[0]")) == {"two"}
    assert owners(obj, ("status", "conditions", "[Ready]", "status")) == {"three"}
    assert owners(obj, ("spec", "removed")) == {"two", "three"}, "who wrote last"
    assert owners({"metadata": {}}, ("spec",)) == set()
    # A mapping whose last member was taken over looks like one that is owned as a whole.
    fields.append({"manager": "four", "time": "0", "fieldsV1": {"f:spec": {}}})
    assert owners(obj, ("spec", "replicas")) == {"one"}
    assert owners(obj, ("spec", "new")) == {"four"}


def history(*steps: tuple[str, Any]) -> list[Object]:
    """Versions of an object whose field ``spec.x`` a manager sets to a value, step by step."""
    return [
        {
            "metadata": {"managedFields": [{"manager": manager, "fieldsV1": {"f:spec": {"f:x": {}}}}]},
            "spec": {"x": value},
        }
        for manager, value in steps
    ]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        (
            history(*[("us/a", 1), ("kubectl", 2)] * 4),
            Finding(Kind.CONFLICT, ("spec.x",), ("kubectl", "us/a")),
        ),
        (history(*[("us", number) for number in range(9)]), Finding(Kind.HOT_LOOP, ("spec.x",), ("us",))),
        (
            history(*[("us/a", number % 2) for number in range(9)]),
            Finding(Kind.HOT_LOOP, ("spec.x",), ("us/a",)),
        ),
        (history(*[("kube-apiserver", 1), ("kube-controller-manager", 2)] * 4), None),
        (history(*[("usher", number) for number in range(9)]), None),
        (history(*[("us", 1), ("us", 2), ("us", 2), ("us", 2), ("us", 2), ("us", 2), ("us", 2)]), None),
        (history(("us", 1)), None),
        ([], None),
    ],
    ids=[
        "two managers",
        "ticks",
        "flips",
        "two others",
        "somebody else's",
        "came to rest",
        "one version",
        "nothing",
    ],
)
def test_judgement(versions: list[Object], expected: Finding | None) -> None:
    assert judge(versions, lambda name: name == "us" or name.startswith("us/"), loops=True) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "Ready"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "name", "type"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(old=JSON, new=JSON)
def test_differences_are_found_exactly_where_there_are_some(old: Any, new: Any) -> None:
    before, after = {"spec": old}, {"spec": new}
    found = changes(before, after)
    assert changes(before, before) == {}
    if old == new:
        assert found == {}
    assert {text(path) for path in found} == {text(path) for path in changes(after, before)}
    for path in found:
        assert path[0] == "spec"
    if not found:
        assert same(old, new)


def same(one: Any, other: Any) -> bool:
    """Equal, where lists whose items have names may be in any order."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def steps_of(*managers: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(managers), st.integers(0, 4)), max_size=12)


# Among all of them we are hardly ever alone.
STEPS = steps_of("us", "us/a", "kubectl", "gitops") | steps_of("us", "us/a")


@given(steps=STEPS, loops=st.booleans())
@example(steps=[("us", number) for number in range(9)], loops=True)
@example(steps=[("us", number) for number in range(9)], loops=False)
@example(steps=[("us", 1), ("kubectl", 2)] * 4, loops=False)
def test_only_what_the_versions_show_is_judged(steps: list[tuple[str, int]], loops: bool) -> None:
    finding = judge(history(*steps), lambda name: name.startswith("us"), loops=loops)
    moves = [(manager, now) for (_, before), (manager, now) in pairwise(steps) if before != now]
    if finding is None:
        # Where loops are looked for, we find it when only we write, and something new every time.
        alone = all(name.startswith("us") for name, _ in steps)
        assert not (loops and alone and len(moves) == len(steps) - 1 >= 3)
        return
    assert finding.fields == ("spec.x",)
    assert len(moves) >= 3
    assert set(finding.managers) == {manager for manager, _ in moves}
    if finding.kind is Kind.CONFLICT:
        assert len(finding.managers) > 1
        assert any(name.startswith("us") for name in finding.managers)
        assert len({value for _, value in moves}) < len(moves), "something came back"
    else:
        assert loops
        assert all(name.startswith("us") for name in finding.managers)


class Restless:
    """Writes a serial number whenever it is called: its own event calls it again."""

    def __init__(self, client: Client, most: int = 10_000) -> None:
        self.client = client
        self.calls = 0
        self.most = most

    async def reconcile(self, key: ObjectKey) -> Result:
        self.calls += 1
        await asyncio.sleep(0.05)
        if self.calls <= self.most:
            patch = {"metadata": {"annotations": {"touched": str(self.calls)}}}
            await self.client.patch(CONFIG_MAP, key, patch, field_manager="copier/restless")
        return Result.done()


def told(core: ApiServer) -> list[tuple[str, str]]:
    """Reason and note of every event that is a finding."""
    wanted = {kind.value for kind in Kind}
    return [(one["reason"], one["note"]) for one in core.all(EVENT) if one["reason"] in wanted]


def count(one: Operator, reason: Kind) -> float:
    lines = one.metrics.render().decode().splitlines()
    start = f'controller_loops_detected_total{{reason="{reason}",resource="configmaps"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_a_hot_loop_is_found_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with server(config_map("a", x="1"), config_map("b")) as core:
            one = operator(core)
            restless = Restless(one.manager.client)
            loop = Controller("restless", restless, clock=VirtualClock())
            loop.watches(
                one.copier.maps, predicate=lambda delta: delta.new is not None and delta.new.key.name == "a"
            )
            one.manager.add(loop)
            async with started(one):
                await until(lambda: told(core), within=60)
                assert restless.calls < 60
                await asyncio.sleep(120)
                ((reason, note),) = told(core)
                assert reason == "HotLoop"
                assert note.startswith("copier/restless never stops changing metadata.annotations.touched: ")
                assert count(one, Kind.HOT_LOOP) == 1

    with caplog.at_level(logging.WARNING, "informers"):
        run_virtual(main())
    (record,) = (r for r in caplog.records if "never stops changing" in r.message)
    assert record.message.startswith("ConfigMap default/a: ")
    assert record.__dict__["fields"] == "metadata.annotations.touched"


def test_two_managers_that_flip_a_field_are_both_named() -> None:
    async def main() -> None:
        async with server(config_map("a", colour="red")) as core:
            one = operator(core)
            rival = Client(ApiServerTransport(core), clock=VirtualClock())

            async def paint(colour: str, manager: str) -> None:
                await rival.apply(
                    CONFIG_MAP, config_map("a", colour=colour), field_manager=manager, force=True
                )

            async with started(one):
                await until(one.has_begun)
                for _ in range(20):
                    await paint("red", "gitops")
                    # The answer comes at once: whoever looked only now and then would see one of the two.
                    await paint("blue", "copier/painter")
                    await asyncio.sleep(5)
                ((reason, note),) = told(core)
                assert reason == "FieldConflict"
                assert note.startswith("copier/painter and gitops change data.colour back and forth: ")
                assert count(one, Kind.CONFLICT) == 1

    run_virtual(main())


def test_two_others_that_take_turns_are_left_alone() -> None:
    async def main() -> None:
        async with server(config_map("a", ours="1")) as core:
            one = operator(core)
            client = Client(ApiServerTransport(core), clock=VirtualClock())

            async def write(manager: str, **data: str) -> None:
                await client.apply(CONFIG_MAP, config_map("a", **data), field_manager=manager, force=True)

            async with started(one):
                await until(one.has_begun)
                # Something of the object is ours, as the spec of a disruption budget is.
                await write("copier/painter", ours="2")
                for _ in range(20):
                    await write("kube-apiserver", allowed="0")
                    await write("kube-controller-manager", allowed="1")
                    await asyncio.sleep(5)
                assert told(core) == []

    run_virtual(main())


def edit(core: ApiServer, name: str, value: str, manager: str) -> None:
    """Write a value into a ConfigMap."""
    core.edit(CONFIG_MAP, key(name), lambda obj: {**obj, "data": {"n": value}}, manager=manager)


def test_busy_objects_of_others_and_a_calm_crowd_are_left_alone() -> None:
    async def main() -> None:
        crowd = [config_map(f"x{number}") for number in range(300)]
        async with server(config_map("a"), *crowd) as core:
            one = operator(core)
            async with started(one):
                await until(one.has_begun)
                for number in range(100):
                    edit(core, "a", str(number), "rollout")
                    for other in crowd[number * 3 : number * 3 + 3]:
                        edit(core, other["metadata"]["name"], "1", "copier")
                    await asyncio.sleep(1)
                await asyncio.sleep(300)
                assert told(core) == []

    run_virtual(main())


def test_a_loop_that_ends_is_forgotten() -> None:
    async def main() -> None:
        async with server(config_map("a")) as core:
            one = operator(core)
            restless = Restless(one.manager.client, most=12)
            loop = Controller("restless", restless, clock=VirtualClock())
            loop.watches(one.copier.maps)
            one.manager.add(loop)
            async with started(one):
                await asyncio.sleep(1_000)
                assert restless.calls == 13
                assert told(core) == []
                # And again: the window has turned meanwhile.
                restless.calls = 0
                loop.enqueue(key("a"))
                await asyncio.sleep(1_000)
                assert told(core) == []

    run_virtual(main())
