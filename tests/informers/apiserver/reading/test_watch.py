"""Watch streams: what they begin with, what they show, how they end."""

from __future__ import annotations

import asyncio

import pytest

from informers.apiserver.errors import StatusError
from informers.apiserver.reading.watching import INITIAL_EVENTS_END, MAX_PENDING
from tests.informers.apiserver.served import (
    CARTS,
    DEFINITIONS,
    MAPS,
    PODS,
    Served,
    cart,
    events,
    rest,
    serving,
    told,
)


def test_a_watch_without_version_begins_with_what_is_there() -> None:
    async def test(served: Served) -> None:
        served.map("b")
        served.map("a")
        watch = served.watch(MAPS)
        assert await told(watch, 2) == [("ADDED", "a"), ("ADDED", "b")]
        served.map("c")
        assert await told(watch, 1) == [("ADDED", "c")]

    serving(test)


def test_a_watch_from_a_version_replays_what_came_after() -> None:
    async def test(served: Served) -> None:
        served.map("a")
        version = served.page(MAPS).metadata["resourceVersion"]
        served.map("b")
        served.ask("PATCH", f"{MAPS}/a", {"data": {"x": "1"}})
        served.ask("DELETE", f"{MAPS}/b")
        watch = served.watch(MAPS, resourceVersion=version)
        assert await told(watch, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]

    serving(test)


def test_versions_of_events_grow_and_a_deletion_has_its_own() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS)
        served.map("a")
        served.ask("PATCH", f"{MAPS}/a", {"data": {"x": "1"}})
        served.ask("DELETE", f"{MAPS}/a")
        found = [one.stored for one in await events(watch, 3)]
        revisions = [one.revision for one in found if one is not None]
        assert revisions == sorted(set(revisions))
        assert [one.obj["metadata"]["resourceVersion"] for one in found if one] == list(map(str, revisions))
        assert found[-1] is not None
        assert found[-1].obj["data"] == {"x": "1"}

    serving(test)


def test_leaving_a_selector_is_a_deletion_and_entering_an_addition() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS, labelSelector="app=x")
        served.map("a", labels={"app": "y"})
        served.ask("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"app": "x"}}})
        served.ask("PATCH", f"{MAPS}/a", {"data": {"k": "v"}})
        served.ask("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"app": "z"}}})
        served.ask("DELETE", f"{MAPS}/a")
        served.map("b", labels={"app": "x"})
        added, modified, left, other = await events(watch, 4)
        assert [one.kind for one in (added, modified, left, other)] == [
            "ADDED",
            "MODIFIED",
            "DELETED",
            "ADDED",
        ]
        assert left.stored is not None
        assert modified.stored is not None
        # The last state inside the selection, at the version of leaving it.
        assert left.stored.obj["metadata"]["labels"] == {"app": "x"}
        assert left.stored.revision > modified.stored.revision
        assert left.stored.obj["metadata"]["resourceVersion"] == str(left.stored.revision)

    serving(test)


def test_field_selectors_follow_the_same_rule() -> None:
    async def test(served: Served) -> None:
        spec = {"containers": [{"name": "c", "image": "i"}]}
        served.ask("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
        watch = served.watch(PODS, fieldSelector="spec.nodeName=n1")
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
        served.ask("POST", f"{PODS}/p/binding", binding)
        assert await told(watch, 1) == [("ADDED", "p")]

    serving(test)


def test_a_version_that_is_too_old_is_an_error_in_the_stream() -> None:
    async def test(served: Served) -> None:
        for number in range(20):
            served.map(f"m{number}")
        oldest = served.core.store.shelf(("", "configmaps")).oldest
        (error,) = await rest(served.watch(MAPS, resourceVersion=oldest - 1))
        assert error.kind == "ERROR"
        assert error.obj is not None
        assert (error.obj["code"], error.obj["reason"]) == (410, "Expired")
        watch = served.watch(MAPS, resourceVersion=oldest)
        assert (await events(watch, 10))[0].kind == "ADDED"

    serving(test, history=10)


@pytest.mark.parametrize("version", [1, 2, 500])
def test_an_invented_version_is_too_old(version: int) -> None:
    async def test(served: Served) -> None:
        (error,) = await rest(served.watch(MAPS, resourceVersion=version))
        assert error.kind == "ERROR"

    serving(test)


def test_a_watch_from_the_future_shows_what_comes_after_it() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS, resourceVersion=served.revision + 1)
        served.map("a")
        served.map("b")
        assert await told(watch, 1) == [("ADDED", "b")]

    serving(test)


def test_compaction_forgets_the_past_and_keeps_open_watches() -> None:
    async def test(served: Served) -> None:
        version = served.revision
        watch = served.watch(MAPS)
        served.map("a")
        served.core.store.compact()
        (error,) = await rest(served.watch(MAPS, resourceVersion=version))
        assert error.kind == "ERROR"
        assert await told(watch, 1) == [("ADDED", "a")]

    serving(test)


def test_a_watch_ends_cleanly_at_its_timeout() -> None:
    async def test(served: Served) -> None:
        start = asyncio.get_running_loop().time()
        assert await rest(served.watch(MAPS, timeoutSeconds=30)) == []
        assert asyncio.get_running_loop().time() - start == pytest.approx(30)

    serving(test)


def test_bookmarks_come_about_once_a_minute_and_before_the_end() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS, timeoutSeconds=300, allowWatchBookmarks=True)
        loop = asyncio.get_running_loop()
        start = loop.time()
        found, times = [], []
        async for event in watch:
            found.append(event)
            times.append(loop.time() - start)
        assert {one.kind for one in found} == {"BOOKMARK"}
        assert 6 <= len(found) <= 7
        assert times[-1] == pytest.approx(298)
        assert found[-1].obj == {
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": str(served.revision), "creationTimestamp": None},
        }

    serving(test)


def test_nobody_gets_bookmarks_unasked() -> None:
    async def test(served: Served) -> None:
        assert await rest(served.watch(MAPS, timeoutSeconds=300)) == []

    serving(test)


def test_a_streaming_list_says_where_the_list_ends() -> None:
    async def test(served: Served) -> None:
        served.map("a")
        watch = served.watch(
            MAPS, sendInitialEvents=True, resourceVersionMatch="NotOlderThan", allowWatchBookmarks=True
        )
        added, end = await events(watch, 2)
        assert added.kind == "ADDED"
        assert end.obj is not None
        assert end.obj["metadata"]["annotations"] == {INITIAL_EVENTS_END: "true"}
        assert end.obj["metadata"]["resourceVersion"] == str(served.revision)
        served.map("b")
        assert await told(watch, 1) == [("ADDED", "b")]

    serving(test)


def test_a_streaming_list_of_the_future_is_refused_with_a_time_to_wait() -> None:
    async def test(served: Served) -> None:
        with pytest.raises(StatusError) as refused:
            served.watch(
                MAPS,
                sendInitialEvents=True,
                resourceVersionMatch="NotOlderThan",
                resourceVersion=served.revision + 1,
            )
        assert (refused.value.code, refused.value.retry_after) == (504, 1)

    serving(test)


def test_a_slow_watcher_is_cut_and_nobody_else_waits() -> None:
    async def test(served: Served) -> None:
        served.map("a")
        slow = served.watch(MAPS)
        quick = served.watch(PODS)
        for number in range(MAX_PENDING + 1):
            served.ask("PATCH", f"{MAPS}/a", {"data": {"n": str(number)}})
        assert await rest(slow) == []
        spec = {"containers": [{"name": "c", "image": "i"}]}
        served.ask("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
        assert await told(quick, 1) == [("ADDED", "p")]

    serving(test)


def test_closing_a_watch_wakes_its_reader() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS)
        reader = asyncio.create_task(rest(watch))
        await asyncio.sleep(1)
        watch.close()
        watch.close()
        assert await reader == []
        assert served.core.store.shelf(("", "configmaps")).watchers == []

    serving(test)


def test_the_end_of_a_custom_kind_ends_its_watches() -> None:
    async def test(served: Served) -> None:
        served.ask("POST", CARTS, cart("a"))
        watch = served.watch(CARTS)
        assert await told(watch, 1) == [("ADDED", "a")]
        served.ask("DELETE", f"{DEFINITIONS}/carts.shop.example.com")
        assert [one.kind for one in await rest(watch)] in ([], ["DELETED"])

    serving(test, carts=True)


def test_delivery_can_be_late_and_keeps_its_order() -> None:
    async def test(served: Served) -> None:
        served.core.flow.delay = 0.2
        watch = served.watch(MAPS)
        start = asyncio.get_running_loop().time()
        served.map("a")
        served.map("b")
        assert await told(watch, 2) == [("ADDED", "a"), ("ADDED", "b")]
        assert asyncio.get_running_loop().time() - start == pytest.approx(0.2)

    serving(test)


def test_delivery_can_be_held_back() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS)
        served.core.flow.hold(("", "configmaps"))
        served.map("a")
        reader = asyncio.create_task(told(watch, 1))
        await asyncio.sleep(60)
        assert not reader.done()
        served.core.flow.release(("", "configmaps"))
        assert await reader == [("ADDED", "a")]

    serving(test)


def test_all_watches_can_be_cut_at_once() -> None:
    async def test(served: Served) -> None:
        watch = served.watch(MAPS)
        served.map("a")
        served.core.flow.cut()
        assert await rest(watch) == []

    serving(test)
