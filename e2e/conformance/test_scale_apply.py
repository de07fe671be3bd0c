"""Server-side apply to a scale: its owners are noted in the object, as those of its subresource."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from e2e.conformance.asking import APPLY, MERGE, ask, found
from informers.client import HttpTransport
from informers.objects import Object

WIDE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LABELS = {"app": "scaled"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
SPEC: Object = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": POD}


def definition() -> Object:
    """A custom kind whose count is called otherwise."""
    shape = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
        },
    }
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": shape},
        "subresources": {"scale": paths, "status": {}},
    }
    names = {"kind": "Herd", "plural": "herds"}
    spec = {"group": "scale.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": "herds.scale.example.com"}
    kind = "CustomResourceDefinition"
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


class Scaled:
    """One object with a scale.

    :param count: the path of its number of replicas.
    """

    def __init__(self, transport: HttpTransport, path: str, version: str, count: tuple[str, str]) -> None:
        self._transport = transport
        self.path = path
        self.version = version
        self.count = count

    async def apply(
        self, manager: str, *query: tuple[str, str], metadata: Any = None, **body: Any
    ) -> tuple[int, Any]:
        """Apply to the scale."""
        named = {"name": "scaled"} if metadata is None else metadata
        sent = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": named, **body}
        parameters = (("fieldManager", manager),) if manager else ()
        return await found(
            self._transport, "PATCH", f"{self.path}/scale", *parameters, *query, body=sent, media=APPLY
        )

    async def owners(self) -> dict[tuple[str, str, str], str]:
        """Who owns the count: the version of the entry by manager, operation and subresource."""
        _, obj = await found(self._transport, "GET", self.path)
        part, name = self.count
        return {
            (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["apiVersion"]
            for entry in obj["metadata"]["managedFields"]
            if f"f:{name}" in entry["fieldsV1"].get(f"f:{part}", {})
        }

    async def replicas(self) -> int:
        """The count, as the object says it."""
        _, obj = await found(self._transport, "GET", self.path)
        return int(obj[self.count[0]][self.count[1]])


FORCE = ("force", "true")


HERDS = pytest.param(
    "herds", marks=pytest.mark.sandbox_only("a real server answers 500: it cannot convert such a scale")
)


@pytest.fixture(params=["deployments", "statefulsets", HERDS])
async def scaled(request: pytest.FixtureRequest, transport: HttpTransport) -> AsyncIterator[Scaled]:
    """An object of each kind, made by ``maker``."""
    plural = request.param
    group, kind = ("apps", "Deployment" if plural == "deployments" else "StatefulSet")
    spec, count = SPEC, ("spec", "replicas")
    if plural == "herds":
        group, kind, spec, count = "scale.example.com", "Herd", {"size": 0}, ("spec", "size")
        await found(transport, "POST", WIDE, body=definition())
    elif plural == "statefulsets":
        spec = {**SPEC, "serviceName": "none"}
    path = f"/apis/{group}/v1/namespaces/default/{plural}"
    body = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "scaled"}, "spec": spec}
    code = 404
    while code == 404:
        code = await _made(transport, path, body)
    yield Scaled(transport, f"{path}/scaled", f"{group}/v1", count)
    await found(transport, "DELETE", f"{path}/scaled")
    if plural == "herds":
        await found(transport, "DELETE", f"{WIDE}/herds.scale.example.com")


async def _made(transport: HttpTransport, path: str, body: Object) -> int:
    return (await ask(transport, "POST", path, ("fieldManager", "maker"), body=body)).status


async def test_the_count_is_taken_over_by_force_only(scaled: Scaled) -> None:
    code, said = await scaled.apply("me", spec={"replicas": 2})
    assert (code, said["reason"]) == (409, "Conflict")
    text = 'Apply failed with 1 conflict: conflict with "maker" using autoscaling/v1: .spec.replicas'
    assert said["message"] == text
    code, said = await scaled.apply("me", FORCE, spec={"replicas": 2})
    assert (code, said["kind"], said["spec"]) == (200, "Scale", {"replicas": 2})
    assert await scaled.replicas() == 2
    assert await scaled.owners() == {("me", "Apply", "scale"): scaled.version}


async def test_owners_of_a_scale_share_and_give_up(scaled: Scaled) -> None:
    await scaled.apply("me", FORCE, spec={"replicas": 2})
    code, said = await scaled.apply("you", spec={"replicas": 3})
    text = 'Apply failed with 1 conflict: conflict with "me" with subresource "scale": .spec.replicas'
    assert (code, said["message"]) == (409, text)
    assert (await scaled.apply("you", spec={"replicas": 2}))[0] == 200
    both = {("me", "Apply", "scale"): scaled.version, ("you", "Apply", "scale"): scaled.version}
    assert await scaled.owners() == both
    # An empty spec is owned as such, and says nothing about the count.
    assert (await scaled.apply("me", spec={}))[1]["spec"] == {"replicas": 2}
    assert await scaled.owners() == both
    assert (await scaled.apply("you"))[1]["spec"] == {"replicas": 2}
    assert await scaled.owners() == {("me", "Apply", "scale"): scaled.version}
    assert (await scaled.apply("me", spec={"replicas": 0}))[1]["spec"].get("replicas", 0) == 0
    assert await scaled.replicas() == 0


async def test_other_writes_take_the_count_from_who_applied_it(
    scaled: Scaled, transport: HttpTransport
) -> None:
    await scaled.apply("me", FORCE, spec={"replicas": 2})
    body = {"spec": {"replicas": 1}}
    manager = ("fieldManager", "patcher")
    await found(transport, "PATCH", f"{scaled.path}/scale", manager, body=body, media=MERGE)
    assert await scaled.owners() == {("patcher", "Update", "scale"): scaled.version}
    code, said = await scaled.apply("me", spec={"replicas": 2})
    assert (code, said["details"]["causes"][0]["field"]) == (409, ".spec.replicas")
    assert 'conflict with "patcher" with subresource "scale" using autoscaling/v1' in said["message"]


async def test_a_dry_run_changes_nothing(scaled: Scaled) -> None:
    code, said = await scaled.apply("me", FORCE, ("dryRun", "All"), spec={"replicas": 7})
    assert (code, said["spec"]) == (200, {"replicas": 7})
    assert await scaled.replicas() == 0
    assert await scaled.owners() == {("maker", "Update", ""): scaled.version}


async def test_what_makes_no_sense_is_refused(scaled: Scaled) -> None:
    assert (await scaled.apply("", spec={"replicas": 1}))[0] == 422
    code, said = await scaled.apply("me", FORCE, spec={"replicas": -1})
    assert (code, said["reason"]) == (422, "Invalid")
    code, said = await scaled.apply("me", FORCE, spec={"replicas": 1, "colour": "red"})
    why = "failed to create typed patch object (/scaled; autoscaling/v1, Kind=Scale)"
    assert (code, said["message"]) == (500, f"{why}: .spec.colour: field not declared in schema")
    assert (await scaled.apply("me", FORCE, metadata={"name": "other"}, spec={"replicas": 1}))[0] == 400
    code, said = await scaled.apply("me", FORCE, metadata={"name": "scaled", "managedFields": []}, spec={})
    assert (code, said["message"]) == (400, "metadata.managedFields must be nil")
    stale = {"name": "scaled", "resourceVersion": "1"}
    assert (await scaled.apply("me", FORCE, metadata=stale, spec={"replicas": 1}))[0] == 409
    body = {"apiVersion": scaled.version, "kind": "Other", "spec": {"replicas": 1}}
    code, said = await scaled.apply("me", FORCE, **body)
    assert (code, said["message"]) == (400, f"invalid object type: {scaled.version}, Kind=Other")
    assert await scaled.owners() == {("maker", "Update", ""): scaled.version}
