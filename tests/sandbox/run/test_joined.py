"""A sandbox that joins a cluster: who may, what it changes there, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e import occupation
from e2e.joined import JoinedServer
from etl_operator.api import PIPELINE
from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from etl_operator.sandbox.http.server import EmbeddedServer
from etl_operator.sandbox.loops import kinds, run_loops
from etl_operator.sandbox.loops.claims import DEFAULT_CLASS, OWN_CLASS
from etl_operator.sandbox.manifests import built_in, load_manifests
from etl_operator.sandbox.watching import apply_all
from informers.client import Client, load_kubeconfig
from informers.errors import ConfigError, NotFound, TransportError
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import client_of, eventually, serving

ACCOUNT = "etl-operator-system/etl-operator-controller-manager"
NODE = ObjectKey("", "worker")
STANDARD = ObjectKey("", "standard")


@dataclass
class World:
    """A cluster with a node and StorageClasses, and its administrator."""

    server: EmbeddedServer
    client: Client
    directory: Path

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "admin" / "config"

    def sandbox(self, name: str = "one", kubeconfig: Path | None = None) -> JoinedServer:
        state_dir = self.directory / name
        state_dir.mkdir(exist_ok=True)
        return JoinedServer(kubeconfig or self.kubeconfig, state_dir)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving() as server, client_of(server, tmp_path) as client:
        loops = asyncio.create_task(run_loops(client))
        made = World(server, client, tmp_path)
        write_kubeconfig(made.kubeconfig, server.admin_kubeconfig())
        await client.create(kinds.NODE, body(kinds.NODE, "worker"))
        for name, default in (("standard", "true"), ("fast", "true"), ("other", "false")):
            found = body(kinds.STORAGE_CLASS, name, annotations={DEFAULT_CLASS: default})
            await client.create(kinds.STORAGE_CLASS, {**found, "provisioner": "example.com/disk"})
        yield made
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)


def body(resource: Resource, name: str, **metadata: Any) -> Object:
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, **metadata},
    }


async def names(client: Client, resource: Resource) -> set[str]:
    return {one["metadata"]["name"] for one in (await client.list(resource)).items}


async def play(client: Client) -> None:
    """What a sandbox and its tests do: install, make a namespace, a claim and a pod, and a pipeline."""
    await apply_all(client, [OWN_CLASS])
    await apply_all(
        client, [one for one in load_manifests(built_in("default")) if one["kind"] != "Deployment"]
    )
    await client.create(kinds.NODE, body(kinds.NODE, "sandbox"))
    await client.create(kinds.NAMESPACE, body(kinds.NAMESPACE, "test-of-something"))
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.raw("POST", kinds.PVC.path("default"), body={**body(kinds.PVC, "data"), "spec": claim})
    pod = {"nodeName": "sandbox", "containers": [{"name": "c", "image": "i"}]}
    await client.raw("POST", kinds.POD.path("default"), body={**body(kinds.POD, "p"), "spec": pod})
    for namespace in ("default", "test-of-something"):
        guarded = body(PIPELINE, "flow", finalizers=["etl.router/cleanup"])
        made = {**guarded, "spec": {"source": "a", "sink": "b"}}
        await client.raw("POST", PIPELINE.path(namespace), body=made)

    async def bound() -> bool:
        return bool(
            (await client.get(kinds.PVC, ObjectKey("default", "data"))).get("status", {}).get("phase")
        )

    await eventually(bound, what="the claim is bound")


CLUSTER_WIDE = tuple(
    Resource(group, "v1", f"{kind.lower()}s", kind, namespaced=False)
    for group, kind in (
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "PersistentVolume"),
        ("", "Namespace"),
        ("", "Node"),
    )
)
NAMESPACED = (kinds.CONFIG_MAP, kinds.LEASE, kinds.POD, kinds.PVC, kinds.SERVICE_ACCOUNT)


async def everything(client: Client) -> dict[str, set[str]]:
    """The names of whatever a sandbox could leave behind."""
    return {one.plural: await names(client, one) for one in (*CLUSTER_WIDE, *NAMESPACED)}


async def storage_classes(client: Client) -> dict[str, tuple[str, Object]]:
    """Provisioner and annotations by name."""
    found = (await client.list(kinds.STORAGE_CLASS)).items
    return {one["metadata"]["name"]: (one["provisioner"], one["metadata"]["annotations"]) for one in found}


async def test_the_cluster_is_afterwards_as_it_was(world: World) -> None:
    client = world.client
    before, classes = await everything(client), await storage_classes(client)
    sandbox = world.sandbox()
    await sandbox.start()
    assert (await client.get(kinds.NODE, NODE))["spec"]["unschedulable"] is True
    await play(client)
    meanwhile = await storage_classes(client)
    assert meanwhile["standard"][0] == OWN_CLASS["provisioner"]
    assert [name for name, (_, notes) in meanwhile.items() if notes[DEFAULT_CLASS] == "true"] == ["standard"]
    await sandbox.stop()
    assert await everything(client) == before
    assert "unschedulable" not in (await client.get(kinds.NODE, NODE))["spec"]
    assert await storage_classes(client) == classes


async def test_what_a_killed_sandbox_left_goes_first_unless_it_is_taken_up_again(world: World) -> None:
    killed = world.sandbox("one")
    await killed.start()
    await play(world.client)
    assert killed._lock is not None
    # As when its process ends.
    killed._lock.close()
    again = world.sandbox("one")
    await again.start()
    assert await world.client.get(kinds.POD, ObjectKey("default", "p"))
    assert again._lock is not None
    again._lock.close()
    other = world.sandbox("two")
    await other.start()
    with pytest.raises(NotFound):
        await world.client.get(kinds.POD, ObjectKey("default", "p"))
    assert (await world.client.get(kinds.NODE, NODE))["spec"]["unschedulable"] is True
    await other.stop()
    found = await world.client.get(kinds.STORAGE_CLASS, STANDARD)
    assert found["provisioner"] == "example.com/disk"
    assert found["metadata"]["annotations"] == {DEFAULT_CLASS: "true"}
    for one in (killed, again):
        assert one._client is not None
        await one._client.close()


async def test_one_sandbox_at_a_time(world: World) -> None:
    first, second = world.sandbox("one"), world.sandbox("two")
    await first.start()
    with pytest.raises(ConfigError, match="another sandbox has joined"):
        await second.start()
    await second.stop()
    assert await occupation.run_recorded(world.client), "the first is not disturbed"
    await first.stop()


async def test_an_installation_of_somebody_elses_is_not_touched(world: World) -> None:
    await apply_all(world.client, load_manifests(built_in("crd")))
    before = await everything(world.client)
    sandbox = world.sandbox()
    with pytest.raises(ConfigError, match="the operator is installed there"):
        await sandbox.start()
    await sandbox.stop()
    assert await everything(world.client) == before


async def test_who_may_not_do_everything_is_refused(world: World) -> None:
    account = body(kinds.SERVICE_ACCOUNT, "reader")
    await world.client.raw("POST", kinds.SERVICE_ACCOUNT.path("default"), body=account)
    config = world.directory / "reader"
    write_kubeconfig(config, world.server.kubeconfig_for("default/reader"))
    sandbox = world.sandbox(kubeconfig=config)
    with pytest.raises(ConfigError, match="may not do everything"):
        await sandbox.start()
    await sandbox.stop()


async def test_a_server_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c"}}],
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            }
        )
    )
    with pytest.raises(TransportError):
        await JoinedServer(config, tmp_path).start()


async def test_kubeconfigs_carry_the_way_and_the_operators_is_not_the_administrators(
    world: World, tmp_path: Path
) -> None:
    given = world.server.admin_kubeconfig()
    cluster = given["clusters"][0]["cluster"]
    authority = base64.b64decode(cluster.pop("certificate-authority-data"))
    (tmp_path / "ca.crt").write_bytes(authority)
    cluster["certificate-authority"] = "ca.crt"
    cluster["tls-server-name"] = "127.0.0.1"
    token = given["users"][0]["user"].pop("token")
    (tmp_path / "token").write_text(token)
    given["users"][0]["user"]["tokenFile"] = "token"
    config = tmp_path / "by-files"
    config.write_text(yaml.safe_dump(given))
    sandbox = world.sandbox(kubeconfig=config)
    await sandbox.start()
    await play(world.client)
    elsewhere = tmp_path / "elsewhere" / "config"
    for made, user in (
        (sandbox.admin_kubeconfig(), {"tokenFile": str(tmp_path / "token")}),
        (await sandbox.kubeconfig_for(ACCOUNT), None),
    ):
        write_kubeconfig(elsewhere, made)
        access = load_kubeconfig(str(elsewhere))
        assert (access.server, access.tls.ca_data) == (world.server.url, authority)
        assert access.tls.server_name == "127.0.0.1"
        found = made["users"][0]["user"]
        assert found == user or (user is None and list(found) == ["token"] and found["token"] != token)
    await sandbox.stop()
