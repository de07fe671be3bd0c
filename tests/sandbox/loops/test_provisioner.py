"""Claims and their volumes against a real API server: made, grown, removed, and what is left to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from etl_operator.sandbox.loops import kinds, run_loops
from etl_operator.sandbox.loops.claims import OWN_CLASS, PROVISIONED_BY, PROVISIONER
from informers.client import Client
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import client_of, eventually, serving

KEY = ObjectKey("default", "data")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """Of a server with the claim loop alone."""
    async with serving() as server, client_of(server, tmp_path) as made:
        await made.create(kinds.STORAGE_CLASS, OWN_CLASS)
        loops = asyncio.create_task(run_loops(made, only=("PersistentVolumeClaim",)))
        yield made
        assert not loops.done()
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)


def claim(name: str = "data", **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


async def becomes(client: Client, resource: Resource, key: ObjectKey, **status: Any) -> Object:
    async def look() -> Object | None:
        found = await client.get(resource, key)
        now = found.get("status") or {}
        return found if all(now.get(name) == value for name, value in status.items()) else None

    return await eventually(look, what=f"{resource.kind} {key}: {status}")


async def gone(client: Client, resource: Resource, key: ObjectKey) -> None:
    async def look() -> bool:
        try:
            await client.get(resource, key)
        except NotFound:
            return True
        return False

    await eventually(look, what=f"{resource.kind} {key} is gone")


async def bound(client: Client, key: ObjectKey = KEY) -> Object:
    """The volume of a claim, once both are bound."""
    found = await becomes(client, kinds.PVC, key, phase="Bound")
    return await becomes(client, kinds.VOLUME, ObjectKey("", found["spec"]["volumeName"]), phase="Bound")


async def test_a_claim_gets_a_volume_that_grows_and_goes_with_it(client: Client) -> None:
    made = await client.create(kinds.PVC, claim())
    volume = await bound(client)
    assert volume["metadata"]["name"] == f"pvc-{made['metadata']['uid']}"
    assert volume["spec"]["claimRef"]["uid"] == made["metadata"]["uid"]
    assert volume["spec"]["storageClassName"] == "standard"
    await client.patch(kinds.PVC, KEY, {"spec": {"resources": {"requests": {"storage": "2Gi"}}}})
    await becomes(client, kinds.PVC, KEY, capacity={"storage": "2Gi"})
    key = ObjectKey.of(volume)
    assert (await client.get(kinds.VOLUME, key))["spec"]["capacity"] == {"storage": "2Gi"}
    await client.delete(kinds.PVC, KEY)
    await gone(client, kinds.VOLUME, key)


async def test_a_name_that_comes_back_gets_another_volume(client: Client) -> None:
    await client.create(kinds.PVC, claim())
    first = ObjectKey.of(await bound(client))
    await client.delete(kinds.PVC, KEY)
    await gone(client, kinds.PVC, KEY)
    await client.create(kinds.PVC, claim())
    await gone(client, kinds.VOLUME, first)
    assert ObjectKey.of(await bound(client)) != first


async def test_what_shall_be_retained_is_released(client: Client) -> None:
    meta = {"metadata": {"name": "kept"}, "reclaimPolicy": "Retain"}
    await client.create(kinds.STORAGE_CLASS, {**OWN_CLASS, **meta})
    await client.create(kinds.PVC, claim(storageClassName="kept"))
    key = ObjectKey.of(await bound(client))
    await client.delete(kinds.PVC, KEY)
    await becomes(client, kinds.VOLUME, key, phase="Released")


async def test_claims_of_another_provisioner_are_left_to_it(client: Client) -> None:
    other = {**OWN_CLASS, "metadata": {"name": "other"}, "provisioner": "example.com/disk"}
    await client.create(kinds.STORAGE_CLASS, other)
    await client.create(kinds.PVC, claim("theirs", storageClassName="other"))
    # The loop takes one after the other: when this is done, so is the one before.
    await client.create(kinds.PVC, claim("ours"))
    await bound(client, ObjectKey("default", "ours"))
    theirs = ObjectKey("default", "theirs")
    assert "volumeName" not in (await client.get(kinds.PVC, theirs))["spec"]
    await client.delete(kinds.STORAGE_CLASS, ObjectKey("", "other"))
    await client.create(kinds.STORAGE_CLASS, {**other, "provisioner": PROVISIONER})
    await bound(client, theirs)


async def test_a_volume_of_another_provisioner_is_not_ours_to_bind(client: Client) -> None:
    other = {**OWN_CLASS, "metadata": {"name": "other"}, "provisioner": "example.com/disk"}
    await client.create(kinds.STORAGE_CLASS, other)
    made = await client.create(kinds.PVC, claim(storageClassName="other"))
    name = f"pvc-{made['metadata']['uid']}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: "example.com/disk"}},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": "default", "name": "data", "uid": made["metadata"]["uid"]},
            "hostPath": {"path": "/disk"},
        },
    }
    await client.create(kinds.VOLUME, volume)
    # Its class goes, and another of the name comes, as when a sandbox joins a cluster.
    await client.delete(kinds.STORAGE_CLASS, ObjectKey("", "other"))
    await client.create(kinds.STORAGE_CLASS, {**other, "provisioner": PROVISIONER})
    await client.create(kinds.PVC, claim("later", storageClassName="other"))
    await bound(client, ObjectKey("default", "later"))
    await client.create(kinds.PVC, claim("last"))
    await bound(client, ObjectKey("default", "last"))
    assert "volumeName" not in (await client.get(kinds.PVC, KEY))["spec"]


async def test_a_class_that_is_nowhere_is_no_obstacle(client: Client) -> None:
    await client.create(kinds.PVC, claim(storageClassName="fast"))
    assert (await bound(client))["spec"]["storageClassName"] == "fast"
