"""Read-your-writes against a rival writer and a watch that lags: a model, and the cases one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from informers.cache.informer import Delta, Informer
from informers.cache.overlay import Overlay
from informers.objects import Object, ObjectKey
from informers.testing.clock import run_virtual
from informers.views.view import View, view_of_object
from tests.informers.watch.running import informer_of, running, until
from tests.informers.watch.server import Server

ENDING = "2027-01-15T08:00:00Z"


def key_of(name: str) -> ObjectKey:
    return ObjectKey("a", name)


def identity(obj: Object | None) -> tuple[str, str] | None:
    return (obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]) if obj is not None else None


def shown(view: View | None) -> tuple[str, str] | None:
    return (view.uid, view.resource_version) if view is not None else None


@asynccontextmanager
async def observed(server: Server, **options: Any) -> AsyncIterator[tuple[Informer, list[Delta]]]:
    """An informer that runs, and the deltas its handler was called with."""
    informer = informer_of(server, **options)
    deltas: list[Delta] = []
    informer.add_handler(deltas.append)
    async with running(informer):
        yield informer, deltas


@dataclass
class Model:
    """Every state each object ever had, and how far a reader may not fall behind."""

    server: Server
    informer: Informer
    history: dict[str, list[tuple[str, str] | None]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    def record(self, name: str) -> None:
        self.history.setdefault(name, [None]).append(identity(self.server.objects.get(key_of(name))))

    def own(self, name: str, answer: Object) -> None:
        self.record(name)
        self.informer.written(answer)
        self.seen[name] = len(self.history[name]) - 1

    def check(self) -> None:
        """What is shown is a state the object had, not older than our last write nor than what we saw."""
        for name, states in self.history.items():
            state = shown(self.informer.get(key_of(name)))
            at = max((index for index, one in enumerate(states) if one == state), default=None)
            assert at is not None, f"{name}: {state} never was"
            assert at >= self.seen.get(name, 0), f"{name}: {state}, after {states[self.seen[name]]}"
            first = next(i for i, one in enumerate(states) if one == state and i >= self.seen.get(name, 0))
            self.seen[name] = first
            assert state == shown(
                next((view for view in self.informer.list() if view.key.name == name), None)
            )
            assert state == shown(next(iter(self.informer.by_index("name", name)), None))
            in_namespace = [view for view in self.informer.list("a") if view.key.name == name]
            assert [state] == [shown(view) for view in in_namespace] or (state is None and not in_namespace)
            assert list(self.informer.list("b")) == []


def apply(model: Model, action: str, name: str) -> None:
    server, exists = model.server, key_of(name) in model.server.objects
    if action == "own write":
        model.own(name, server.put(name))
    elif action == "rival write":
        server.put(name)
        model.record(name)
    elif action == "rival deletion" and exists:
        server.remove(name)
        model.record(name)
    elif action == "own ending" and exists:
        # The last finalizer goes: the answer still has the version of the object before its end.
        last = server.objects[key_of(name)]
        server.remove(name)
        model.own(name, {**last, "metadata": {**last["metadata"], "deletionTimestamp": ENDING}})


ACTIONS = st.tuples(
    st.sampled_from(
        ["own write", "rival write", "rival deletion", "own ending", "deliver", "bookmark", "cut", "relist"]
    ),
    st.sampled_from("xxy"),
)


@settings(max_examples=100)
@given(st.lists(ACTIONS, min_size=10, max_size=30))
def test_no_reader_ever_falls_behind_its_own_writes(actions: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        server = Server()
        server.released = server.version
        async with observed(server, indexes={"name": lambda view: [view.key.name]}) as (informer, deltas):
            model = Model(server, informer)
            for action, name in actions:
                if action == "deliver":
                    assert server.released is not None
                    server.release(min(server.version, server.released + 1))
                elif action == "bookmark":
                    server.bookmark()
                elif action == "cut":
                    server.cut()
                elif action == "relist":
                    server.cut()
                    server.compact()
                else:
                    apply(model, action, name)
                model.check()
                await asyncio.sleep(0.5)
                model.check()
            server.release(None)
            await asyncio.sleep(200)
            model.check()
            truth = {key: identity(obj) for key, obj in server.objects.items()}
            assert {view.key: shown(view) for view in informer.list()} == truth
            assert replayed(deltas) == truth
            assert nothing_left(informer)

    run_virtual(scenario())


def test_the_end_of_an_object_outlives_the_end_of_its_predecessor() -> None:
    async def scenario() -> None:
        server = Server()
        server.put("x")
        server.released = server.version
        informer = informer_of(server, indexes={"name": lambda view: [view.key.name]})
        async with running(informer):
            model = Model(server, informer)
            for action in ("rival deletion", "rival write", "own ending"):
                apply(model, action, "x")
            for version in range(server.released, server.version + 1):
                server.release(version)
                await asyncio.sleep(0.5)
                model.check()

    run_virtual(scenario())


def nothing_left(informer: Informer) -> bool:
    return not any(scope._overlay for scope in informer._scopes.values())


def test_readers_do_not_pay_for_what_is_on_its_way() -> None:
    """A watch that lags leaves thousands of answers to be shown; they are filed when they come and go."""

    async def scenario() -> None:
        server = Server()
        filed = 0

        def team(view: View) -> list[str]:
            nonlocal filed
            filed += 1
            return [view.labels.get("team", "none")]

        informer = informer_of(server, indexes={"team": team})
        async with running(informer):
            server.released = server.version
            for number in range(30):
                for name in ("red", "blue"):
                    informer.written(server.put(f"{name}-{number}", metadata={"labels": {"team": name}}))
            informer.written(server.put("red-0", metadata={"labels": {"team": "blue"}}))
            before = filed
            for _ in range(10):
                assert len(informer.by_index("team", "red")) == 29
                assert len(informer.by_index("team", "blue")) == 31
                assert informer.by_index("team", "none") == []
            assert filed == before
            server.release(None)
            await until(lambda: nothing_left(informer))
            assert len(informer.by_index("team", "blue")) == 31

    run_virtual(scenario())


def test_a_bookmark_is_a_word_about_every_key() -> None:
    async def scenario() -> None:
        server = Server()
        server.put("x")
        informer = informer_of(server, label_selector="app=web")
        async with running(informer):
            # A write that takes the object out of the selector, on a server that says no word of it.
            server.released = server.version
            informer.written(server.put("x"))
            assert not nothing_left(informer)
            server._log.clear()
            server.release(None)
            server.bookmark()
            await asyncio.sleep(1)
            assert informer.get(key_of("x")) is not None
            assert nothing_left(informer)

    run_virtual(scenario())


def test_handlers_read_their_own_writes_in_the_middle_of_a_batch() -> None:
    async def scenario() -> None:
        server = Server()
        server.released = server.version
        informer = informer_of(server)
        read: list[View | None] = []
        async with running(informer):
            informer.add_handler(lambda _: read.append(informer.get(key_of("mine"))))
            server.put("rival's")
            informer.written(server.put("mine"))
            server.release(None)
            await until(lambda: len(read) == 2)
            assert all(read)

    run_virtual(scenario())


def test_an_answer_that_comes_late_changes_nothing() -> None:
    async def scenario() -> None:
        server = Server()
        informer = informer_of(server)
        async with running(informer):
            first, second = server.put("x"), server.put("x")
            third = server.put("x")
            server.remove("x")
            server.released = server.version
            gone, later = server.put("y"), server.put("y")
            await until(lambda: len(server.seen) and informer.get(key_of("x")) is None)
            await asyncio.sleep(1)
            for answer in (first, second, third):
                informer.written(answer)
                assert informer.get(key_of("x")) is None, "a deletion that was seen is not undone"
            informer.written({**third, "metadata": {**third["metadata"], "deletionTimestamp": ENDING}})
            assert nothing_left(informer)
            informer.written(later)
            informer.written(gone)
            assert shown(informer.get(key_of("y"))) == identity(later), "the newer of two answers counts"

    run_virtual(scenario())


def test_a_server_restored_from_a_backup_voids_the_overlay() -> None:
    async def scenario() -> None:
        server = Server()
        server.put("x")
        server.version = 5000
        server.released = server.version
        informer = informer_of(server)
        async with running(informer):
            server.put("other")
            server.release(server.version)
            await until(lambda: len(informer.list()) == 2)
            informer.written(server.put("lost"))
            assert len(informer.list()) == 3
            server.remove("lost")
            server.compact()
            server.cut()
            server.version, server.compacted = 3000, 3000
            server.compacted = 5500
            await until(lambda: len(informer.list()) == 2)

    run_virtual(scenario())


def replayed(deltas: list[Delta]) -> dict[ObjectKey, Any]:
    """The state that deltas add up to; each must begin where the last one ended, and an end comes once."""
    state: dict[ObjectKey, tuple[str, str]] = {}
    ended: set[str] = set()
    for old, new, _ in deltas:
        view = new or old
        assert view is not None
        if new is None:
            assert view.uid not in ended
            ended.add(view.uid)
        before = state.get(view.key)
        if old is not None and new is not None:
            assert before == shown(old)
        elif old is not None and before is not None:
            assert before[0] == old.uid
        elif new is not None:
            assert before is None
        now = shown(new)
        if now is None:
            state.pop(view.key, None)
        else:
            state[view.key] = now
    return state


def test_opaque_versions_switch_it_off() -> None:
    async def scenario() -> None:
        server = Server()
        obj = server.put("x")
        informer = informer_of(server)
        async with running(informer):
            informer.written({**obj, "metadata": {**obj["metadata"], "resourceVersion": "opaque"}})
            assert shown(informer.get(key_of("x"))) == identity(obj)
            informer.written({**obj, "metadata": {**obj["metadata"], "resourceVersion": "999999"}})
            assert shown(informer.get(key_of("x"))) == identity(obj)

    run_virtual(scenario())


def test_a_pod_in_its_grace_period_is_still_there() -> None:
    async def scenario() -> None:
        server = Server()
        server.put("x")
        server.released = server.version
        informer = informer_of(server)
        async with running(informer):
            ending = {"deletionTimestamp": ENDING, "deletionGracePeriodSeconds": 30}
            informer.written(server.put("x", metadata=ending))
            view = informer.get(key_of("x"))
            assert view is not None and view.deleting
            now = {"deletionTimestamp": ENDING, "deletionGracePeriodSeconds": 0}
            informer.written(server.put("x", metadata=now))
            assert informer.get(key_of("x")) is None

    run_virtual(scenario())


def test_an_object_that_came_and_went_in_a_gap_is_reported_gone() -> None:
    async def scenario() -> None:
        server = Server()
        server.released = server.version
        async with observed(server) as (informer, deltas):
            informer.written(server.put("x"))
            assert informer.get(key_of("x")) is not None
            server.remove("x")
            server.cut()
            server.compact()
            await until(lambda: deltas)
            assert informer.get(key_of("x")) is None
            assert [(d.old.key.name if d.old else None, d.new) for d in deltas] == [("x", None)]

    run_virtual(scenario())


def test_an_object_that_was_written_and_went_in_a_gap_ends_once() -> None:
    async def scenario() -> None:
        server = Server()
        server.put("x")
        async with observed(server) as (informer, deltas):
            server.released = server.version
            informer.written(server.put("x"))
            server.remove("x")
            server.put("y")
            server.cut()
            server.compact()
            await until(lambda: key_of("y") in replayed(deltas))
            assert informer.get(key_of("x")) is None
            assert [d.old.name for d in deltas if d.old is not None] == ["x"]

    run_virtual(scenario())


def test_an_object_the_stream_passes_over_is_reported_gone_once() -> None:
    """The server was restored from a backup without it, and its watches went on."""

    async def scenario() -> None:
        server = Server()
        async with observed(server) as (informer, deltas):
            server.released = server.version
            informer.written(server.put("lost"))
            server._log.clear()
            for name in ("one", "two", "three"):
                server.put(name)
            server.release(None)
            await until(lambda: key_of("three") in replayed(deltas))
            assert [d.old.name for d in deltas if d.old is not None] == ["lost"]

    run_virtual(scenario())


def test_what_a_bookmark_takes_away_is_another_state() -> None:
    """Who has read one revision may believe that equal readings mean equal answers."""

    async def scenario() -> None:
        server = Server()
        informer = informer_of(server)
        async with running(informer):
            server.released = server.version
            informer.written(server.put("lost"))
            server._log.clear()
            assert informer.get(key_of("lost")) is not None
            before = informer.revision
            server.release(None)
            server.bookmark()
            await asyncio.sleep(1)
            assert informer.revision != before
            assert informer.get(key_of("lost")) is None

    run_virtual(scenario())


def test_a_selector_is_not_second_guessed() -> None:
    async def scenario() -> None:
        server = Server()
        informer = informer_of(server, label_selector="app=web")
        async with running(informer):
            server.released = server.version
            informer.written(server.put("x"))
            assert informer.get(key_of("x")) is None

    run_virtual(scenario())


def test_handlers_do_not_see_the_overlay() -> None:
    async def scenario() -> None:
        server = Server()
        server.released = server.version
        async with observed(server) as (informer, deltas):
            informer.written(server.put("x"))
            late: list[Delta] = []
            informer.add_handler(late.append)
            await asyncio.sleep(1)
            assert deltas == late == []
            server.release(None)
            await until(lambda: deltas and late)

    run_virtual(scenario())


def test_a_list_from_before_a_deletion_does_not_bring_the_object_back() -> None:
    def seen(uid: str, version: str) -> View:
        meta = {"namespace": "a", "name": "x", "uid": uid, "resourceVersion": version}
        view = view_of_object({"metadata": meta})
        assert view is not None
        return view

    overlay = Overlay({})
    overlay.add(seen("u", "9"), gone=True, stored=seen("u", "7"))
    overlay.relisted("8", lambda _: seen("u", "7"))
    assert list(overlay.entries) == [key_of("x")]
    overlay.relisted("10", lambda _: seen("another", "10"))
    assert not overlay.entries
