"""Whoever replays a watch holds what a list shows, whatever was written and however it was followed."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from informers.apiserver.errors import StatusError
from informers.apiserver.reading.watching import Watch
from informers.objects import Object
from tests.informers.apiserver.served import APPLY, MAPS, MERGE, Served, serving

NAMES = ("a", "b", "c")
SELECTORS = ("", "app=x", "app!=x", "app in (x,y)", "!app")


class Replica:
    """A client's copy of one list, kept up to date by a watch."""

    def __init__(self, served: Served, selector: str) -> None:
        self._served = served
        self._selector = selector
        self.objects: dict[str, Object] = {}
        self._version = ""
        self._watch: Watch | None = None
        self.relist()

    def relist(self) -> None:
        """List anew and watch from there."""
        page = self._served.page(MAPS, labelSelector=self._selector)
        self.objects = {one.key.name: one.obj for one in page.items}
        self._version = page.metadata["resourceVersion"]
        self.reconnect()

    def reconnect(self) -> None:
        """Watch from the last version seen."""
        if self._watch is not None:
            self._watch.close()
        self._watch = self._served.watch(MAPS, labelSelector=self._selector, resourceVersion=self._version)

    async def catch_up(self) -> None:
        """Take every event that is there."""
        assert self._watch is not None
        while True:
            try:
                async with asyncio.timeout(0.01):
                    event = await anext(self._watch, None)
            except TimeoutError:
                return
            if event is None or event.stored is None:
                # Cut, or too far behind: what every client does then.
                self.relist()
                continue
            name = event.stored.key.name
            if event.kind == "DELETED":
                del self.objects[name]
            else:
                assert (event.kind == "ADDED") is (name not in self.objects)
                obj = event.stored.obj
                self.objects[name] = {key: obj[key] for key in obj if key not in ("kind", "apiVersion")}
            self._version = event.stored.obj["metadata"]["resourceVersion"]


_labels = st.sampled_from([None, {"app": "x"}, {"app": "y"}])
_value = st.sampled_from(["1", "2"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(NAMES), _labels, _value),
        st.tuples(st.just("update"), st.sampled_from(NAMES), _labels, _value),
        st.tuples(st.just("apply"), st.sampled_from(NAMES), _labels, _value),
        st.tuples(st.just("hold"), st.sampled_from(NAMES)),
        st.tuples(st.just("free"), st.sampled_from(NAMES)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES)),
        st.tuples(st.just("compact")),
        st.tuples(st.just("reconnect")),
        st.tuples(st.just("catch up")),
        st.tuples(st.just("cut")),
    ),
    max_size=40,
)


def take(served: Served, step: tuple[Any, ...]) -> None:
    """Write; a refusal is as good as a write."""
    kind, name, *rest = step
    path = f"{MAPS}/{name}"
    try:
        if kind == "create":
            served.map(name, {"v": rest[1]}, labels=rest[0] or {})
        elif kind == "update":
            served.ask("PATCH", path, {"metadata": {"labels": rest[0]}, "data": {"v": rest[1]}}, MERGE)
        elif kind == "apply":
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
            body |= {"data": {"v": rest[1]}}
            served.ask("PATCH", path, body, APPLY, fieldManager="m", force=True)
        elif kind == "hold":
            served.ask("PATCH", path, {"metadata": {"finalizers": ["x.io/hold"]}}, MERGE)
        elif kind == "free":
            served.ask("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
        else:
            served.ask("DELETE", path)
    except StatusError:
        pass


@settings(max_examples=60)
@given(steps=STEPS, history=st.sampled_from([2, 5, 1_000]))
def test_a_replica_equals_the_list(steps: list[tuple[Any, ...]], history: int) -> None:
    async def test(served: Served) -> None:
        replicas = {selector: Replica(served, selector) for selector in SELECTORS}
        for step in steps:
            if step[0] == "compact":
                served.core.store.compact()
            elif step[0] == "cut":
                served.core.flow.cut()
            elif step[0] == "reconnect":
                for replica in replicas.values():
                    replica.reconnect()
            elif step[0] == "catch up":
                for replica in replicas.values():
                    await replica.catch_up()
            else:
                take(served, step)
        for selector, replica in replicas.items():
            await replica.catch_up()
            listed = {one.key.name: one.obj for one in served.page(MAPS, labelSelector=selector).items}
            assert replica.objects == listed

    serving(test, history=history)


@settings(max_examples=40)
@given(steps=STEPS, at=st.integers(0, 40))
def test_an_exact_list_is_what_was_listed_then(steps: list[tuple[Any, ...]], at: int) -> None:
    async def test(served: Served) -> None:
        seen: tuple[str, list[Object]] | None = None
        for position, step in enumerate(steps):
            if position == at:
                page = served.page(MAPS)
                seen = page.metadata["resourceVersion"], [one.obj for one in page.items]
            if len(step) > 1:
                take(served, step)
        if seen is not None:
            past = served.page(MAPS, resourceVersion=seen[0], resourceVersionMatch="Exact")
            assert [one.obj for one in past.items] == seen[1]

    serving(test)


@settings(max_examples=40)
@given(steps=STEPS)
def test_only_what_changes_an_object_gives_it_a_version(steps: list[tuple[Any, ...]]) -> None:
    async def test(served: Served) -> None:
        for step in steps:
            if len(step) == 1:
                continue
            before = {one.key: one.obj for one in served.page(MAPS).items}
            revision = served.revision
            take(served, step)
            after = {one.key: one.obj for one in served.page(MAPS).items}
            assert (served.revision == revision) is (before == after)
            for key, obj in after.items():
                known = before.get(key)
                if (
                    known is not None
                    and known["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]
                ):
                    assert known == obj

    serving(test)
