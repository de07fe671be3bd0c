from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from informers.apiserver.schema.bundle import builtin_schemas, definitions, resolved
from informers.apiserver.schema.bundle.make import merged, normal, packed

KIND = "x-kubernetes-group-version-kind"
STATEFUL_SET = ("apps", "v1", "StatefulSet")


@pytest.mark.parametrize(
    ("gvk", "path", "keys"),
    [
        (STATEFUL_SET, "spec.template.spec.containers", ["name"]),
        (
            ("apps", "v1", "StatefulSet"),
            "spec.template.spec.containers[].ports",
            ["containerPort", "protocol"],
        ),
        (STATEFUL_SET, "spec.template.spec.containers[].env", ["name"]),
        (STATEFUL_SET, "spec.template.spec.containers[].volumeMounts", ["mountPath"]),
        (STATEFUL_SET, "spec.template.spec.volumes", ["name"]),
        (STATEFUL_SET, "spec.template.spec.imagePullSecrets", ["name"]),
        (STATEFUL_SET, "status.conditions", ["type"]),
        (("", "v1", "Service"), "spec.ports", ["port", "protocol"]),
        (("", "v1", "Service"), "metadata.ownerReferences", ["uid"]),
        (("", "v1", "Pod"), "status.conditions", ["type"]),
        (("policy", "v1", "PodDisruptionBudget"), "status.conditions", ["type"]),
    ],
)
def test_list_maps_carry_their_keys(gvk: tuple[str, str, str], path: str, keys: list[str]) -> None:
    node = builtin_schemas()[gvk]
    for step in path.split("."):
        node = node["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            node = node["items"]
    assert (node["x-kubernetes-list-type"], node["x-kubernetes-list-map-keys"]) == ("map", keys)


def test_port_protocols_have_the_default_their_keys_need() -> None:
    for name in ("ContainerPort", "ServicePort"):
        assert definitions()[f"io.k8s.api.core.v1.{name}"]["properties"]["protocol"]["default"] == "TCP"


def test_every_reference_resolves() -> None:
    names = set(definitions())

    def walk(value: object) -> None:
        if isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                assert value["$ref"].removeprefix("#/components/schemas/") in names
            for one in value.values():
                walk(one)

    walk(definitions())


def test_enumerations_are_there_to_read_and_not_to_refuse() -> None:
    policy = definitions()["io.k8s.api.core.v1.Container"]["properties"]["imagePullPolicy"]
    assert policy["enum"] == ["Always", "IfNotPresent", "Never"]
    assert "enum" not in resolved("io.k8s.api.core.v1.Container")["properties"]["imagePullPolicy"]
    schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    assert resolved(schema)["properties"]["enum"]["type"] == "array"


def test_what_is_made_again_of_the_same_definitions_is_the_same_file() -> None:
    shuffled = dict(reversed(definitions().items()))
    assert packed(shuffled) == packed(definitions())
    assert json.loads(gzip.decompress(packed(shuffled))) == definitions()


def test_fragments_take_the_compilers_form() -> None:
    served = {
        "type": "object",
        "properties": {
            "reference": {"description": "d", "default": {}, "allOf": [{"$ref": "#/x"}]},
            "list": {"type": "array", "items": {"default": {}, "allOf": [{"$ref": "#/x"}]}},
            "map": {"type": "object", "additionalProperties": {"type": "string", "default": ""}},
            "number": {"type": "integer", "default": 0},
            "flag": {"type": "boolean", "default": True},
            "default": {"type": "string", "default": "a"},
            "allOf": {"type": "array", "items": {"$ref": "#/x"}},
        },
    }
    assert normal(served) == {
        "type": "object",
        "properties": {
            "reference": {"description": "d", "$ref": "#/x"},
            "list": {"type": "array", "items": {"$ref": "#/x"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "number": {"type": "integer"},
            "flag": {"type": "boolean", "default": True},
            "default": {"type": "string", "default": "a"},
            "allOf": {"type": "array", "items": {"$ref": "#/x"}},
        },
    }


def _document(**schemas: dict[str, Any]) -> dict[str, Any]:
    return {"components": {"schemas": schemas}}


def test_documents_that_list_different_kinds_are_joined() -> None:
    kinds = [{"group": group, "version": "v1", "kind": "A"} for group in ("", "apps", "batch")]
    made = merged(
        [
            _document(A={"type": "object", KIND: kinds[:2]}, B={"type": "string"}),
            _document(A={"type": "object", KIND: kinds[1:]}, C={"type": "string"}),
            {},
        ]
    )
    assert made == {"A": {"type": "object", KIND: kinds}, "B": {"type": "string"}, "C": {"type": "string"}}


def test_documents_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="two documents differ in A"):
        merged([_document(A={"type": "object"}), _document(A={"type": "string"})])
