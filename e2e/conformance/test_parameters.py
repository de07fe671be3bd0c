"""The parameters of requests: what changes the answer is honoured, what a verb does not use is ignored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.conformance.asking import APPLY, JSON, MERGE, ask
from informers.client import HttpTransport
from informers.client.transport import HttpResponse
from informers.objects import Object

MAPS = "/api/v1/namespaces/default/configmaps"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
UNSAFE = "ignoreStoreReadErrorWithClusterBreakingPotential"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
MINE = "parameters"

# What no verb knows, and what every other verb knows.
STRANGE = (("colour", "red"), ("_", "1764512345"), ("includeUninitialized", "true"), ("shardSelector", "x"))
READING = (
    ("labelSelector", "no=such"),
    ("fieldSelector", "metadata.name=other"),
    ("limit", "x"),
    ("continue", "nonsense"),
    ("watch", "true"),
    ("allowWatchBookmarks", "true"),
    ("sendInitialEvents", "true"),
    ("resourceVersionMatch", "Odd"),
    ("timeoutSeconds", "x"),
)
WRITING = (("fieldManager", "x" * 200), ("fieldValidation", "Odd"), ("force", "true"), ("dryRun", "Odd"))
DELETING = (("gracePeriodSeconds", "x"), ("orphanDependents", "odd"), ("propagationPolicy", "Odd"))
VERSION = (("resourceVersion", "99999999999"),)

Ask = tuple[str, str, bytes | None, str]
VERBS: dict[str, tuple[Ask, tuple[tuple[str, str], ...]]] = {
    "get": (("GET", f"{MAPS}/{MINE}", None, JSON), (*READING, *WRITING, *DELETING, ("export", "false"))),
    "list": (("GET", MAPS, None, JSON), (*WRITING, *DELETING, ("export", "true"), ("includeObject", "Odd"))),
    "create": (("POST", MAPS, b"", JSON), (*READING, *DELETING, *VERSION, WRITING[2])),
    "update": (("PUT", f"{MAPS}/{MINE}", b"", JSON), (*READING, *DELETING, *VERSION, WRITING[2])),
    "patch": (("PATCH", f"{MAPS}/{MINE}", b"{}", MERGE), (*READING, *DELETING, *VERSION)),
    "apply": (("PATCH", f"{MAPS}/{MINE}", b"", APPLY), (*READING, *DELETING, *VERSION)),
    "delete": (("DELETE", f"{MAPS}/{MINE}", None, JSON), (*READING, *WRITING[:3])),
    "deletecollection": (("DELETE", MAPS, None, JSON), (*WRITING[:3], ("watch", "true"))),
    "review": (("POST", REVIEWS, b"", JSON), (*READING, *DELETING, *VERSION)),
}
IGNORED = [
    (verb, name, value) for verb, (_, ignored) in VERBS.items() for name, value in (*STRANGE, *ignored)
]


def config_map(name: str = MINE) -> Object:
    metadata = {"name": name, "labels": {"is": "parameters"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


@pytest.fixture
async def there(transport: HttpTransport) -> AsyncIterator[HttpTransport]:
    """A connection to a server with the object that the requests are about."""
    await ask(transport, "POST", MAPS, body=config_map())
    yield transport
    await ask(transport, "DELETE", MAPS, ("labelSelector", "is=parameters"))


async def made(transport: HttpTransport, verb: str, *query: tuple[str, str]) -> HttpResponse:
    (method, path, body, media), _ = VERBS[verb]
    if verb == "review":
        attributes = {"verb": "get", "resource": "pods"}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        sent: Any = {**review, "spec": {"resourceAttributes": attributes}}
    else:
        sent = config_map("parameters-new" if verb == "create" else MINE) if body == b"" else body
    fixed: list[tuple[str, str]] = []
    if method in ("POST", "PUT", "PATCH", "DELETE") and verb != "review":
        fixed.append(("dryRun", "All"))
    if verb == "apply":
        fixed.append(("fieldManager", "applier"))
    if verb == "deletecollection":
        fixed.append(("labelSelector", "is=parameters"))
    return await ask(transport, method, path, *fixed, *query, body=sent, media=media)


@pytest.mark.parametrize(("verb", "name", "value"), IGNORED)
async def test_what_a_verb_does_not_use_is_ignored(
    there: HttpTransport, verb: str, name: str, value: str
) -> None:
    plain, answer = await made(there, verb), await made(there, verb, (name, value))
    assert answer.status in (200, 201), answer.body
    assert answer.status == plain.status
    assert json.loads(answer.body)["kind"] == json.loads(plain.body)["kind"]


ROUTES = (
    "/",
    "/version",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/apps",
    "/apis/apps/v1",
    "/openapi/v3",
    "/openapi/v3/api/v1",
    "/healthz",
    "/livez",
    "/readyz",
    "/nothing",
    "/api/v1/nothings",
    "/apis/nothing.example.com/v1/nothings",
    "/api/v1/namespaces/default/pods/none/status",
)


@pytest.mark.parametrize("path", [*ROUTES, MAPS, f"{MAPS}/{MINE}"])
async def test_a_timeout_is_read_on_every_path(there: HttpTransport, path: str) -> None:
    plain = await ask(there, "GET", path)
    for value in ("5s", "1m30s", "0s", "-1s", "1h", ""):
        assert (await ask(there, "GET", path, ("timeout", value))).status == plain.status
    for value, why in (("soon", 'invalid duration \\"soon\\"'), ("5", 'missing unit in duration \\"5\\"')):
        refused = await ask(there, "GET", path, ("timeout", value))
        assert refused.status == 400
        assert f"invalid timeout specified in the request URL - time: {why}".encode() in refused.body
    late = await ask(there, "GET", path, ("timeout", "1ns"))
    assert (late.status, json.loads(late.body)["reason"]) == (504, "Timeout")
    assert json.loads(late.body)["message"] == "Timeout: request did not complete within the allotted timeout"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_timeout_is_read_with_every_verb(there: HttpTransport, verb: str) -> None:
    assert (await made(there, verb, ("timeout", "20s"))).status in (200, 201)
    assert (await made(there, verb, ("timeout", "soon"))).status == 400
    assert (await made(there, verb, ("timeout", "1ns"))).status == 504


async def test_nothing_is_written_after_the_deadline(there: HttpTransport) -> None:
    late = ("timeout", "1ns")
    changed = {**config_map(), "data": {"a": "2"}}
    one = f"{MAPS}/{MINE}"
    asked = [
        await ask(there, "POST", MAPS, late, body=config_map("parameters-late")),
        await ask(there, "PUT", one, late, body=changed),
        await ask(there, "PATCH", one, late, body={"data": {"a": "2"}}, media=MERGE),
        await ask(there, "PATCH", one, late, ("fieldManager", "x"), body=changed, media=APPLY),
        await ask(there, "DELETE", one, late),
        await ask(there, "DELETE", MAPS, late, ("labelSelector", "is=parameters")),
    ]
    assert {answer.status for answer in asked} == {504}
    listed = json.loads((await ask(there, "GET", MAPS, ("labelSelector", "is=parameters"))).body)["items"]
    assert [(item["metadata"]["name"], item["data"]) for item in listed] == [(MINE, {"a": "1"})]


ONE_SECOND = ("timeoutSeconds", "1")
ONLY_MINE = ("labelSelector", "is=parameters")


async def events(transport: HttpTransport, path: str, *query: tuple[str, str]) -> list[tuple[str, str]]:
    answer = await ask(transport, "GET", path, *query, ONE_SECOND)
    assert answer.status == 200, answer.body
    found = [json.loads(line) for line in answer.body.splitlines()]
    return [(event["type"], event["object"]["metadata"]["name"]) for event in found]


@pytest.mark.parametrize("value", ["60s", "1ns", "soon"])
async def test_a_watch_ignores_the_timeout(there: HttpTransport, value: str) -> None:
    assert await events(there, MAPS, ("watch", "1"), ONLY_MINE, ("timeout", value)) == [("ADDED", MINE)]
    assert await events(there, f"/api/v1/watch/namespaces/default/configmaps/{MINE}", ("timeout", value)) == [
        ("ADDED", MINE)
    ]


@pytest.mark.parametrize("value", ["1", "true", "True", "", "f", "no", "odd"])
async def test_whatever_is_not_false_is_true(there: HttpTransport, value: str) -> None:
    assert await events(there, MAPS, ("watch", value), ONLY_MINE) == [("ADDED", MINE)]


@pytest.mark.parametrize("value", ["0", "false", "FALSE"])
async def test_false_is_false(there: HttpTransport, value: str) -> None:
    answer = await ask(there, "GET", MAPS, ("watch", value), ONLY_MINE)
    assert json.loads(answer.body)["kind"] == "ConfigMapList"


async def test_the_older_paths_of_watches(there: HttpTransport) -> None:
    older = "/api/v1/watch/namespaces/default/configmaps"
    assert await events(there, older, ONLY_MINE) == [("ADDED", MINE)]
    assert await events(there, older, ONLY_MINE, ("watch", "false")) == [("ADDED", MINE)]
    assert await events(there, "/api/v1/watch/configmaps", ONLY_MINE) == [("ADDED", MINE)]
    assert await events(there, f"{older}/{MINE}") == [("ADDED", MINE)]
    assert await events(there, f"{older}/none") == []
    assert await events(there, f"{older}/{MINE}", ("fieldSelector", f"metadata.name={MINE}")) == [
        ("ADDED", MINE)
    ]
    assert ("ADDED", "default") in await events(there, "/api/v1/watch/namespaces")
    assert await events(there, "/api/v1/watch/namespaces/default") == [("ADDED", "default")]
    statuses = {
        (await ask(there, "GET", f"{older}/{MINE}", ("fieldSelector", "metadata.name=other"))).status: 400,
        (await ask(there, "GET", f"{older}/{MINE}/status")).status: 404,
        (await ask(there, "GET", "/api/v1/watch/nothings")).status: 404,
        (await ask(there, "POST", older, body=config_map())).status: 405,
    }
    assert list(statuses) == list(statuses.values())


async def test_answers_are_pretty_for_those_who_ask(there: HttpTransport) -> None:
    plain = json.loads((await ask(there, "GET", f"{MAPS}/{MINE}")).body)
    for value in ("1", "true", "T"):
        pretty = (await ask(there, "GET", f"{MAPS}/{MINE}", ("pretty", value))).body
        assert pretty == json.dumps(plain, indent=2).encode()
    for value in ("false", "odd", ""):
        raw = (await ask(there, "GET", f"{MAPS}/{MINE}", ("pretty", value))).body
        assert b"\n" not in raw.removesuffix(b"\n")
    refused = (await ask(there, "GET", f"{MAPS}/none", ("pretty", "true"))).body
    assert refused.startswith(b'{\n  "kind": "Status",\n  "apiVersion": "v1",\n  "metadata": {},\n')


async def test_what_tables_include_matters_to_tables_only(there: HttpTransport) -> None:
    assert (await ask(there, "GET", MAPS, ("includeObject", "Odd"), accept=TABLE)).status == 400
    assert (await ask(there, "GET", MAPS, ("includeObject", "None"), accept=TABLE)).status == 200


async def test_a_dry_run_asked_for_twice(there: HttpTransport) -> None:
    twice = await ask(there, "POST", MAPS, ("dryRun", "All"), ("dryRun", "All"), body=config_map("twice"))
    assert twice.status == 201
    odd = await ask(there, "POST", MAPS, ("dryRun", "All"), ("dryRun", "Some"), body=config_map("twice"))
    assert odd.status == 422
    assert b'dryRun: Unsupported value: [\\"All\\",\\"Some\\"]: supported values: \\"All\\"' in odd.body
    assert (await ask(there, "GET", f"{MAPS}/twice")).status == 404


async def test_the_body_of_a_deletion_stands_for_its_parameters(there: HttpTransport) -> None:
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"], "unheardOf": 1}
    odd = (("gracePeriodSeconds", "x"), ("dryRun", "Odd"))
    assert (await ask(there, "DELETE", f"{MAPS}/{MINE}", *odd, body=body)).status == 200
    unsafe = await ask(there, "DELETE", f"{MAPS}/{MINE}", (UNSAFE, "true"))
    assert (unsafe.status, json.loads(unsafe.body)["reason"]) == (409, "Conflict")
    assert b"unsafe deletion is not allowed because the object is decodable from storage" in unsafe.body
    assert (await ask(there, "GET", f"{MAPS}/{MINE}")).status == 200


@pytest.mark.parametrize("name", ["uid", "resourceVersion"])
async def test_a_deletion_has_preconditions(there: HttpTransport, name: str) -> None:
    found = json.loads((await ask(there, "GET", f"{MAPS}/{MINE}")).body)["metadata"]
    dry = ("dryRun", "All")
    assert (await ask(there, "DELETE", f"{MAPS}/{MINE}", dry, (name, found[name]))).status == 200
    assert (await ask(there, "DELETE", f"{MAPS}/{MINE}", dry, (name, "99999999999"))).status == 409
    assert (await ask(there, "DELETE", f"{MAPS}/{MINE}", dry, (name, ""))).status == 200


async def test_health_is_told_in_detail(transport: HttpTransport) -> None:
    for root in ("healthz", "livez", "readyz"):
        assert (await ask(transport, "GET", f"/{root}")).body == b"ok"
        detailed = (await ask(transport, "GET", f"/{root}", ("verbose", ""))).body.decode()
        assert detailed.startswith("[+]ping ok\n")
        assert detailed.endswith(f"{root} check passed\n")
        without = (
            await ask(transport, "GET", f"/{root}", ("verbose", "1"), ("exclude", "ping"))
        ).body.decode()
        assert without.startswith("[+]ping excluded: ok\n")
        unknown = (await ask(transport, "GET", f"/{root}", ("verbose", ""), ("exclude", "odd"))).body.decode()
        assert 'warn: some health checks cannot be excluded: no matches for "odd"\n' in unknown
        assert (await ask(transport, "GET", f"/{root}/ping")).body == b"ok"
        assert (await ask(transport, "GET", f"/{root}/odd")).status == 404
