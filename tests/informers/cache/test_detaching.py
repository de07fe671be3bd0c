"""Informers that are no longer wanted, and handlers."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from informers.cache.budget import Budget
from informers.cache.informer import Delta, Informer
from informers.controller.gate import GatedInformer
from informers.controller.reads import Reads
from informers.errors import Detached
from informers.objects import ObjectKey
from informers.testing.clock import run_virtual
from tests.informers.watch.running import informer_of, running, until
from tests.informers.watch.server import Server

KEY = ObjectKey("a", "one")


def test_a_detached_informer_ends_its_watch_and_lets_go_of_everything() -> None:
    async def scenario() -> None:
        server, budget = Server(), Budget(1)
        server.put("one")
        informer = informer_of(server, budget=budget)
        heard: list[Delta] = []
        informer.add_handler(heard.append)
        task = asyncio.ensure_future(informer.run())
        await informer.wait_synced()
        heard.clear()
        inside = [weakref.ref(scope) for scope in informer._every_scope]
        assert budget.used
        informer.detach()
        informer.detach()
        await task
        assert (len(informer), informer.cache_size().total, budget.used) == (0, 0, 0)
        gc.collect()
        assert [one() for one in inside] == [None]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        asked = len(server.seen)
        server.remove("one")
        server.cut()
        await asyncio.sleep(1000)
        assert len(server.seen) == asked
        assert heard == []
        # Running it once more is over at once.
        await informer.run()
        assert len(server.seen) == asked

    run_virtual(scenario())


@pytest.mark.parametrize(
    "ask",
    [
        lambda one: one.get(KEY),
        lambda one: one.list(),
        lambda one: one.list("a"),
        lambda one: one.by_index("all", "x"),
        lambda one: one.add_handler(print),
        lambda one: one.last_contact_age(),
        lambda one: one.health(),
    ],
)
@pytest.mark.parametrize("namespaces", [(), ("a", "b")])
def test_whoever_asks_a_detached_informer_is_told(
    ask: Callable[[Informer], Any], namespaces: tuple[str, ...]
) -> None:
    async def scenario() -> None:
        informer = informer_of(Server(), indexes={"all": lambda _: ["x"]}, namespaces=namespaces)
        ask(informer)
        informer.detach()
        with pytest.raises(Detached, match="pods was detached"):
            ask(informer)
        assert not informer.synced
        # The write it tells of was not wrong.
        informer.written({"metadata": {"name": "one", "namespace": "a", "resourceVersion": "9"}})

    run_virtual(scenario())


def test_who_waits_for_an_informer_that_is_detached_is_told() -> None:
    async def scenario() -> None:
        informer = informer_of(Server())
        waiting = asyncio.ensure_future(informer.wait_synced())
        await asyncio.sleep(0)
        informer.detach()
        with pytest.raises(Detached):
            await waiting

    run_virtual(scenario())


def test_a_gate_opens_for_who_has_read_it() -> None:
    async def scenario() -> None:
        server = Server()
        server.put("one")
        informer = informer_of(server)
        reads = Reads()
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await informer.wait_synced()
            view = GatedInformer(informer).get(KEY)
            assert view is not None
            reads.note(reads.before(informer), KEY, (view.uid, view.resource_version))
            assert reads.unmoved()
            informer.detach()
        assert not reads.unmoved()

    run_virtual(scenario())


def test_a_removed_handler_hears_nothing_more_and_others_miss_nothing() -> None:
    async def scenario() -> None:
        server = Server()
        informer = informer_of(server)
        heard: dict[str, list[str]] = {"first": [], "leaving": [], "last": []}

        def hear(name: str) -> Callable[[Delta], None]:
            def handler(delta: Delta) -> None:
                assert delta.new is not None
                heard[name].append(delta.new.key.name)
                if name == "leaving":
                    informer.remove_handler(handler)

            return handler

        for name in heard:
            informer.add_handler(hear(name))
        async with running(informer):
            server.put("one")
            await until(lambda: heard["last"])
            server.put("two")
            await until(lambda: len(heard["last"]) == 2)
        assert heard == {"first": ["one", "two"], "leaving": ["one"], "last": ["one", "two"]}
        with pytest.raises(ValueError, match="not in list"):
            informer.remove_handler(print)

    run_virtual(scenario())
