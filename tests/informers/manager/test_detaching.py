"""Watches that come and go while a manager runs."""

from __future__ import annotations

import asyncio
import logging

import pytest

from informers.apiserver.core import ApiServer
from informers.apiserver.faults import FaultRule
from informers.cache.informer import Informer
from informers.controller import Controller
from informers.errors import Detached, RuntimeFault
from informers.manager import Manager
from informers.objects import ObjectKey, Resource, Result
from informers.parts import Kind, Parts
from informers.testing.clock import run_virtual
from tests.hanging import HANGS
from tests.informers.manager.operator import (
    CONFIG_MAP,
    SECRET,
    Operator,
    config_map,
    has_secret,
    key,
    operator,
    server,
    started,
    until,
)

NODE = Resource("", "v1", "nodes", "Node", namespaced=False)


class Looker:
    """Remembers what it saw, and what it could not see."""

    def __init__(self, manager: Manager) -> None:
        self.maps: Informer = manager.informer(CONFIG_MAP, namespaces=["default"])
        self.seen: list[ObjectKey] = []
        self.refused = 0

    async def reconcile(self, key: ObjectKey) -> Result:
        try:
            self.maps.get(key)
        except Detached:
            self.refused += 1
            raise
        self.seen.append(key)
        return Result.done()


def wired(core: ApiServer) -> tuple[Operator, Controller, Looker]:
    one = operator(core, preflight=False)
    looker = Looker(one.manager)
    controller = Controller("looker", looker)
    one.manager.add(controller)
    return one, controller, looker


def watching(core: ApiServer, resource: Resource) -> int:
    return len(core.store.shelf((resource.group, resource.plural)).watchers)


def test_a_watch_can_be_detached_from_a_running_manager() -> None:
    async def main() -> None:
        async with server(config_map("a")) as core:
            one, controller, looker = wired(core)
            source = controller.watches(looker.maps)
            async with started(one):
                await until(lambda: looker.seen == [key("a")] and has_secret(core, "a"))
                assert watching(core, CONFIG_MAP) == 2
                one.manager.detach(looker.maps)
                await asyncio.sleep(1)
                assert watching(core, CONFIG_MAP) == 1
                assert controller.informers == []
                text = one.metrics.render().decode()
                assert 'namespaces="",resource="configmaps"' in text
                assert 'namespaces="default"' not in text
                assert not [name for name in one.problems() if "default" in name]
                # The others go on, and nobody hears of what the detached one watched.
                core.create(config_map("b"))
                await until(lambda: has_secret(core, "b"))
                assert looker.seen == [key("a")]
                with pytest.raises(ValueError, match="does not belong to this manager"):
                    one.manager.detach(looker.maps)
                source.close()
                # What was queued, and reads it, fails instead of finding nothing.
                controller.enqueue(key("a"))
                await until(lambda: looker.refused)

    run_virtual(main(), limit=86_400)


def test_a_watch_can_be_attached_to_a_running_manager_and_again() -> None:
    async def main() -> None:
        async with server(config_map("a")) as core:
            one, controller, looker = wired(core)
            async with started(one):
                await until(lambda: has_secret(core, "a"))
                for _ in range(3):
                    secrets = one.manager.informer(SECRET, namespaces=["default"])
                    assert secrets is one.manager.informer(SECRET, namespaces=["default"])
                    await secrets.wait_synced()
                    looker.seen.clear()
                    controller.watches(secrets)
                    await until(lambda: looker.seen == [key("a")])
                    assert watching(core, SECRET) == 2
                    assert one.problems()["informer/secrets/default"] is None
                    one.manager.detach(secrets)
                    await until(lambda: watching(core, SECRET) == 1)

    run_virtual(main(), limit=86_400)


def test_a_source_can_be_closed_while_its_informer_goes_on() -> None:
    async def main() -> None:
        async with server(config_map("a")) as core:
            one, controller, looker = wired(core)
            source = controller.watches(looker.maps)
            never = controller.watches(one.manager.informer(SECRET))
            never.close()
            async with started(one):
                await until(lambda: looker.seen == [key("a")])
                source.close()
                source.close()
                core.create(config_map("b"))
                await until(lambda: has_secret(core, "b"))
                assert looker.seen == [key("a")]
                assert looker.maps.get(key("b")) is not None
                controller.watches(looker.maps)
                await until(lambda: sorted(looker.seen) == [key("a"), key("a"), key("b")])

    run_virtual(main(), limit=86_400)


def test_a_start_does_not_wait_for_what_was_detached(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with server(config_map("a")) as core:
            one = operator(core)
            nodes = one.manager.informer(NODE)
            core.faults.add(FaultRule(resource="nodes", status=403))
            async with started(one):
                await asyncio.sleep(100)
                assert not has_secret(core, "a")
                assert "nodes: not synced" in caplog.text
                one.manager.detach(nodes)
                await until(lambda: has_secret(core, "a"))

    with caplog.at_level(logging.WARNING, "informers"):
        run_virtual(main(), limit=86_400)


def test_a_part_that_comes_late_and_fails_ends_everything() -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise RuntimeFault("too bad")

    async def main() -> None:
        parts = Parts()
        parts.spawn("for ever", asyncio.sleep(10_000))
        asyncio.get_running_loop().call_later(5, lambda: parts.spawn("late", fail(), Kind.WATCH))
        with pytest.raises(RuntimeFault, match="too bad"):
            async with asyncio.timeout(HANGS):
                await parts.until(None)
        assert await parts.end()

    run_virtual(main())
