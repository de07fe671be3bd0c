from __future__ import annotations

import pytest

from informers.testing.apiserver.bundle import builtin_schemas, definitions

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
