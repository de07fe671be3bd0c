"""What a server does not do it refuses, with a message: nothing that changes the answer is ignored."""

from __future__ import annotations

from typing import Any

import pytest

from informers.client import HttpTransport
from informers.client.transport import HttpRequest

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SETS = "/apis/apps/v1/namespaces/default/statefulsets"
BODY = b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "refused"}}'
JSON = "application/json"
MERGE = "application/merge-patch+json"
UNSAFE = "ignoreStoreReadErrorWithClusterBreakingPotential"

# Method, path, query, body, media type and Accept of a request, and what it is answered with.
EVERYWHERE: dict[str, tuple[str, str, dict[str, str], bytes | None, str, str, int]] = {
    "no patch": ("PATCH", f"{MAPS}/x", {}, BODY, JSON, JSON, 415),
    "patch without a type": ("PATCH", f"{MAPS}/x", {}, BODY, "text/plain", JSON, 415),
    "strategic patch of a form": (
        "PATCH",
        f"{MAPS}/x",
        {},
        BODY,
        "application/x-www-form-urlencoded",
        JSON,
        415,
    ),
    "a body of text": ("POST", MAPS, {}, BODY, "text/plain", JSON, 415),
    "a body of XML": ("POST", MAPS, {}, b"<a/>", "application/xml", JSON, 415),
    "an answer as HTML": ("GET", MAPS, {}, None, JSON, "text/html", 406),
    "an answer as a picture": ("GET", f"{MAPS}/x", {}, None, JSON, "image/png", 406),
    "no JSON": ("POST", MAPS, {}, b"{", JSON, JSON, 400),
    "no object": ("POST", MAPS, {}, b"[]", JSON, JSON, 400),
    "odd dryRun": ("POST", MAPS, {"dryRun": "Maybe"}, BODY, JSON, JSON, 422),
    "odd fieldValidation": ("POST", MAPS, {"fieldValidation": "Maybe"}, BODY, JSON, JSON, 422),
    "a manager of too many letters": ("POST", MAPS, {"fieldManager": "x" * 200}, BODY, JSON, JSON, 422),
    "odd labels": ("GET", MAPS, {"labelSelector": "a=b=c"}, None, JSON, JSON, 400),
    "odd fields": ("GET", MAPS, {"fieldSelector": "data.x=1"}, None, JSON, JSON, 400),
    "odd version": ("GET", MAPS, {"resourceVersion": "x"}, None, JSON, JSON, 400),
    "odd limit": ("GET", MAPS, {"limit": "x"}, None, JSON, JSON, 400),
    "no limit": ("GET", MAPS, {"limit": ""}, None, JSON, JSON, 400),
    "odd timeout of a watch": ("GET", MAPS, {"watch": "1", "timeoutSeconds": "x"}, None, JSON, JSON, 400),
    "odd grace": ("DELETE", f"{MAPS}/x", {"gracePeriodSeconds": "x"}, None, JSON, JSON, 400),
    "empty dryRun": ("POST", MAPS, {"dryRun": ""}, BODY, JSON, JSON, 422),
    "an export": ("GET", f"{MAPS}/x", {"export": "true"}, None, JSON, JSON, 400),
    "force that is not applied": ("PATCH", f"{MAPS}/x", {"force": "no"}, b"{}", MERGE, JSON, 422),
    "an unsafe deletion of many": ("DELETE", MAPS, {UNSAFE: "true"}, None, JSON, JSON, 422),
    "odd match": ("GET", MAPS, {"resourceVersionMatch": "x", "resourceVersion": "1"}, None, JSON, JSON, 422),
    "odd continuation": ("GET", MAPS, {"continue": "nonsense"}, None, JSON, JSON, 400),
    "odd propagation": ("DELETE", f"{MAPS}/x", {"propagationPolicy": "Maybe"}, None, JSON, JSON, 422),
    "no such subresource": ("GET", f"{MAPS}/x/scale", {}, None, JSON, JSON, 404),
    "no such method": ("PUT", MAPS, {}, BODY, JSON, JSON, 405),
    "a binding that is read": ("GET", f"{PODS}/x/binding", {}, None, JSON, JSON, 405),
    "a scale that is deleted": ("DELETE", f"{SETS}/x/scale", {}, None, JSON, JSON, 405),
    "an eviction that is patched": (
        "PATCH",
        f"{PODS}/x/eviction",
        {},
        b"{}",
        "application/merge-patch+json",
        JSON,
        405,
    ),
    "apply without a manager": ("PATCH", f"{MAPS}/x", {}, BODY, "application/apply-patch+yaml", JSON, 422),
}

# What only the embedded server has not: a real one does it, or ignores it.
SANDBOX: dict[str, tuple[str, str, dict[str, str], bytes | None, str, str, int]] = {
    "exec": ("POST", f"{PODS}/x/exec", {"command": "true"}, None, JSON, JSON, 501),
    "attach": ("POST", f"{PODS}/x/attach", {}, None, JSON, JSON, 501),
    "port-forward": ("POST", f"{PODS}/x/portforward", {}, None, JSON, JSON, 501),
    "proxy": ("GET", f"{PODS}/x/proxy", {}, None, JSON, JSON, 501),
    "ephemeral containers": ("PATCH", f"{PODS}/x/ephemeralcontainers", {}, b"{}", JSON, JSON, 501),
    "resize": ("PATCH", f"{PODS}/x/resize", {}, b"{}", JSON, JSON, 501),
    "answers in protobuf only": ("GET", MAPS, {}, None, JSON, "application/vnd.kubernetes.protobuf", 406),
    "answers in CBOR only": ("GET", MAPS, {}, None, JSON, "application/cbor", 406),
    "a body of CBOR": ("POST", MAPS, {}, b"\xa0", "application/cbor", JSON, 415),
}


async def check(transport: HttpTransport, wanted: tuple[Any, ...]) -> None:
    method, path, query, body, media, accept, code = wanted
    answer = await transport.request(HttpRequest(method, path, tuple(query.items()), body, media, accept))
    assert answer.status == code, answer.body
    # 406 speaks of encodings, so a server may say it in none of them.
    assert b'"message"' in answer.body or code == 406
    assert len(answer.body) > 20, "a refusal says why"


@pytest.mark.parametrize("what", EVERYWHERE)
async def test_what_makes_no_sense_is_refused(transport: HttpTransport, what: str) -> None:
    await check(transport, EVERYWHERE[what])


@pytest.mark.sandbox_only("a real server does these, or ignores them")
@pytest.mark.parametrize("what", SANDBOX)
async def test_what_the_sandbox_cannot_do_it_refuses(transport: HttpTransport, what: str) -> None:
    await check(transport, SANDBOX[what])
