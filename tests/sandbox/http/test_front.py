"""The front over real HTTPS: shapes, refusals, watches, logs and tokens, as clients meet them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.errors import Forbidden, NotFound, Unauthorized
from informers.objects import Object, ObjectKey, Resource
from tests.definitions import definition, with_spec
from tests.hanging import HANGS
from tests.sandbox.http.serving import (
    CONFIG_MAP,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    asked,
    browsing,
    client_of,
    comes_true,
    config_map,
    eventually,
    serving,
)

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
POD = Resource("", "v1", "pods", "Pod")
AS_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
AS_METADATA = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}


async def put_up(http: aiohttp.ClientSession, *names: str) -> None:
    for name in names:
        async with http.post(CONFIG_MAPS, json=config_map(name, key=name)) as response:
            assert response.status == 201, await response.text()


async def test_objects_come_as_json_yaml_tables_and_metadata(http: aiohttp.ClientSession) -> None:
    await put_up(http, "a", "b")
    status, found = await asked(http, "GET", f"{CONFIG_MAPS}/a")
    assert (status, found["data"]) == (200, {"key": "a"})
    async with http.get(f"{CONFIG_MAPS}/a", headers={"Accept": "application/yaml"}) as response:
        assert response.headers["Content-Type"].startswith("application/yaml")
        assert "key: a" in await response.text()
    _, table = await asked(http, "GET", CONFIG_MAPS, headers=AS_TABLE)
    assert table["kind"] == "Table"
    own = ["kube-root-ca.crt", 1]
    assert [row["cells"][:2] for row in table["rows"]] == [["a", 1], ["b", 1], own]
    assert table["metadata"]["resourceVersion"]
    _, one = await asked(http, "GET", f"{CONFIG_MAPS}/a", headers=AS_METADATA)
    assert (one["kind"], "data" in one) == ("PartialObjectMetadata", False)
    _, many = await asked(http, "GET", CONFIG_MAPS, headers=AS_METADATA)
    assert many["kind"] == "PartialObjectMetadataList"
    _, plain = await asked(http, "GET", CONFIG_MAPS)
    assert plain["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in plain["items"]] == ["a", "b", "kube-root-ca.crt"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "said"),
    [
        ("GET", f"{CONFIG_MAPS}/none", {}, 404, 'configmaps "none" not found'),
        ("GET", "/apis/apps/v1/things", {}, 404, "could not find the requested resource"),
        ("GET", CONFIG_MAPS, {"headers": {"Accept": "text/html"}}, 406, "media types are accepted"),
        ("GET", CONFIG_MAPS, {"params": {"timeout": "soon"}}, 400, "invalid timeout"),
        (
            "POST",
            CONFIG_MAPS,
            {"data": "{", "headers": {"Content-Type": "application/json"}},
            400,
            "decoding",
        ),
        ("POST", CONFIG_MAPS, {"data": "x", "headers": {"Content-Type": "text/csv"}}, 415, "unknown format"),
        (
            "PATCH",
            f"{CONFIG_MAPS}/a",
            {"data": "{}", "headers": {"Content-Type": "application/json"}},
            415,
            "",
        ),
        ("PUT", CONFIG_MAPS, {"json": {}}, 405, ""),
        ("GET", "/api/v1/namespaces/default/pods/p/exec", {}, 501, "does not support exec"),
        ("POST", "/api/v1/namespaces/default/pods/p/portforward", {}, 501, "does not support portforward"),
        ("GET", "/api/v1/namespaces/default/pods/none/log", {}, 404, 'pods "none" not found'),
        ("POST", CONFIG_MAPS, {"data": io.BytesIO(b"x" * 4_000_000)}, 413, "limit is 3145728"),
    ],
)
async def test_refusals_are_statuses_that_say_why(
    http: aiohttp.ClientSession, method: str, path: str, options: Any, status: int, said: str
) -> None:
    if "headers" not in options and "data" in options:
        options = {**options, "headers": {"Content-Type": "application/json"}}
    async with http.request(method, path, **options) as response:
        body = await response.json(content_type=None)
    assert response.status == status, body
    assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", status)
    assert said in body["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/version",
        "/healthz",
        "/livez",
        "/readyz",
        "/readyz/ping",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps",
        "/apis/apps/v1",
        "/openapi/v3",
        "/openapi/v3/apis/apps/v1",
    ],
)
async def test_the_server_tells_what_it_is(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as response:
        assert response.status == 200, await response.text()
        assert await response.read()


async def test_discovery_lists_resources_subresources_and_reviews(http: aiohttp.ClientSession) -> None:
    _, core = await asked(http, "GET", "/api/v1")
    by_name = {entry["name"]: entry for entry in core["resources"]}
    assert by_name["pods"]["shortNames"] == ["po"]
    assert {"pods/log", "pods/eviction", "pods/status", "serviceaccounts/token"} <= set(by_name)
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with http.get("/apis", headers={"Accept": accept}) as response:
        assert "as=APIGroupDiscoveryList" in response.headers["Content-Type"]
        groups = {item["metadata"]["name"] for item in (await response.json(content_type=None))["items"]}
    assert {"apps", "authorization.k8s.io", "apiextensions.k8s.io"} <= groups


async def test_openapi_describes_what_a_definition_adds(http: aiohttp.ClientSession) -> None:
    crd = definition(
        "Widget",
        "example.com",
        with_spec(
            {
                "type": "object",
                "description": "What it shall be.",
                "properties": {"size": {"type": "integer"}},
            }
        ),
        additionalPrinterColumns=[{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    )
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with http.post(path, json=crd) as response:
        assert response.status == 201, await response.text()

    async def served() -> bool:
        async with http.get("/apis/example.com/v1") as response:
            return response.status == 200

    await eventually(served, what="the new kind is served")
    _, document = await asked(http, "GET", "/openapi/v3/apis/example.com/v1")
    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["properties"]["spec"]["description"] == "What it shall be."
    assert "metadata" in schema["properties"]
    widget = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"size": 4},
    }
    async with http.post("/apis/example.com/v1/namespaces/default/widgets", json=widget) as response:
        assert response.status == 201, await response.text()
    _, table = await asked(http, "GET", "/apis/example.com/v1/widgets", headers=AS_TABLE)
    assert table["rows"][0]["cells"] == ["w", 4]


async def test_a_watch_shows_what_happens_in_the_shape_asked_for(http: aiohttp.ClientSession) -> None:
    await put_up(http, "a")
    _, listing = await asked(http, "GET", CONFIG_MAPS)
    version = listing["metadata"]["resourceVersion"]
    await put_up(http, "b")
    query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "1"}
    async with http.get(CONFIG_MAPS, params=query, headers=AS_TABLE) as response:
        [event] = [json.loads(line) async for line in response.content]
    assert event["type"] == "ADDED"
    assert event["object"]["kind"] == "Table"
    assert event["object"]["columnDefinitions"]
    assert event["object"]["rows"][0]["cells"][0] == "b"


async def test_clients_that_hang_up_leave_nothing_behind(
    server: EmbeddedServer, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    await put_up(http, "a")
    before = len(asyncio.all_tasks())
    for _ in range(20):
        async with http.get(CONFIG_MAPS, params={"watch": "1"}) as response:
            assert json.loads(await response.content.readline())["type"] == "ADDED"
            response.close()
    await put_up(http, "b")
    await comes_true(lambda: len(asyncio.all_tasks()) <= before, what="every watch has ended")
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_without_a_good_token_nothing_is_told(server: EmbeddedServer) -> None:
    async with browsing(server, token="") as http:
        status, body = await asked(http, "GET", CONFIG_MAPS)
        assert (status, body["reason"]) == (403, "Forbidden")
        assert body["message"] == (
            'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" '
            'in API group "" in the namespace "default"'
        )
    async with browsing(server, token="wrong") as http:
        assert (await asked(http, "GET", CONFIG_MAPS))[0] == 401


async def test_a_service_account_may_do_what_its_roles_say(server: EmbeddedServer, tmp_path: Path) -> None:
    async with client_of(server, tmp_path) as admin:
        meta = {"namespace": "default", "name": "robot"}
        await admin.create(SERVICE_ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
        async with client_of(server, tmp_path, "default/robot") as robot:
            with pytest.raises(Forbidden) as refused:
                await robot.list(CONFIG_MAP, namespace="default")
            assert str(refused.value) == (
                'configmaps is forbidden: User "system:serviceaccount:default:robot" cannot list resource '
                '"configmaps" in API group "" in the namespace "default"'
            )
            role = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": meta,
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
            }
            await admin.create(ROLE, role)
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "robot"},
                "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
            }
            await admin.create(ROLE_BINDING, binding)
            found = (await robot.list(CONFIG_MAP, namespace="default")).items
            assert [one["metadata"]["name"] for one in found] == ["kube-root-ca.crt"]
            with pytest.raises(NotFound):
                await robot.get(CONFIG_MAP, ObjectKey("default", "none"))
            with pytest.raises(Forbidden, match="cannot create resource"):
                await robot.create(CONFIG_MAP, config_map("mine"))
            with pytest.raises(Forbidden, match=r"cannot list resource .* at the cluster scope"):
                await robot.list(CONFIG_MAP)
            await admin.delete(SERVICE_ACCOUNT, ObjectKey("default", "robot"))
            with pytest.raises(Unauthorized):
                await robot.list(CONFIG_MAP, namespace="default")


async def test_reviews_answer_for_oneself_and_for_others(http: aiohttp.ClientSession) -> None:
    async def ask(kind: str, group: str, plural: str, spec: Object, **options: Any) -> Object:
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        async with http.post(f"/apis/{group}/v1/{plural}", json=body, **options) as response:
            assert response.status == 201, await response.text()
            answer: Object = await response.json(content_type=None)
            return answer

    wanted = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}
    group = "authorization.k8s.io"
    own = await ask("SelfSubjectAccessReview", group, "selfsubjectaccessreviews", wanted)
    assert own["status"]["allowed"] is True
    other = await ask("SubjectAccessReview", group, "subjectaccessreviews", {**wanted, "user": "bob"})
    assert other["status"] == {"allowed": False}
    as_bob = {"headers": {"Impersonate-User": "bob", "Impersonate-Group": "system:authenticated"}}
    me = await ask("SelfSubjectReview", "authentication.k8s.io", "selfsubjectreviews", {}, **as_bob)
    assert me["status"]["userInfo"]["username"] == "bob"
    bob = await ask("SelfSubjectAccessReview", group, "selfsubjectaccessreviews", wanted, **as_bob)
    assert bob["status"]["allowed"] is False


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Impersonate-Group": "admins"}, 400),
        ({"Impersonate-User": "bob", "Impersonate-Uid": "1"}, 501),
        ({"Impersonate-User": "bob", "Impersonate-Extra-Scopes": "x"}, 501),
        ({"Impersonate-User": "bob"}, 403),
        ({"Impersonate-User": "bob", "Impersonate-Group": "system:masters"}, 200),
    ],
)
async def test_impersonation_is_whole_or_refused(
    http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    assert (await asked(http, "GET", CONFIG_MAPS, headers=headers))[0] == status


async def test_a_token_asked_for_can_be_used(server: EmbeddedServer, http: aiohttp.ClientSession) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    path = "/api/v1/namespaces/default/serviceaccounts"
    async with http.post(path, json=account) as response:
        assert response.status == 201
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    async with http.post(f"{path}/robot/token", json=request) as response:
        assert response.status == 201, await response.text()
        token = (await response.json(content_type=None))["status"]["token"]
    async with browsing(server, token=token) as robot:
        assert (await asked(robot, "GET", "/api"))[0] == 200
        assert (await asked(robot, "GET", CONFIG_MAPS))[0] == 403


def pod(*containers: str, ran: bool = True) -> Object:
    state: Object = {"running": {}} if ran else {"waiting": {"reason": "ErrImagePull"}}
    fixed = {"image": "i", "imageID": "i", "ready": ran, "restartCount": 0}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": one, "image": "i"} for one in containers]},
        "status": {"containerStatuses": [{"name": one, "state": state, **fixed} for one in containers]},
    }


async def put_up_pod(http: aiohttp.ClientSession, made: Object) -> None:
    async with http.post("/api/v1/namespaces/default/pods", json=made) as response:
        assert response.status == 201, await response.text()
    path = "/api/v1/namespaces/default/pods/p/status"
    merge = {"Content-Type": "application/merge-patch+json"}
    body = json.dumps({"status": made["status"]})
    async with http.patch(path, data=body, headers=merge) as response:
        assert response.status == 200, await response.text()


async def test_logs_are_streamed_from_whoever_runs_the_containers(
    server: EmbeddedServer, http: aiohttp.ClientSession
) -> None:
    path = "/api/v1/namespaces/default/pods/p/log"
    calls: list[Any] = []
    go_on = asyncio.Event()

    async def logs(
        namespace: str, pod: str, container: str, *, follow: bool, tail: int | None, previous: bool
    ) -> AsyncGenerator[bytes, None]:
        calls.append((namespace, pod, container, {"follow": follow, "tail": tail, "previous": previous}))
        yield b"first\n"
        if follow:
            await go_on.wait()
            yield b"second\n"

    await put_up_pod(http, pod("main", "other"))
    assert (await asked(http, "GET", path))[0] == 501
    server.logs = logs
    status, body = await asked(http, "GET", path)
    assert (status, "choose one of: [main other]" in body["message"]) == (400, True)
    assert (await asked(http, "GET", path, params={"container": "none"}))[0] == 400
    assert (await asked(http, "GET", path, params={"container": "main", "sinceSeconds": "5"}))[0] == 400
    async with http.get(path, params={"container": "main", "tailLines": "3"}) as response:
        assert await response.text() == "first\n"
    assert calls == [("default", "p", "main", {"follow": False, "tail": 3, "previous": False})]
    async with http.get(path, params={"container": "main", "follow": "true"}) as response:
        assert await response.content.readline() == b"first\n"
        go_on.set()
        assert await response.content.read() == b"second\n"
    status, body = await asked(http, "GET", path, params={"container": "main", "previous": "true"})
    assert (status, "previous terminated container" in body["message"]) == (400, True)


async def test_a_reader_of_logs_that_hangs_up_ends_the_reading(
    server: EmbeddedServer, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def logs(*_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"line\n"
                await asyncio.sleep(0.01)
        finally:
            ended.set()

    server.logs = logs
    await put_up_pod(http, pod("main"))
    path = "/api/v1/namespaces/default/pods/p/log"
    async with http.get(path, params={"follow": "true"}) as response:
        assert await response.content.readline() == b"line\n"
        response.close()
    async with asyncio.timeout(HANGS):
        await ended.wait()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []


async def test_a_container_that_has_not_run_has_no_log(
    server: EmbeddedServer, http: aiohttp.ClientSession
) -> None:
    async def logs(*_: Any, **__: Any) -> AsyncGenerator[bytes, None]:
        yield b"never"

    server.logs = logs
    await put_up_pod(http, pod("main", ran=False))
    status, body = await asked(http, "GET", "/api/v1/namespaces/default/pods/p/log")
    assert status == 400
    assert body["message"] == 'container "main" in pod "p" is waiting to start: ErrImagePull'


async def test_one_connection_carries_many_requests(server: EmbeddedServer) -> None:
    async with browsing(server) as http:
        for _ in range(3):
            async with http.get("/version") as response:
                await response.read()
                assert response.headers.get("Connection", "").lower() != "close"
        connector = http.connector
        assert isinstance(connector, aiohttp.TCPConnector)
        assert sum(len(kept) for kept in connector._conns.values()) == 1


@pytest.mark.parametrize("path", ["/nope", "/apis/none.example.com", "/apis/none.example.com/v1/things"])
async def test_where_nothing_begins_answers_are_plain_text(path: str) -> None:
    async with serving() as server, browsing(server) as http, http.get(path) as response:
        assert (response.status, await response.text()) == (404, "404 page not found\n")
    async with serving() as server, browsing(server, "") as http, http.get(path) as response:
        assert response.status == 403
