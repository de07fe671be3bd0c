"""What a sandbox changes in a cluster that is there already, and how every trace of it goes again.

Only for clusters that may be thrown away. While a sandbox has joined, the other nodes are cordoned, no
other StorageClass is the default, one that is named as the sandbox's own is gone, and a ConfigMap says who is
there and what was there before. Afterwards everything that came with the sandbox is deleted, namespaces that
tests made included.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from e2e.scene import CHILDREN, CONFIG_MAP, ETL, EVENT, NAMESPACE, POD, PVC
from etl_operator.sandbox.loops.claims import DEFAULT_CLASS, OWN_CLASS, PROVISIONED_BY, PROVISIONER
from etl_operator.sandbox.loops.kinds import LEASE, NODE, STORAGE_CLASS, VOLUME
from etl_operator.sandbox.manifests import built_in, load_manifests
from informers.client import Client
from informers.errors import AlreadyExists, Conflict, NotFound, Terminal, TooManyRequests
from informers.objects import Object, ObjectKey, Resource

NODE_NAME = "sandbox"
"""As the process node calls itself."""
RECORD = ObjectKey("kube-system", "etl-operator-sandbox")
"""The ConfigMap that says whose sandbox has joined."""

_DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
_ROLES = tuple(
    Resource("rbac.authorization.k8s.io", "v1", f"{kind.lower()}s", kind, namespaced=False)
    for kind in ("ClusterRole", "ClusterRoleBinding")
)
_GROUP = ETL[0].group
_CLUSTER_LABEL = "etl.router/cluster"
_SET_ASIDE = "sandbox.etl.router/set-aside"
"""An annotation on what was changed and has to be put back."""
_MANAGER = "etl-operator-sandbox"
_LEFT_WITHIN = 30.0
"""Seconds; a sandbox that stops has one minute for all it has to do."""
_AGAIN = 0.3


async def run_recorded(client: Client) -> str | None:
    """Which run of a sandbox has joined the cluster, or ``None``."""
    with suppress(NotFound):
        return str((await client.get(CONFIG_MAP, RECORD))["data"]["run"])
    return None


async def has_own_installation(client: Client) -> bool:
    """Whether somebody has installed the operator here; only asked while no sandbox is recorded."""
    return bool(await _definitions(client))


async def occupy(client: Client, run: str) -> None:
    """Write the record, unless it is there; send pods and claims to the sandbox alone.

    :param run: tells this sandbox, and those that take it up again, from others.
    """
    name = OWN_CLASS["metadata"]["name"]
    classes = [one for one in await _all(client, STORAGE_CLASS) if one["provisioner"] != PROVISIONER]
    replaced = [one for one in classes if one["metadata"]["name"] == name]
    if await run_recorded(client) is None:
        await _write_record(client, run, replaced)
    await set_aside(client)
    for one in replaced:
        await _delete(client, STORAGE_CLASS, ObjectKey.of(one))


async def set_aside(client: Client) -> None:
    """Cordon the nodes of the cluster, and let none of its StorageClasses be the default."""
    marked = {_SET_ASIDE: "true"}
    for node in await _all(client, NODE):
        if node["metadata"]["name"] != NODE_NAME and not node["spec"].get("unschedulable"):
            cordoned = {"metadata": {"annotations": marked}, "spec": {"unschedulable": True}}
            await client.patch(NODE, ObjectKey.of(node), cordoned, field_manager=_MANAGER)
    for one in await _all(client, STORAGE_CLASS):
        if one["provisioner"] != PROVISIONER and _annotations(one).get(DEFAULT_CLASS) == "true":
            moved = {"metadata": {"annotations": {**marked, DEFAULT_CLASS: "false"}}}
            await client.patch(STORAGE_CLASS, ObjectKey.of(one), moved, field_manager=_MANAGER)


async def leave(client: Client) -> None:
    """Delete everything that came with a sandbox, and put back what was set aside. Safe to repeat.

    :raises informers.errors.Terminal: naming what does not go within 30 s.
    """
    try:
        record = (await client.get(CONFIG_MAP, RECORD))["data"]
    except NotFound:
        return
    try:
        await _delete_all(client, frozenset(record["namespaces"].split()))
    finally:
        for one in json.loads(record["classes"]):
            with suppress(AlreadyExists):
                await client.create(STORAGE_CLASS, one)
        await put_back(client)
    await _delete(client, CONFIG_MAP, RECORD)


async def _write_record(client: Client, run: str, replaced: list[Object]) -> None:
    namespaces = " ".join(one["metadata"]["name"] for one in await _all(client, NAMESPACE))
    classes = json.dumps([_as_made(one) for one in replaced])
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": RECORD.name, "namespace": RECORD.namespace},
        "data": {"run": run, "namespaces": namespaces, "classes": classes},
    }
    await client.create(CONFIG_MAP, body)


def _as_made(obj: Object) -> Object:
    """An object without what the server adds."""
    meta = {
        name: obj["metadata"][name] for name in ("name", "labels", "annotations") if name in obj["metadata"]
    }
    kind = {"apiVersion": STORAGE_CLASS.api_version, "kind": STORAGE_CLASS.kind}
    return {**obj, **kind, "metadata": meta}


async def _delete_all(client: Client, kept: frozenset[str]) -> None:
    # The node first: as long as it is there, DaemonSets send it pods.
    await _delete(client, LEASE, ObjectKey("kube-node-lease", NODE_NAME))
    await _delete(client, NODE, ObjectKey("", NODE_NAME))
    deadline = time.monotonic() + _LEFT_WITHIN
    left = await _sweep(client, kept)
    while left:
        if time.monotonic() > deadline:
            raise Terminal(f"the cluster still holds {', '.join(left[:10])}")
        await asyncio.sleep(_AGAIN)
        left = await _sweep(client, kept)
    # What tests look for must not be what happened to an earlier sandbox.
    await client.raw("DELETE", EVENT.path("default"))


async def _sweep(client: Client, kept: frozenset[str]) -> list[str]:
    """Ask for the end of everything that came with a sandbox; what is still there."""
    found = await _found(client, kept)
    await asyncio.gather(*(_end(client, resource, obj) for resource, obj in found))
    return [f"{resource.kind} {ObjectKey.of(obj)}" for resource, obj in found]


async def _found(client: Client, kept: frozenset[str]) -> list[tuple[Resource, Object]]:
    installed = {obj["metadata"]["name"] for obj in load_manifests(built_in("default"))}
    ours: list[tuple[Resource, Object]] = []
    for resource in ETL:
        # A new kind cannot be listed for a moment; its definition is there all the same.
        with suppress(TooManyRequests):
            ours += [(resource, one) for one in await _all(client, resource)]
    for resource in (*CHILDREN, POD):
        ours += [(resource, one) for one in await _all(client, resource, labelled=_CLUSTER_LABEL)]
    ours += [(POD, one) for one in await _all(client, POD, fields=f"spec.nodeName={NODE_NAME}")]
    ours += [(NAMESPACE, one) for one in await _all(client, NAMESPACE) if one["metadata"]["name"] not in kept]
    ours += [(_DEFINITION, one) for one in await _definitions(client)]
    for resource in _ROLES:
        ours += [
            (resource, one) for one in await _all(client, resource) if one["metadata"]["name"] in installed
        ]
    ours += [(LEASE, one) for one in await _all(client, LEASE) if _is_operators(one)]
    volumes = [one for one in await _all(client, VOLUME) if _provisioner(one) == PROVISIONER]
    used_by = {one["spec"]["claimRef"]["uid"] for one in volumes}
    claims = [one for one in await _all(client, PVC) if one["metadata"]["uid"] in used_by]
    ours += [(PVC, one) for one in claims]
    # Claims are told by their volumes, so those go after them.
    ours += [(VOLUME, one) for one in volumes if not claims]
    ours += [
        (STORAGE_CLASS, one) for one in await _all(client, STORAGE_CLASS) if one["provisioner"] == PROVISIONER
    ]
    return ours


async def _end(client: Client, resource: Resource, obj: Object) -> None:
    """Delete an object without waiting for those who guard it: they have ended, or would come too late."""
    key, meta = ObjectKey.of(obj), obj["metadata"]
    guarded = resource in ETL or resource in (PVC, VOLUME)
    with suppress(NotFound, Conflict):
        if guarded and meta.get("finalizers"):
            await client.patch(resource, key, {"metadata": {"uid": meta["uid"], "finalizers": None}})
        if resource is POD:
            # There is no node any more to confirm that it has ended.
            await client.delete(POD, key, uid=meta["uid"], grace_period=0)
        elif not meta.get("deletionTimestamp"):
            await client.delete(resource, key, uid=meta["uid"], propagation="Background")


async def put_back(client: Client) -> None:
    """Undo :func:`set_aside`."""
    for node in await _all(client, NODE):
        if _SET_ASIDE in _annotations(node):
            back: dict[str, Any] = {
                "metadata": {"annotations": {_SET_ASIDE: None}},
                "spec": {"unschedulable": None},
            }
            await client.patch(NODE, ObjectKey.of(node), back, field_manager=_MANAGER)
    for found in await _all(client, STORAGE_CLASS):
        if _SET_ASIDE in _annotations(found):
            default = {"metadata": {"annotations": {_SET_ASIDE: None, DEFAULT_CLASS: "true"}}}
            await client.patch(STORAGE_CLASS, ObjectKey.of(found), default, field_manager=_MANAGER)


def _provisioner(volume: Object) -> str | None:
    return _annotations(volume).get(PROVISIONED_BY)


def _is_operators(lease: Object) -> bool:
    return bool(lease["metadata"]["name"] == "etl-operator-leader")


def _annotations(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


async def _definitions(client: Client) -> list[Object]:
    return [one for one in await _all(client, _DEFINITION) if one["spec"]["group"] == _GROUP]


async def _all(client: Client, resource: Resource, *, labelled: str = "", fields: str = "") -> list[Object]:
    """Every object of a kind; none of a kind that is not, or no longer, defined."""
    with suppress(NotFound):
        return (await client.list(resource, label_selector=labelled, field_selector=fields)).items
    return []


async def _delete(client: Client, resource: Resource, key: ObjectKey) -> None:
    with suppress(NotFound):
        await client.delete(resource, key)
