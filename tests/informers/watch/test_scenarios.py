"""What happens to a watch in real life, replayed in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from informers.cache.informer import Delta
from informers.client.transport import HttpRequest, HttpResponse
from informers.errors import TransportError
from informers.objects import ObjectKey
from informers.testing.clock import run_virtual
from tests.informers.watch.running import Slowest, informer_of, running, until
from tests.informers.watch.server import REFUSED, Seen, Server, status


def names(deltas: list[Delta]) -> list[tuple[str | None, str | None]]:
    return [
        (delta.old.key.name if delta.old else None, delta.new.key.name if delta.new else None)
        for delta in deltas
    ]


class TestFirstList:
    def test_a_streaming_list_syncs_and_goes_on_as_the_watch(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            server.put("two")
            informer = informer_of(server)
            deltas: list[Delta] = []
            informer.add_handler(deltas.append)
            async with running(informer):
                assert {view.key.name for view in informer.list()} == {"one", "two"}
                assert all(delta.initial and delta.old is None for delta in deltas)
                server.put("three")
                await until(lambda: informer.get(ObjectKey("a", "three")))
                assert names(deltas[2:]) == [(None, "three")]
                assert not deltas[2].initial
            assert len(server.seen) == 1

        run_virtual(scenario())

    @pytest.mark.parametrize("ignores", [False, True])
    def test_without_streaming_lists_pages_of_500_are_read(self, ignores: bool) -> None:
        async def scenario() -> None:
            server = Server()
            server.streaming_lists, server.ignores_streaming = False, ignores
            for number in range(1201):
                server.put(f"pod-{number}")
            informer = informer_of(server)
            async with running(informer):
                assert len(informer.list()) == 1201
                pages = [one for one in server.seen if not one.is_watch]
                assert [one.query.get("limit") for one in pages] == ["500"] * 3
                server.put("late")
                await until(lambda: informer.get(ObjectKey("a", "late")))
                # Never tried again: the server has shown what it can do.
                server.compact()
                server.cut()
                server.put("later")
                await until(lambda: informer.get(ObjectKey("a", "later")))
                assert sum("sendInitialEvents" in one.query for one in server.seen) == 1

        run_virtual(scenario())

    def test_a_server_that_ignores_streaming_and_is_never_quiet(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.ignores_streaming = True
            server.put("one")
            informer = informer_of(server)
            async with running(informer, synced=False):
                for number in range(16):
                    await asyncio.sleep(5)
                    server.put("one", spec={"number": number})
                assert informer.synced

        run_virtual(scenario())

    def test_items_of_lists_get_the_type_the_server_left_out(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.streaming_lists = False
            server.put("one", spec={"x": 1})
            informer = informer_of(server)
            async with running(informer):
                view = informer.get(ObjectKey("a", "one"))
                assert view is not None
                obj = view.object()
                assert (obj["apiVersion"], obj["kind"], obj["spec"]) == ("v1", "Pod", {"x": 1})
                assert "managedFields" not in obj["metadata"]

        run_virtual(scenario())

    def test_a_token_that_expires_between_pages_leads_to_one_list_without_pages(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.streaming_lists = False
            for number in range(700):
                server.put(f"pod-{number}")

            def expire(request: HttpRequest) -> HttpResponse | None:
                return status(410, "Expired") if "continue" in dict(request.query) else None

            server.fault = expire
            informer = informer_of(server)
            async with running(informer):
                assert len(informer.list()) == 700
                assert "limit" not in server.lists()[-1].query

        run_virtual(scenario())

    def test_every_namespace_is_watched_on_its_own(self) -> None:
        async def scenario() -> None:
            server = Server()
            for namespace in "abc":
                server.put("pod", namespace=namespace)
            informer = informer_of(server, namespaces=("a", "b"))
            async with running(informer):
                assert {view.key.namespace for view in informer.list()} == {"a", "b"}
                assert informer.get(ObjectKey("c", "pod")) is None
                assert [view.key for view in informer.list("b")] == [ObjectKey("b", "pod")]
                assert len(server.seen) == 2

        run_virtual(scenario())


class TestGaps:
    def test_what_vanished_in_a_gap_is_delivered_as_deleted(self) -> None:
        async def scenario() -> None:
            server = Server()
            for number in range(400):
                server.put(f"pod-{number}", spec={"number": number})
            informer = informer_of(server)
            deltas: list[Delta] = []
            informer.add_handler(deltas.append)
            async with running(informer):
                deltas.clear()
                with server.failing(REFUSED):
                    server.cut()
                    for number in range(200):
                        server.remove(f"pod-{number}")
                    server.compact()
                    await asyncio.sleep(5)
                await until(lambda: len(informer.list()) == 200)
                assert sorted(names(deltas)) == sorted((f"pod-{number}", None) for number in range(200))
                last = next(delta.old for delta in deltas if delta.old and delta.old.key.name == "pod-7")
                assert last.object()["spec"] == {"number": 7}

        run_virtual(scenario())

    def test_a_relist_keeps_what_has_not_changed(self) -> None:
        """Neither deltas nor a second copy in memory."""

        async def scenario() -> None:
            server = Server()
            for number in range(50):
                server.put(f"pod-{number}")
            informer = informer_of(server)
            async with running(informer):
                before = {view.key: view for view in informer.list()}
                deltas: list[Delta] = []
                informer.add_handler(deltas.append)
                deltas.clear()
                server.put("pod-7")
                await until(lambda: deltas)
                server.cut()
                server.compact()
                server.put("pod-8")
                server.version += 10
                server.compact()
                await until(lambda: len(deltas) == 2)
                same = [key for key, view in before.items() if informer.get(key) is view]
                assert len(same) == 48

        run_virtual(scenario())

    def test_created_anew_in_a_gap_is_a_deletion_and_a_creation(self) -> None:
        async def scenario() -> None:
            server = Server()
            first = server.put("pod")
            informer = informer_of(server)
            deltas: list[Delta] = []
            informer.add_handler(deltas.append)
            async with running(informer):
                deltas.clear()
                server.cut()
                server.remove("pod")
                second = server.put("pod")
                server.compact()
                await until(lambda: len(deltas) == 2)
                gone, come = deltas
                assert gone.old and gone.old.uid == first["metadata"]["uid"] and gone.new is None
                assert come.new and come.new.uid == second["metadata"]["uid"] and come.old is None

        run_virtual(scenario())

    def test_after_410_the_list_is_no_older_than_what_was_seen(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            seen_version = server.version
            informer = informer_of(server)
            async with running(informer):
                server.cut()
                server.put("two")
                server.compact()
                await until(lambda: len(informer.list()) == 2)
                relist = server.lists()[-1].query
                assert relist["resourceVersion"] == str(seen_version)
                assert relist["resourceVersionMatch"] == "NotOlderThan"

        run_virtual(scenario())

    def test_a_server_restored_from_a_backup_is_followed_into_its_past(self) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("old")
            server.version = 5000
            server.put("lost")
            informer = informer_of(server)
            async with running(informer):
                server.cut()
                server.remove("lost")
                server.compact()
                server.version, server.compacted = 3000, 0

                def too_new(request: HttpRequest) -> HttpResponse | None:
                    query = dict(request.query)
                    if int(query.get("resourceVersion", "0")) <= server.version:
                        return None
                    causes = [{"reason": "ResourceVersionTooLarge"}]
                    return status(504, "Timeout", "Too large resource version", causes=causes)

                server.fault = too_new
                await until(lambda: len(informer.list()) == 1)
                assert server.lists()[-1].query.get("resourceVersion") is None

        run_virtual(scenario())


class TestPatience:
    @pytest.mark.parametrize(
        "fault", [REFUSED, status(429, "TooManyRequests"), status(500), status(503), status(403, "Forbidden")]
    )
    def test_no_failure_of_a_watch_turns_into_a_list(self, fault: HttpResponse | TransportError) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            informer = informer_of(server)
            async with running(informer):
                version = informer_version(server)
                with server.failing(fault):
                    server.cut()
                    await asyncio.sleep(120)
                server.put("two")
                await until(lambda: len(informer.list()) == 2)
                assert len(server.lists()) == 1
                assert {one.query["resourceVersion"] for one in server.watches()} == {version}

        run_virtual(scenario())

    @pytest.mark.parametrize("kind", ["403", "404", "410", "500", "refused"])
    def test_a_permanent_failure_is_met_on_schedule(self, kind: str) -> None:
        async def scenario() -> None:
            server = Server()
            fault = REFUSED if kind == "refused" else status(int(kind))
            informer = informer_of(server, rng=Slowest(1))
            async with running(informer, synced=False):
                with server.failing(fault):
                    await asyncio.sleep(300)
                    gaps = gaps_of(server.seen)
                    assert gaps[:7] == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0], abs=0.01)
                    assert gaps[7:] == pytest.approx([30.0] * len(gaps[7:]), abs=0.01)
                    assert len(gaps) >= 10
                    assert kind in (informer.health() or "")
                await informer.wait_synced()
                assert informer.health() is None

        run_virtual(scenario())

    @pytest.mark.parametrize("kind", ["403", "410", "500", "instant end"])
    def test_a_permanent_failure_of_the_watch_alone_is_met_on_schedule(self, kind: str) -> None:
        async def scenario() -> None:
            server = Server()
            server.put("one")
            # The stream of a streaming list would go on as the watch.
            server.streaming_lists = kind != "410"
            informer = informer_of(server, rng=random.Random(7))

            def watch_fails(request: HttpRequest) -> HttpResponse | None:
                query = dict(request.query)
                fails = "watch" in query and "sendInitialEvents" not in query
                return status(int(kind)) if fails else None

            async with running(informer):
                if kind == "instant end":
                    server.instant_end = True
                else:
                    server.fault = watch_fails
                server.cut()
                await asyncio.sleep(600)
                before = len(server.seen)
                await asyncio.sleep(3600)
                # Full jitter over 30 s means one failure in 15 s; a relist doubles the requests at most.
                failures = (len(server.seen) - before) / (2 if kind == "410" else 1)
                assert 3600 / 30 <= failures <= 3600 / 15 * 1.35
                server.fault, server.instant_end = None, False
                server.put("two")
                await until(lambda: len(informer.list()) == 2)

        run_virtual(scenario())

    def test_what_the_server_asks_for_is_granted(self) -> None:
        async def scenario() -> None:
            server = Server()
            refusal = status(429, "TooManyRequests")
            server.fault = lambda _: HttpResponse(429, refusal.body, {"retry-after": "17"})
            async with running(informer_of(server), synced=False):
                await asyncio.sleep(100)
                assert all(17 <= gap <= 17.9 for gap in gaps_of(server.seen)[:4])

        run_virtual(scenario())

    @pytest.mark.parametrize(
        "refusal",
        [
            HttpResponse(500, b'{"message":"\xff"}'),
            HttpResponse(500, b'{"details":' + b"[" * 300_000),
            HttpResponse(429, b'{"details":{"retryAfterSeconds":1' + b"0" * 400 + b"}}"),
            HttpResponse(500, b'{"details":{"causes":5}}'),
            HttpResponse(429, b"{}", {"retry-after": "Fri, 15 Jan 99999999999999999999 08:00:09 GMT"}),
            HttpResponse(429, b"{}", {"retry-after": "Sat, 01 Jan 2099 00:00:00 GMT"}),
        ],
    )
    def test_no_refusal_ends_a_watch(self, refusal: HttpResponse) -> None:
        """Whatever it says, and for no more than the hour that a server may ask for."""

        async def scenario() -> None:
            server = Server()
            informer = informer_of(server)
            async with running(informer):
                with server.failing(refusal):
                    server.cut()
                    await asyncio.sleep(10)
                server.put("one")
                await until(lambda: len(informer.list()) == 1, within=3610)

        run_virtual(scenario())

    def test_two_quiet_minutes_start_the_back_off_over(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server, rng=Slowest(1))
            async with running(informer):
                with server.failing(REFUSED):
                    server.cut()
                    await asyncio.sleep(100)
                await asyncio.sleep(200)
                before = len(server.seen)
                with server.failing(REFUSED):
                    server.cut()
                    await asyncio.sleep(10)
                assert gaps_of(server.seen[before:])[:2] == pytest.approx([1.6, 3.2], abs=0.01)

        run_virtual(scenario())

    def test_a_silent_connection_is_given_up_and_replaced(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server, read_deadline=70.0)
            async with running(informer):
                server.silent = True
                server.put("unseen")
                await asyncio.sleep(69)
                assert informer.last_contact_age() == pytest.approx(69, abs=0.1)
                assert len(server.seen) == 1
                await asyncio.sleep(3)
                assert len(server.watches()) == 1
                server.silent = False
                server.cut()
                await until(lambda: informer.get(ObjectKey("a", "unseen")), within=10)

        run_virtual(scenario())

    def test_bookmarks_are_signs_of_life(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server)
            async with running(informer):
                for _ in range(50):
                    await asyncio.sleep(5)
                    assert informer.last_contact_age() <= 61
                assert len(server.seen) == 1

        run_virtual(scenario())

    def test_a_stream_that_opens_is_a_sign_of_life_and_ends_a_problem(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server)
            async with running(informer):
                server.silent = True
                with server.failing(REFUSED):
                    server.cut()
                    await asyncio.sleep(40)
                    assert informer.last_contact_age() == pytest.approx(40, abs=0.1)
                await until(lambda: informer.last_contact_age() < 1)
                await asyncio.sleep(60)
                (scope,) = informer._scopes.values()
                assert scope.reflector.problem is None
                assert informer.health() is None

        run_virtual(scenario())

    def test_a_dead_server_shows_in_health_with_the_age_of_the_last_contact(self) -> None:
        async def scenario() -> None:
            server = Server()
            informer = informer_of(server)
            async with running(informer):
                assert informer.health() is None
                with server.failing(REFUSED):
                    server.cut()
                    await asyncio.sleep(60)
                    assert informer.health() is None
                    await asyncio.sleep(20)
                    problem = informer.health()
                    assert problem is not None
                    assert "pods" in problem and "80 s" in problem and "refused" in problem
                await until(lambda: informer.health() is None)

        run_virtual(scenario())

    def test_streams_that_lived_are_reopened_at_once_with_lives_of_their_own(self) -> None:
        async def scenario() -> None:
            server = Server()
            async with running(informer_of(server)):
                await asyncio.sleep(24 * 3600)
            lives = [int(one.query["timeoutSeconds"]) for one in server.seen]
            assert all(300 <= life <= 600 for life in lives)
            assert len(set(lives)) > len(lives) / 3
            gaps = gaps_of(server.seen)
            assert gaps == pytest.approx([float(life) for life in lives[:-1]], abs=0.1)
            assert len(server.lists()) == 1

        run_virtual(scenario())


def informer_version(server: Server) -> str:
    """The version of the newest object, which a synced informer has reached."""
    return str(server.version)


def gaps_of(seen: list[Seen]) -> list[float]:
    """Seconds between successive requests."""
    return [after.at - before.at for before, after in itertools.pairwise(seen)]
