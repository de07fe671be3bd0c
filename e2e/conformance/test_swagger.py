"""``/openapi/v2``: what is said of built-in kinds, of every kind of schema in a definition, and of paths."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from e2e.conformance.asking import ask, found
from informers.client import HttpTransport
from informers.objects import Object
from tests.hanging import HANGS
from tests.sandbox.http.documents.reading_swagger import decoded

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_META = "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1."
_GVK = "x-kubernetes-group-version-kind"
_STRING = {"type": "string"}
_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

# Each field by its name: how it is defined, and what version 2 says of it.
_FIELDS: dict[str, tuple[Any, Any]] = {
    "number": (
        {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "default": 3},
        {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9},
    ),
    "nullable": ({"type": "string", "nullable": True, "maxLength": 7}, {"maxLength": 7}),
    "nullableList": ({"type": "array", "nullable": True, "items": _STRING}, {}),
    "nullableObject": (
        {"type": "object", "nullable": True, "properties": {"a": _STRING}, "required": ["a"]},
        {"required": ["a"]},
    ),
    "enum": ({"type": "string", "enum": ["A", "B"], "default": "A"}, {"type": "string", "enum": ["A", "B"]}),
    "port": ({"x-kubernetes-int-or-string": True}, {"x-kubernetes-int-or-string": True}),
    "longPort": (
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^1",
        },
        {"x-kubernetes-int-or-string": True, "pattern": "^1"},
    ),
    "free": (
        {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"a": _STRING},
        },
        {"x-kubernetes-preserve-unknown-fields": True},
    ),
    "labels": (
        {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
        {"type": "object", "additionalProperties": {}},
    ),
    "choice": (
        {
            "type": "object",
            "properties": {"a": _STRING, "b": _STRING},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        {"type": "object", "properties": {"a": _STRING, "b": _STRING}},
    ),
    "keyed": (
        {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {
                "type": "object",
                "required": ["k"],
                "properties": {"k": _STRING, "v": {"type": "string", "default": "x"}},
            },
        },
        {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": _STRING, "v": _STRING}},
        },
    ),
    "ruled": (
        {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "positive"}]},
        {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0", "message": "positive"}]},
    ),
    "embedded": (
        {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "properties": {"spec": {"type": "object", "additionalProperties": True}},
        },
        {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "required": ["kind", "apiVersion"],
            "properties": {
                "apiVersion": _STRING,
                "kind": _STRING,
                "metadata": {"$ref": f"{_META}ObjectMeta"},
                "spec": {"type": "object", "additionalProperties": True},
            },
        },
    ),
    "anyObject": (
        {
            "type": "object",
            "x-kubernetes-embedded-resource": True,
            "x-kubernetes-preserve-unknown-fields": True,
        },
        {"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    ),
}


def _definition() -> Object:
    fields = {name: sent for name, (sent, _) in _FIELDS.items()}
    spec = {"type": "object", "required": ["number", "nullable"], "properties": fields}
    opened = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": "v1", "storage": True, "schema": {"type": "object", "properties": {"spec": spec}}},
        {"name": "v2", "storage": False, "schema": opened},
    ]
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.swagger.test"},
        "spec": {
            "group": "swagger.test",
            "scope": "Namespaced",
            "names": names,
            "versions": [
                {**one, "served": True, "schema": {"openAPIV3Schema": one["schema"]}} for one in versions
            ],
        },
    }


def _without_descriptions(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_descriptions(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_descriptions(one)
        for key, one in value.items()
        if key != "description" or not isinstance(one, str)
    }


@pytest.fixture
async def document(transport: HttpTransport) -> Any:
    """The document when it describes the kinds of the definition above."""
    code, answer = await found(transport, "POST", _DEFINITIONS, body=_definition())
    assert code == 201 or answer["reason"] == "AlreadyExists", answer
    deadline = time.monotonic() + HANGS
    while True:
        code, document = await found(transport, "GET", "/openapi/v2")
        assert code == 200
        if {"test.swagger.v1.Gadget", "test.swagger.v2.Gadget"} <= document["definitions"].keys():
            return _without_descriptions(document)
        assert time.monotonic() < deadline, "the new kind is described"
        await asyncio.sleep(0.1)


async def test_the_kinds_of_a_definition(document: Any) -> None:
    definitions = document["definitions"]
    gadget = definitions["test.swagger.v1.Gadget"]
    said = {name: expected for name, (_, expected) in _FIELDS.items()}
    spec = gadget["properties"].pop("spec")
    assert spec["required"] == ["number"], "a field that may be null is not required"
    assert spec["properties"] == said
    assert gadget == {
        "type": "object",
        "properties": {"apiVersion": _STRING, "kind": _STRING, "metadata": {"$ref": f"{_META}ObjectMeta"}},
        _GVK: [{"group": "swagger.test", "version": "v1", "kind": "Gadget"}],
    }
    assert definitions["test.swagger.v2.Gadget"] == {
        "type": "object",
        _GVK: [{"group": "swagger.test", "version": "v2", "kind": "Gadget"}],
    }
    assert definitions["test.swagger.v1.GadgetList"] == {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": _STRING,
            "items": {"type": "array", "items": {"$ref": "#/definitions/test.swagger.v1.Gadget"}},
            "kind": _STRING,
            "metadata": {"$ref": f"{_META}ListMeta"},
        },
        _GVK: [{"group": "swagger.test", "version": "v1", "kind": "GadgetList"}],
    }


async def test_built_in_kinds(document: Any) -> None:
    definitions = document["definitions"]
    maps = {"type": "object", "additionalProperties": _STRING}
    assert definitions["io.k8s.api.core.v1.ConfigMap"] == {
        "type": "object",
        "properties": {
            "apiVersion": _STRING,
            "binaryData": {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
            "data": maps,
            "immutable": {"type": "boolean"},
            "kind": _STRING,
            "metadata": {"$ref": f"{_META}ObjectMeta"},
        },
        _GVK: [{"group": "", "version": "v1", "kind": "ConfigMap"}],
    }
    assert definitions["io.k8s.api.core.v1.ServicePort"] == {
        "type": "object",
        "required": ["port"],
        "properties": {
            "appProtocol": _STRING,
            "name": _STRING,
            "nodePort": {"type": "integer", "format": "int32"},
            "port": {"type": "integer", "format": "int32"},
            "protocol": {**_STRING, "enum": ["SCTP", "TCP", "UDP"]},
            "targetPort": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"},
        },
    }
    ports = definitions["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert ports["x-kubernetes-patch-merge-key"] == "port"
    assert ports["x-kubernetes-list-map-keys"] == ["port", "protocol"]
    assert definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] == {
        "type": "string",
        "format": "int-or-string",
    }
    assert definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] == _STRING
    assert definitions["io.k8s.apimachinery.pkg.runtime.RawExtension"] == {"type": "object"}
    assert definitions["io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"] == {}
    assert definitions["io.k8s.api.apps.v1.DeploymentList"][_GVK] == [
        {"group": "apps", "version": "v1", "kind": "DeploymentList"}
    ]


@pytest.mark.parametrize(
    ("prefix", "group", "kind", "component"),
    [
        ("/apis/apps/v1/namespaces/{namespace}/deployments", "apps", "Deployment", "io.k8s.api.apps.v1."),
        (
            "/apis/swagger.test/v1/namespaces/{namespace}/gadgets",
            "swagger.test",
            "Gadget",
            "test.swagger.v1.",
        ),
    ],
)
async def test_paths(document: Any, prefix: str, group: str, kind: str, component: str) -> None:
    one, many, status = (
        {"$ref": f"#/definitions/{component}{kind}"},
        {"$ref": f"#/definitions/{component}{kind}List"},
        {"$ref": f"{_META}Status"},
    )
    expected = {
        ("", "get"): ("list", many),
        ("", "post"): ("post", one),
        ("", "delete"): ("deletecollection", status),
        ("/{name}", "get"): ("get", one),
        ("/{name}", "put"): ("put", one),
        ("/{name}", "patch"): ("patch", one),
        ("/{name}", "delete"): ("delete", status),
    }
    gvk = {"group": group, "version": "v1", "kind": kind}
    operations = {
        (below, method): operation
        for below in ("", "/{name}")
        for method, operation in document["paths"][prefix + below].items()
        if method != "parameters"
    }
    assert operations.keys() == expected.keys()
    for key, operation in operations.items():
        answer = operation["responses"]["200"]["schema"]
        assert (operation["x-kubernetes-action"], answer) == expected[key], key
        assert operation[_GVK] == gvk
        assert operation["schemes"] == ["https"]
        bodies = [one for one in operation.get("parameters", ()) if one.get("in") == "body"]
        if key[1] in ("post", "put"):
            assert bodies == [{"name": "body", "in": "body", "required": True, "schema": one}]
    strategic = [] if group == "swagger.test" else ["application/strategic-merge-patch+json"]
    patches = ["application/json-patch+json", "application/merge-patch+json", *strategic]
    assert operations["/{name}", "patch"]["consumes"] == [*patches, "application/apply-patch+yaml"]


@pytest.mark.parametrize("accept", [_PROTOBUF, _PROTOBUF.replace("@", ".")])
@pytest.mark.usefixtures("document")
async def test_the_protobuf_form_says_the_same(transport: HttpTransport, accept: str) -> None:
    deadline = time.monotonic() + HANGS
    while True:
        answer, either = [
            await ask(transport, "GET", "/openapi/v2", accept=one)
            for one in (accept, "application/json, " + accept)
        ]
        if answer.headers["etag"] == either.headers["etag"]:
            break
        assert time.monotonic() < deadline, "no definition changes between two requests"
    assert (answer.status, either.status) == (200, 200)
    assert answer.headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert either.headers["content-type"] == "application/json"
    assert decoded(answer.body) == json.loads(either.body)


async def test_what_is_accepted(transport: HttpTransport) -> None:
    for accept, code in (("*/*", 200), ("text/html", 406), ("application/yaml", 406)):
        assert (await ask(transport, "GET", "/openapi/v2", accept=accept)).status == code, accept


@pytest.mark.parametrize(
    "word",
    [{"maxLength": 2**63}, {"minItems": -(2**70)}, {"maximum": 10**400}, {"externalDocs": {"url": 5}}],
    ids=lambda word: next(iter(word)),
)
async def test_what_no_document_can_say_is_no_schema(transport: HttpTransport, word: Object) -> None:
    definition = _definition()
    definition["metadata"]["name"] = "others.swagger.test"
    definition["spec"]["names"] = {"plural": "others", "kind": "Other"}
    versions = definition["spec"]["versions"]
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = {"type": "object", **word}
    code, answer = await found(transport, "POST", _DEFINITIONS, body=definition)
    assert (code, answer["reason"]) == (400, "BadRequest"), answer
