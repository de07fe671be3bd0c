"""What surrounds requests: faults on purpose, the log of writes, restoring, expiry, and the transport."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from informers.apiserver.core import ApiServer
from informers.apiserver.errors import StatusError
from informers.apiserver.faults import FaultRule
from informers.apiserver.requests.routes import parse
from informers.apiserver.store import Change
from informers.client.transport import HttpRequest
from informers.errors import TransportError
from informers.objects import Object, ObjectKey, Resource
from informers.testing.clock import VirtualClock
from informers.testing.transport import ApiServerTransport
from tests.informers.apiserver.served import CARTS, MAPS, PODS, Served, cart, serving

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
_NEW = json.dumps({"metadata": {"name": "new"}}).encode()


def transport(served: Served, *, latency: float = 0.0) -> ApiServerTransport:
    """A client's way to the server."""
    return ApiServerTransport(served.core, user="tester", user_agent="tester/1", latency=latency)


async def status(client: ApiServerTransport, method: str = "GET", path: str = MAPS) -> int:
    """The status of one request."""
    body = _NEW if method == "POST" else None
    return (await client.request(HttpRequest(method, path, body=body))).status


def test_requests_and_refusals_are_answers() -> None:
    async def test(served: Served) -> None:
        client = transport(served)
        created = await client.request(HttpRequest("POST", MAPS, body=_NEW))
        assert (created.status, json.loads(created.body)["metadata"]["name"]) == (201, "new")
        again = await client.request(HttpRequest("POST", MAPS, body=_NEW))
        assert (again.status, json.loads(again.body)["reason"]) == (409, "AlreadyExists")
        broken = await client.request(HttpRequest("POST", MAPS, body=b"{"))
        assert broken.status == 400
        listed = await client.request(HttpRequest("GET", MAPS, (("limit", "10"),)))
        answer = json.loads(listed.body)
        assert (answer["kind"], [one["metadata"]["name"] for one in answer["items"]]) == (
            "ConfigMapList",
            ["new"],
        )

    serving(test)


def test_warnings_and_waiting_times_are_headers() -> None:
    async def test(served: Served) -> None:
        client = transport(served)
        odd = json.dumps({"metadata": {"name": "odd"}, "colour": "red"}).encode()
        answer = await client.request(HttpRequest("POST", MAPS, body=odd))
        assert answer.headers["warning"] == r'299 - "unknown field \"colour\""'
        future = HttpRequest("GET", MAPS, (("resourceVersion", str(served.revision + 9)),))
        assert (await client.request(future)).headers["retry-after"] == "1"

    serving(test)


def test_a_watch_is_a_stream_of_lines() -> None:
    async def test(served: Served) -> None:
        client = transport(served)
        served.map("a")
        query = (("watch", "true"), ("timeoutSeconds", "5"))
        async with client.stream(HttpRequest("GET", MAPS, query)) as stream:
            assert stream.status == 200
            lines = (await stream.read()).splitlines()
        assert [json.loads(line)["type"] for line in lines] == ["ADDED"]
        async with client.stream(HttpRequest("GET", "/api/v1/nothing", query)) as stream:
            assert stream.status == 404
            assert json.loads(await stream.read())["code"] == 404
        assert served.core.store.shelf(("", "configmaps")).watchers == []

    serving(test)


def test_a_silent_stream_is_an_error_and_closing_ends_streams() -> None:
    async def test(served: Served) -> None:
        client = transport(served)
        query = (("watch", "true"), ("timeoutSeconds", "500"))
        async with client.stream(HttpRequest("GET", MAPS, query, timeout=70.0)) as stream:
            with pytest.raises(TransportError):
                await stream.read()
        async with client.stream(HttpRequest("GET", MAPS, query, timeout=None)) as stream:
            asyncio.get_running_loop().call_later(3, lambda: asyncio.ensure_future(client.close()))
            assert await stream.read() == b""

    serving(test)


def test_a_rule_spoils_the_requests_it_names_and_no_others() -> None:
    async def test(served: Served) -> None:
        client = transport(served)
        rule = FaultRule(verb="list", resource="configmaps", skip=1, times=2, status=429, retry_after=7)
        served.core.faults.add(rule)
        answers = [await status(client) for _ in range(4)]
        assert answers == [200, 429, 429, 200]
        assert rule.hits == 2
        assert await status(client, path=PODS) == 200
        served.core.faults.remove(rule)
        served.core.faults.remove(rule)
        served.core.faults.add(FaultRule(user="somebody else", status=500))
        assert await status(client) == 200

    serving(test)


@pytest.mark.parametrize(("cut", "stored"), [("before", []), ("after", ["new"])])
def test_a_cut_connection_leaves_open_whether_the_write_happened(cut: str, stored: list[str]) -> None:
    async def test(served: Served) -> None:
        served.core.faults.add(FaultRule(verb="create", cut=cut))  # type: ignore[arg-type]
        with pytest.raises(TransportError):
            await status(transport(served), "POST")
        assert served.names(MAPS) == stored

    serving(test)


def test_delays_count_against_the_timeout() -> None:
    async def test(served: Served) -> None:
        client = transport(served, latency=0.5)
        served.core.faults.add(FaultRule(verb="list", delay=20, times=2))
        start = asyncio.get_running_loop().time()
        assert await status(client) == 200
        assert asyncio.get_running_loop().time() - start == pytest.approx(20.5)
        with pytest.raises(TransportError):
            await client.request(HttpRequest("GET", MAPS, timeout=10.0))
        served.core.faults.clear()
        assert await status(client) == 200

    serving(test)


def test_a_request_is_given_up_at_its_own_deadline() -> None:
    async def test(served: Served) -> None:
        client = transport(served)
        served.core.faults.add(FaultRule(verb="list", delay=20))
        start = asyncio.get_running_loop().time()
        for timeout, code, after in (("10s", 504, 10), ("30s", 200, 20), ("0s", 200, 20), ("soon", 400, 0)):
            begun = asyncio.get_running_loop().time()
            answer = await client.request(HttpRequest("GET", MAPS, (("timeout", timeout),)))
            assert answer.status == code
            assert asyncio.get_running_loop().time() - begun == pytest.approx(after, abs=0.1)
        assert asyncio.get_running_loop().time() - start == pytest.approx(50, abs=0.4)

    serving(test)


def test_the_journal_knows_who_wrote_and_nothing_of_those_who_did_not() -> None:
    async def test(served: Served) -> None:
        revision = served.revision
        served.map("a")
        served.ask("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, fieldManager="hand")
        served.ask("PATCH", f"{MAPS}/a", {"data": {"x": "1"}}, fieldManager="hand")
        served.ask("GET", f"{MAPS}/a")
        served.ask("DELETE", f"{MAPS}/a")
        found = served.core.journal.since(revision)
        assert [(one.verb, one.name, one.manager, one.user) for one in found] == [
            ("create", "a", "test/1", "tester"),
            ("patch", "a", "hand", "tester"),
            ("delete", "a", "test/1", "tester"),
        ]

    serving(test)


def test_listeners_see_a_change_before_anybody_and_can_fail_it() -> None:
    async def test(served: Served) -> None:
        seen: list[tuple[str, bool]] = []

        def listen(change: Change) -> None:
            there = served.core.find(CONFIG_MAP, change.key) is not None
            seen.append((change.kind, there))
            if change.key.name == "full":
                raise OSError("no space left on device")

        served.core.listeners.append(listen)
        served.map("a")
        served.ask("DELETE", f"{MAPS}/a")
        revision = served.revision
        with pytest.raises(OSError, match="no space"):
            served.map("full")
        assert seen == [("ADDED", False), ("DELETED", True), ("ADDED", False)]
        assert served.revision == revision
        assert served.names(MAPS) == []

    serving(test)


def test_a_restored_server_goes_on_where_the_old_one_stopped() -> None:
    async def test(served: Served) -> None:
        served.map("a", {"x": "1"})
        served.ask("POST", CARTS, cart("c", spec={"items": 1}))
        served.map("b")
        served.ask("DELETE", f"{MAPS}/b")
        shelves = served.core.store.shelves()
        kept: list[Object] = [one.obj for _, shelf in shelves for one in shelf.items()]
        encoded = msgspec.json.encode(kept)

        again = Served.__new__(Served)
        again.core = ApiServer(VirtualClock())
        again.core.restore(msgspec.json.decode(encoded), served.revision)
        assert again.revision == served.revision
        assert again.obj("GET", f"{MAPS}/a") == served.obj("GET", f"{MAPS}/a")
        assert again.obj("GET", f"{CARTS}/c") == served.obj("GET", f"{CARTS}/c"), "served at once"
        assert int(again.map("d")["metadata"]["resourceVersion"]) == served.revision + 1
        error = await anext(again.watch(MAPS, resourceVersion=served.revision - 1))
        assert error.kind == "ERROR", "the past was not kept"
        assert (await anext(again.watch(MAPS, resourceVersion=served.revision))).kind == "ADDED"

    serving(test, carts=True)


def test_events_are_forgotten_an_hour_after_their_last_write() -> None:
    async def test(served: Served) -> None:
        path = "/api/v1/namespaces/shop/events"
        about = {"kind": "Pod", "name": "p", "namespace": "shop"}
        for name in ("a", "b"):
            served.ask("POST", path, {"metadata": {"name": name}, "involvedObject": about, "reason": "R"})
        await asyncio.sleep(1_800)
        served.ask("PATCH", f"{path}/a", {"message": "again"})
        await asyncio.sleep(1_801)
        assert served.names(path) == ["a"]
        await asyncio.sleep(1_800)
        assert served.names(path) == []

    serving(test)


def test_edits_and_deletions_of_the_server_itself_follow_the_rules() -> None:
    async def test(served: Served) -> None:
        served.map("a")
        key = ObjectKey("shop", "a")
        changed = served.core.edit(CONFIG_MAP, key, lambda obj: {**obj, "data": {"x": "1"}})
        assert changed["data"] == {"x": "1"}
        with pytest.raises(StatusError):
            served.core.delete(CONFIG_MAP, key, uid="another")
        served.core.delete(CONFIG_MAP, key)
        assert served.core.find(CONFIG_MAP, key) is None
        with pytest.raises(StatusError):
            served.core.edit(CONFIG_MAP, key, lambda obj: obj)

    serving(test)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/namespaces/shop", ("get", "namespaces", "", "shop", "")),
        ("GET", "/api/v1/namespaces/shop/status", ("get", "namespaces", "", "shop", "status")),
        ("PUT", "/api/v1/namespaces/shop/finalize", ("update", "namespaces", "", "shop", "finalize")),
        ("GET", "/api/v1/pods", ("list", "pods", "", "", "")),
        ("DELETE", MAPS, ("deletecollection", "configmaps", "shop", "", "")),
        ("PATCH", f"{PODS}/p/status", ("patch", "pods", "shop", "p", "status")),
        ("GET", f"{PODS}/p/log", ("get", "pods", "shop", "p", "log")),
        ("POST", f"{PODS}/p/eviction", ("create", "pods", "shop", "p", "eviction")),
        ("GET", "/api/v1/namespaces/shop/services/s/proxy/a/b", ("get", "services", "shop", "s", "proxy")),
        ("GET", "/api/v1/namespaces/status/pods", ("list", "pods", "status", "", "")),
    ],
)
def test_paths_and_methods_say_what_is_asked(method: str, path: str, expected: tuple[str, ...]) -> None:
    async def test(served: Served) -> None:
        info = parse(served.core.registry, method, path, {})
        found = info.verb, info.type.resource.plural, info.namespace, info.name, info.subresource
        assert found == expected

    serving(test)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v2/pods", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/apis/apps/v1", 404),
        ("GET", "/api/v1/namespaces/shop/nodes", 404),
        ("GET", f"{PODS}/p/nothing", 404),
        ("GET", f"{PODS}/p/status/deeper", 404),
        ("GET", f"{PODS}//status", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", MAPS, 405),
        ("OPTIONS", MAPS, 405),
        ("DELETE", f"{PODS}/p/status", 405),
        ("GET", f"{PODS}/p/eviction", 405),
    ],
)
def test_other_paths_and_methods_are_refused(method: str, path: str, code: int) -> None:
    async def test(served: Served) -> None:
        with pytest.raises(StatusError) as refused:
            parse(served.core.registry, method, path, {})
        assert refused.value.code == code

    serving(test)
