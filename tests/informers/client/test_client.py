"""The client: what each verb sends, what answers become, and the fence."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from informers.client import Client, HttpRequest, HttpResponse, HttpStream, HttpTransport, load_kubeconfig
from informers.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Fenced,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    TransportError,
    Unauthorized,
)
from informers.objects import Object, ObjectKey, Resource
from tests.informers.client.serving import Authority, serving

POD = Resource("", "v1", "pods", "Pod")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
KEY = ObjectKey("shop", "web")
BODY: Object = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "web", "namespace": "shop"},
    "status": {"x": 1},
}


class Recorder:
    """A transport that remembers what it was sent and answers as told."""

    def __init__(self, *answers: HttpResponse) -> None:
        self.sent: list[HttpRequest] = []
        self.answers = list(answers)

    async def request(self, request: HttpRequest) -> HttpResponse:
        self.sent.append(request)
        return self.answers.pop(0) if self.answers else HttpResponse(200, b'{"items":[]}')

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        raise AssertionError("no streams here")

    async def close(self) -> None:
        self.sent.clear()

    @property
    def only(self) -> tuple[str, str, dict[str, str], Any, str]:
        (request,) = self.sent
        body = json.loads(request.body) if request.body is not None else None
        return request.method, request.path, dict(request.query), body, request.content_type


WEB = "/apis/apps/v1/namespaces/shop/statefulsets/web"
JSON = "application/json"


class TestVerbs:
    async def test_get(self) -> None:
        transport = Recorder()
        await Client(transport).get(NODE, ObjectKey("", "n1"))
        assert transport.only == ("GET", "/api/v1/nodes/n1", {}, None, JSON)

    async def test_get_of_a_subresource(self) -> None:
        transport = Recorder()
        await Client(transport).get(STATEFUL_SET, KEY, subresource="scale")
        assert transport.only[1] == WEB + "/scale"

    async def test_list(self) -> None:
        items = {
            "items": [{"metadata": {"name": "a"}}],
            "metadata": {"resourceVersion": "7", "continue": "c"},
        }
        transport = Recorder(HttpResponse(200, json.dumps(items).encode()))
        page = await Client(transport).list(POD, namespace="shop", label_selector="a=b", limit=5)
        query = {"labelSelector": "a=b", "limit": "5"}
        assert transport.only == ("GET", "/api/v1/namespaces/shop/pods", query, None, JSON)
        assert page.items == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]
        assert (page.resource_version, page.continue_token) == ("7", "c")

    async def test_a_continuation_carries_no_version_of_its_own(self) -> None:
        transport = Recorder(HttpResponse(200, b'{"items":null,"metadata":{}}'))
        page = await Client(transport).list(POD, continue_token="c", resource_version="5")
        assert transport.only[2] == {"continue": "c"}
        assert page.items == []

    async def test_create(self) -> None:
        transport = Recorder()
        await Client(transport).create(STATEFUL_SET, BODY, field_manager="me")
        assert transport.only == ("POST", WEB.removesuffix("/web"), {"fieldManager": "me"}, BODY, JSON)

    async def test_update(self) -> None:
        transport = Recorder()
        await Client(transport).update(STATEFUL_SET, BODY, subresource="status")
        assert transport.only == ("PUT", WEB + "/status", {}, BODY, JSON)

    async def test_apply(self) -> None:
        transport = Recorder()
        await Client(transport).apply(STATEFUL_SET, BODY, field_manager="me")
        assert transport.only == ("PATCH", WEB, {"fieldManager": "me"}, BODY, "application/apply-patch+yaml")

    async def test_update_status_is_a_forced_apply(self) -> None:
        transport = Recorder()
        await Client(transport).update_status(STATEFUL_SET, BODY, field_manager="me")
        query = {"fieldManager": "me", "force": "true"}
        assert transport.only == ("PATCH", WEB + "/status", query, BODY, "application/apply-patch+yaml")

    @pytest.mark.parametrize(
        ("patch", "options", "content_type"),
        [
            ({"spec": {}}, {}, "application/merge-patch+json"),
            ([{"op": "remove", "path": "/x"}], {}, "application/json-patch+json"),
            (
                {"spec": {}},
                {"content_type": "application/strategic-merge-patch+json"},
                "application/strategic-merge-patch+json",
            ),
        ],
    )
    async def test_patch(self, patch: Any, options: dict[str, str], content_type: str) -> None:
        transport = Recorder()
        await Client(transport).patch(STATEFUL_SET, KEY, patch, **options)
        assert transport.only == ("PATCH", WEB, {}, patch, content_type)

    async def test_delete(self) -> None:
        transport = Recorder()
        await Client(transport).delete(
            STATEFUL_SET, KEY, uid="u", resource_version="7", grace_period=0, propagation="Orphan"
        )
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": "u", "resourceVersion": "7"},
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Orphan",
        }
        assert transport.only == ("DELETE", WEB, {}, body, JSON)

    async def test_a_plain_delete_has_no_body(self) -> None:
        transport = Recorder()
        await Client(transport).delete(STATEFUL_SET, KEY)
        assert transport.only[3] is None

    async def test_evict(self) -> None:
        transport = Recorder()
        await Client(transport).evict(KEY)
        method, path, _, body, _ = transport.only
        assert (method, path) == ("POST", "/api/v1/namespaces/shop/pods/web/eviction")
        assert (body["kind"], body["metadata"]) == ("Eviction", {"name": "web", "namespace": "shop"})

    @pytest.mark.parametrize("name", ["", ".", "..", "web/scale", "../../secrets/x", "a%2Fb"])
    async def test_what_is_no_name_is_not_sent(self, name: str) -> None:
        """Without a name a deletion would be one of everything, and names come out of what users write."""
        transport = Recorder()
        client = Client(transport)
        body = {**BODY, "metadata": {"name": name, "namespace": "shop"}}
        for key in (ObjectKey("shop", name), ObjectKey(name or "..", "web")):
            for ask in (
                client.get(STATEFUL_SET, key),
                client.delete(STATEFUL_SET, key),
                client.patch(STATEFUL_SET, key, {}),
                client.evict(key),
                client.update(STATEFUL_SET, body),
                client.apply(STATEFUL_SET, body, field_manager="me"),
            ):
                with pytest.raises(BadRequest, match="not a valid name of an object"):
                    await ask
        assert transport.sent == []
        await client.get(NODE, ObjectKey("", "system:node.1"))
        assert transport.only[1] == "/api/v1/nodes/system:node.1"

    @pytest.mark.parametrize(
        ("lacks", "said"),
        [
            ("metadata", "statefulsets.apps: the object has no metadata"),
            ("name", "statefulsets.apps: the object has no metadata.name"),
            ("kind", "statefulsets.apps: the object to apply needs apiVersion and kind"),
            ("apiVersion", "statefulsets.apps: the object to apply needs apiVersion and kind"),
        ],
    )
    async def test_what_lacks_its_name_or_kind_is_not_sent(self, lacks: str, said: str) -> None:
        transport = Recorder()
        client = Client(transport)
        metadata = {name: value for name, value in BODY["metadata"].items() if name != lacks}
        body = {name: value for name, value in {**BODY, "metadata": metadata}.items() if name != lacks}
        asks = [client.apply(STATEFUL_SET, body, field_manager="me")]
        if lacks == "metadata":
            asks.append(client.create(STATEFUL_SET, body))
        if lacks in ("metadata", "name"):
            asks.append(client.update(STATEFUL_SET, body))
        for ask in asks:
            with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
                await ask
        assert transport.sent == []

    async def test_raw(self) -> None:
        transport = Recorder()
        await Client(transport).raw("POST", "/x", body={"a": 1}, query=[("q", "1")])
        assert transport.only == ("POST", "/x", {"q": "1"}, {"a": 1}, JSON)


class TestFence:
    WRITES = ("create", "update", "apply", "update_status", "patch", "delete", "evict", "raw")

    async def test_no_write_passes_a_closed_fence_and_every_read_does(self) -> None:
        def fence() -> None:
            raise Fenced("not leading")

        transport = Recorder()
        client = Client(transport, fence=fence)
        writes = [
            client.create(POD, BODY),
            client.update(POD, BODY),
            client.apply(POD, BODY, field_manager="m"),
            client.update_status(POD, BODY, field_manager="m"),
            client.patch(POD, KEY, {}),
            client.delete(POD, KEY),
            client.evict(KEY),
            client.raw("DELETE", "/x"),
        ]
        assert len(writes) == len(self.WRITES)
        for write in writes:
            with pytest.raises(Fenced):
                await write
        assert transport.sent == []
        await client.get(POD, KEY)
        await client.list(POD)
        await client.raw("GET", "/x")
        assert [request.fence for request in transport.sent] == [None] * 3

    async def test_a_write_takes_the_fence_along(self) -> None:
        def fence() -> None:
            pass

        transport = Recorder()
        await Client(transport, fence=fence).delete(POD, KEY)
        assert [request.fence for request in transport.sent] == [fence]


class TestAnswers:
    @pytest.mark.parametrize(
        ("status", "reason", "kind"),
        [
            (400, "BadRequest", BadRequest),
            (401, "Unauthorized", Unauthorized),
            (403, "Forbidden", Forbidden),
            (404, "NotFound", NotFound),
            (409, "Conflict", Conflict),
            (409, "AlreadyExists", AlreadyExists),
            (410, "Expired", Gone),
            (422, "Invalid", Invalid),
            (429, "TooManyRequests", TooManyRequests),
            (500, "InternalError", ServerError),
            (503, "ServiceUnavailable", ServerError),
            (418, "", ApiError),
        ],
    )
    async def test_refusals(self, status: int, reason: str, kind: type[ApiError]) -> None:
        body = {"kind": "Status", "reason": reason, "message": "words", "details": {"name": "web"}}
        client = Client(Recorder(HttpResponse(status, json.dumps(body).encode())))
        with pytest.raises(kind, match="words") as caught:
            await client.get(POD, KEY)
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.reason) == (status, reason)
        assert caught.value.details == {"name": "web"}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>Bad gateway</html>",
            b'"text"',
            b"\xff",
            b"[]",
            b'{"a":"\xff"}',
            b'{"a":' + b"[" * 300_000,
        ],
    )
    async def test_a_refusal_by_something_else_than_an_api_server(self, body: bytes) -> None:
        with pytest.raises(ServerError) as caught:
            await Client(Recorder(HttpResponse(502, body))).get(POD, KEY)
        assert caught.value.status == 502

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("7", 7.0),
            ("Fri, 15 Jan 2027 08:00:09 GMT", 9.0),
            ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
            ("soon", None),
            ("-1", None),
            ("Sat, 01 Jan 2099 00:00:00 GMT", 3600.0),
            ("9" * 400, 3600.0),
            ("Fri, 15 Jan 99999999999999999999 08:00:09 GMT", None),
        ],
    )
    async def test_retry_after(self, header: str, seconds: float | None) -> None:
        client = Client(Recorder(HttpResponse(429, b"{}", {"retry-after": header})), clock=Epoch())
        with pytest.raises(TooManyRequests) as caught:
            await client.get(POD, KEY)
        assert caught.value.retry_after == seconds

    @pytest.mark.parametrize(("said", "seconds"), [(3, 3.0), (-3, 0.0), (10**400, 3600.0)])
    async def test_retry_after_from_the_body(self, said: int, seconds: float) -> None:
        body = json.dumps({"details": {"retryAfterSeconds": said}}).encode()
        with pytest.raises(TooManyRequests) as caught:
            await Client(Recorder(HttpResponse(429, body))).get(POD, KEY)
        assert caught.value.retry_after == seconds

    @pytest.mark.parametrize("body", [b"<html>", b'{"a":"\xff"}'])
    async def test_an_answer_that_is_no_json(self, body: bytes) -> None:
        with pytest.raises(TransportError, match="not JSON"):
            await Client(Recorder(HttpResponse(200, body))).get(POD, KEY)

    async def test_an_answer_that_is_no_list_is_not_an_empty_one(self) -> None:
        with pytest.raises(TransportError, match="no list"):
            await Client(Recorder(HttpResponse(200, b"{}"))).list(POD)

    async def test_an_empty_answer(self) -> None:
        assert await Client(Recorder(HttpResponse(200, b""))).delete(POD, KEY) == {}


class Epoch:
    """Stands at 2027-01-15T08:00:00Z."""

    def monotonic(self) -> float:
        return 0.0

    def time(self) -> float:
        return 1_800_000_000.0


@pytest.fixture
async def rotating(tmp_path: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """A TLS server that accepts one token, the kubeconfig of whose user runs a plugin that knows it."""
    tokens = ["token-1"]
    (tmp_path / "token").write_text(tokens[0])
    authority = Authority()

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {tokens[0]}":
            return web.json_response({"kind": "Status", "reason": "Unauthorized"}, status=401)
        return web.json_response({"token": tokens[0]})

    plugin = tmp_path / "plugin"
    plugin.write_text(
        "#!/bin/sh\n"
        'printf \'{"apiVersion":"v1","kind":"ExecCredential","status":{"token":"%s"}}\' "$(cat token)"\n'
    )
    plugin.chmod(0o755)
    async with serving(answer, authority.server_context(tmp_path / "pki")) as url:
        (tmp_path / "ca.crt").write_bytes(authority.pem)
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"exec": {"command": "./plugin", "apiVersion": "v1"}}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(config))
        yield str(tmp_path / "config"), tokens


async def test_a_rotated_token_costs_no_failed_request(rotating: tuple[str, list[str]]) -> None:
    path, tokens = rotating
    client = Client(HttpTransport(load_kubeconfig(path)))
    for number in range(1, 5):
        tokens[0] = f"token-{number}"
        Path(path).with_name("token").write_text(tokens[0])
        for _ in range(3):
            assert await client.raw("GET", "/x") == {"token": tokens[0]}
    await client.close()
