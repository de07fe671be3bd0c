"""What is answered about kinds and paths that are not there, and in which form."""

from __future__ import annotations

import json

import pytest

from e2e.conformance.asking import APPLY, ask
from informers.client import HttpTransport
from informers.objects import Object

STATUS = (
    b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    b'"message":"the server could not find the requested resource",'
    b'"reason":"NotFound","details":{},"code":404}'
)
OF_SERVED_GROUPS = (
    "/api/v1/nothings",
    "/api/v1/namespaces/default/nothings/x",
    "/api/v1/namespaces/default/configmaps/a/b/c",
    "/api/v1/nodes/x/nothing",
    "/api/v9",
    "/api/v9/pods",
    "/apis/apps/v1/nothings",
    "/apis/apps/v9",
    "/apis/apps/v9/deployments",
    "/apis/authorization.k8s.io/v9/selfsubjectaccessreviews",
)
OF_NOBODY = (
    "/nothing",
    "/apis/nothing.example.com",
    "/apis/nothing.example.com/v1",
    "/apis/nothing.example.com/v1/nothings",
    "/apis/nothing.example.com/v1/namespaces/default/nothings/x",
)


@pytest.mark.parametrize("path", OF_SERVED_GROUPS)
async def test_a_missing_resource_of_a_served_group_is_a_status(transport: HttpTransport, path: str) -> None:
    answer = await ask(transport, "GET", path)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    # To the byte: the fields come in the order of metav1.Status.
    assert answer.body.rstrip(b"\n") == STATUS


@pytest.mark.parametrize("path", ["/nothing", "/apis/nothing.example.com/v1", "/openapi/v9", "/apis/apps/v9"])
async def test_what_is_missing_is_missing_in_every_form(transport: HttpTransport, path: str) -> None:
    for accept in ("text/html", "application/vnd.kubernetes.protobuf", "application/nothing"):
        assert (await ask(transport, "GET", path, accept=accept)).status == 404


@pytest.mark.parametrize("path", OF_NOBODY)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_elsewhere_there_is_no_page(transport: HttpTransport, method: str, path: str) -> None:
    body = {"kind": "Nothing"} if method in ("POST", "PATCH") else None
    media = APPLY if method == "PATCH" else "application/json"
    answer = await ask(transport, method, path, body=body, media=media)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    assert answer.headers["content-type"].startswith("text/plain")


MAPS = "/api/v1/namespaces/default/configmaps"
Parameters = tuple[tuple[str, str], ...]
REFUSALS: dict[str, tuple[str, str, Parameters, Object | None]] = {
    "not found": ("GET", f"{MAPS}/none", (), None),
    "invalid": ("POST", MAPS, (), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "BAD"}}),
    "no version": ("GET", MAPS, (("resourceVersion", "99999999999"),), None),
    "no name": ("POST", MAPS, (), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}),
}
FIELDS = ("kind", "apiVersion", "metadata", "status", "message", "reason", "details", "code")
DETAILS = ("name", "group", "kind", "uid", "causes", "retryAfterSeconds")


@pytest.mark.parametrize("what", REFUSALS)
async def test_the_fields_of_a_refusal_come_in_order(transport: HttpTransport, what: str) -> None:
    method, path, parameters, body = REFUSALS[what]
    said = json.loads((await ask(transport, method, path, *parameters, body=body)).body)
    assert list(said) == [name for name in FIELDS if name in said]
    details = said["details"]
    assert list(details) == [name for name in DETAILS if name in details]
    for cause in details.get("causes", ()):
        assert list(cause) == [name for name in ("reason", "message", "field") if name in cause]
