"""The informer as its users see it: reads, indexes, handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from informers.cache.informer import Delta
from informers.cache.store import Store
from informers.client.transport import HttpRequest, HttpResponse
from informers.objects import ObjectKey
from informers.testing.clock import run_virtual
from informers.views.view import View, view_of_object
from informers.watch.events import Delete, Init, InitApply, InitDone
from tests.informers.watch.running import informer_of, running, until
from tests.informers.watch.server import REFUSED, Server, status


def by_team(view: View) -> Iterable[str]:
    return filter(None, view.labels.get("team", "").split(","))


def labelled(team: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"team": team}}}


class TestReading:
    def test_indexes_follow_changes(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one", **labelled("red,blue"))
            server.put("two", **labelled("blue"))
            informer = informer_of(server, indexes={"team": by_team})

            def team(name: str) -> set[str]:
                return {view.key.name for view in informer.by_index("team", name)}

            async with running(informer):
                assert (team("red"), team("blue"), team("none")) == ({"one"}, {"one", "two"}, set())
                server.put("one", **labelled("green"))
                await until(lambda: team("green"))
                assert (team("red"), team("blue")) == (set(), {"two"})
                server.remove("two")
                await until(lambda: not team("blue"))
                for indexed, known in ((informer, "team"), (informer_of(server), "none")):
                    with pytest.raises(KeyError, match=f"no index 'teams'; existing indexes: {known}"):
                        indexed.by_index("teams", "red")

        run_virtual(scenario())

    def test_an_index_that_fails_loses_one_object_only(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("bad")
            server.put("good", spec={"team": "red"})
            informer = informer_of(server, indexes={"team": lambda view: [view.object()["spec"]["team"]]})
            async with running(informer):
                assert [view.key.name for view in informer.by_index("team", "red")] == ["good"]
                assert len(informer.list()) == 2

        run_virtual(scenario())
        assert "bad" in caplog.text

    def test_an_index_of_what_cannot_be_looked_up_loses_one_object_only(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Who writes an object chooses what an index function finds in it."""

        async def scenario() -> None:
            server = Server()
            server.put("bad", spec={"teams": ["red", {"not": "text"}]})
            server.put("good", spec={"teams": ["red"]})
            informer = informer_of(server, indexes={"team": lambda view: view.object()["spec"]["teams"]})

            def red() -> list[str]:
                return sorted(view.name for view in informer.by_index("team", "red"))

            async with running(informer):
                assert red() == ["good"]
                server.put("bad", spec={"teams": ["red"]})
                server.put("good", spec={"teams": [["red"]]})
                await until(lambda: red() == ["bad"])
                server.remove("good")
                await until(lambda: len(informer) == 1)

        run_virtual(scenario())
        assert "bad" in caplog.text

    def test_lists_by_namespace(self) -> None:
        async def scenario() -> None:
            server = Server()
            for namespace in "ab":
                server.put("pod", namespace=namespace)
            informer = informer_of(server)
            async with running(informer):
                assert len(informer.list()) == len(informer) == 2
                assert [view.key for view in informer.list("a")] == [ObjectKey("a", "pod")]
                assert list(informer.list("c")) == []

        run_virtual(scenario())

    def test_nothing_is_there_before_the_first_list_is_complete(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.streaming_lists = False
            for number in range(700):
                server.put(f"pod-{number}")
            held = asyncio.Event()

            def hold(request: HttpRequest) -> HttpResponse | None:
                if "continue" in dict(request.query) and not held.is_set():
                    return HttpResponse(429, b"{}")
                return None

            server.fault = hold
            informer = informer_of(server)
            async with running(informer, synced=False):
                await asyncio.sleep(60)
                assert not informer.synced
                assert list(informer.list()) == []
                assert "not synced" in (informer.health() or "")
                held.set()
                await informer.wait_synced()
                assert len(informer.list()) == 700

        run_virtual(scenario())

    def test_what_is_deleted_while_the_first_list_comes_in_is_not_there_at_its_end(self) -> None:
        """A streaming list goes on with what happens meanwhile before it says that it is complete."""

        async def scenario() -> None:
            informer = informer_of(Server())
            told: list[Delta] = []
            informer.add_handler(told.append)
            (scope,) = informer._scopes.values()
            kept, gone = view_from(("a", "u1", 1, "")), view_from(("b", "u1", 2, ""))
            scope._take([Init(), InitApply(kept), InitApply(gone), Delete(gone), InitDone("3")])
            assert list(informer.list()) == [kept]
            assert told == [Delta(None, kept, True)]

        run_virtual(scenario())


class TestHandlers:
    def test_a_late_handler_is_told_what_is_there_and_then_what_comes(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            informer = informer_of(server)
            first: list[Delta] = []
            late: list[Delta] = []
            informer.add_handler(first.append)
            async with running(informer):
                server.put("two")
                await until(lambda: len(first) == 2)
                informer.add_handler(late.append)
                assert [(delta.old, delta.initial) for delta in late] == [(None, True)] * 2
                server.put("three")
                server.put("three")
                server.remove("three")
                await until(lambda: len(first) == 5)
                assert late[2:] == first[2:]
                kinds = [(bool(old), bool(new), initial) for old, new, initial in late[2:]]
                assert kinds == [(False, True, False), (True, True, False), (True, False, False)]

        run_virtual(scenario())

    def test_no_revision_stands_for_two_states(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server)
            seen: dict[int, set[int]] = {}

            def look(_: Delta) -> None:
                seen.setdefault(informer.revision, set()).add(len(informer))

            async with running(informer):
                informer.add_handler(look)
                for number in range(20):
                    # Several come with one read.
                    server.put(f"one-{number}")
                await until(lambda: len(informer) == 20)
                # Whoever asks between two changes may ask again in vain, but never the other way around.
                assert seen and informer.revision not in seen

        run_virtual(scenario())

    def test_a_handler_that_fails_disturbs_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            informer = informer_of(server)
            told: list[Delta] = []

            def fails(_: Delta) -> None:
                raise RuntimeError("my fault")

            informer.add_handler(fails)
            informer.add_handler(told.append)
            async with running(informer):
                server.put("two")
                await until(lambda: len(told) == 2)
                informer.add_handler(fails)

        run_virtual(scenario())
        assert caplog.text.count("my fault") >= 3

    def test_a_deletion_shows_the_last_state(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one", spec={"x": 1})
            informer = informer_of(server)
            told: list[Delta] = []
            informer.add_handler(told.append)
            async with running(informer):
                server.remove("one")
                await until(lambda: len(told) == 2)
                old = told[1].old
                assert old is not None and old.object()["spec"] == {"x": 1}
                assert old.resource_version == str(server.version)

        run_virtual(scenario())


class TestLife:
    def test_silence_beyond_the_read_deadline_is_no_good_health(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server, read_deadline=70)
            async with running(informer):
                server.silent = True
                await asyncio.sleep(69)
                assert informer.health() is None
                server.fault = lambda _: HttpResponse(503, b"{}")
                await asyncio.sleep(3)
                assert "no data received for 72 s" in (informer.health() or "")

        run_virtual(scenario())

    def test_what_is_said_of_the_server_as_a_whole_is_said_of_every_namespace(self) -> None:
        informer = informer_of(Server(), namespaces=("a", "b"))
        for reported in ((False, False), (True, False), (False, True), (True, True)):
            for scope, one in zip(informer._scopes.values(), reported, strict=True):
                scope.reflector.reported = one
            assert informer.reported is all(reported)

    def test_a_resource_is_missing_until_the_server_says_otherwise(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server)
            async with running(informer, synced=False):
                with server.failing(status(404)):
                    await asyncio.sleep(1)
                    assert informer.missing
                with server.failing(REFUSED):
                    await asyncio.sleep(60)
                    assert not informer.missing, "nobody has said so lately"

        run_virtual(scenario())

    def test_a_lasting_failure_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario() -> None:
            server = Server()
            async with running(informer_of(server), synced=False):
                with server.failing(status(403, "Forbidden")):
                    await asyncio.sleep(600)
                assert len(server.seen) > 10

        run_virtual(scenario())
        assert [one.levelname for one in caplog.records if "403" in one.getMessage()] == ["WARNING"]

    def test_the_problem_of_one_namespace_is_told_whichever_it_is(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.fault = lambda request: (
                HttpResponse(403, b"{}") if "/namespaces/b/" in request.path else None
            )
            for namespaces in (("a", "b"), ("b", "a")):
                informer = informer_of(server, namespaces=namespaces)
                async with running(informer, synced=False):
                    await asyncio.sleep(1)
                    assert "403" in (informer.problem or "")
                    assert "403" in (informer.health() or "")

        run_virtual(scenario())

    def test_running_again_picks_up_what_happened_meanwhile(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            server.put("two")
            informer = informer_of(server)
            told: list[Delta] = []
            informer.add_handler(told.append)
            async with running(informer):
                pass
            server.remove("one")
            server.put("three")
            async with running(informer):
                await until(lambda: informer.get(ObjectKey("a", "three")))
                assert informer.get(ObjectKey("a", "one")) is None
                assert [(bool(d.old), bool(d.new)) for d in told[2:]] == [(True, False), (False, True)]

        run_virtual(scenario())

    def test_metadata_only_asks_for_metadata_only(self) -> None:
        async def scenario() -> None:
            server = Server()
            async with running(informer_of(server, metadata_only=True)):
                assert server.seen[0].request.accept.startswith("application/json;as=PartialObjectMetadata;")

        run_virtual(scenario())

    def test_selectors_are_the_server_s_business(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server, label_selector="a=b", field_selector="c=d")
            async with running(informer):
                query = server.seen[0].query
                assert (query["labelSelector"], query["fieldSelector"]) == ("a=b", "c=d")

        run_virtual(scenario())


NAMES = st.sampled_from("abcd")
OBJECTS = st.tuples(
    NAMES, st.sampled_from(["u1", "u2"]), st.integers(1, 3), st.sampled_from(["", "r", "r,b", "b"])
)
STEPS = st.one_of(
    st.tuples(st.just("put"), OBJECTS),
    st.tuples(st.just("remove"), OBJECTS),
    st.tuples(st.just("replace"), st.lists(OBJECTS, max_size=4)),
)


def view_from(given_: tuple[str, str, int, str]) -> View:
    name, uid, version, team = given_
    namespace = "first" if name in "ab" else "second"
    meta = {"name": name, "namespace": namespace, "uid": uid, "labels": {"team": team}}
    meta["resourceVersion"] = str(version)
    view = view_of_object({"metadata": meta})
    assert view is not None
    return view


def identity(view: View) -> tuple[ObjectKey, str, str]:
    return view.key, view.uid, view.resource_version


@example(steps=[("put", ("a", "u1", 1, "")), ("put", ("a", "u2", 1, ""))])
@example(steps=[("put", ("a", "u1", 1, "")), ("replace", [("a", "u2", 1, "")])])
@example(steps=[("put", ("a", "u1", 1, "")), ("remove", ("a", "u2", 2, ""))])
@given(steps=st.lists(STEPS, max_size=20))
def test_the_store_is_a_dictionary_with_indexes_and_a_memory_of_changes(steps: list[tuple[str, Any]]) -> None:
    store = Store({"team": by_team})
    model: dict[ObjectKey, View] = {}
    for kind, given_ in steps:
        before = dict(model)
        if kind == "put":
            view = view_from(given_)
            changes = [store.put(view)]
            known = model.get(view.key)
            if changes[0] is not None:
                model[view.key] = view
            else:
                assert known is not None
                assert identity(known) == identity(view)
        elif kind == "remove":
            view = view_from(given_)
            changes = [store.remove(view)]
            known = model.pop(view.key, None)
            if known is not None and changes[0] is not None:
                # The end of a predecessor says nothing about the object that is there.
                assert changes[0].old is (view if view.uid == known.uid else known)
        else:
            store.begin()
            for one in given_:
                store.collect(view_from(one))
            assert {view.key: view for view in store.all()} == before, (
                "the old state until the new is complete"
            )
            changes = [*store.commit()]
            model = {view.key: view for view in store.all()}
            assert {identity(view) for view in model.values()} == {
                identity(view) for view in {one[0]: view_from(one) for one in given_}.values()
            }
        assert {view.key: view for view in store.all()} == model
        for namespace in ("first", "second", "third"):
            assert {view.key for view in store.of(namespace)} == {
                k for k in model if k.namespace == namespace
            }
        for team in "rb":
            expected = {key for key, view in model.items() if team in by_team(view)}
            assert set(store.by_index("team", team)) == expected
        changed = {(change.new or change.old).key for change in changes if change}  # type: ignore[union-attr]
        assert changed == {key for key in {*before, *model} if before.get(key) is not model.get(key)}


def test_a_store_without_its_objects_has_empty_indexes() -> None:
    store = Store({"team": by_team})
    view = view_from(("a", "u", 1, "r"))
    store.put(view)
    assert (len(store._indexes), len(store._views)) == (1, 1)
    store.remove(view)
    assert (len(store._indexes), len(store._views)) == (0, 0)
