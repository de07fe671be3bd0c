"""The server as a process of its own: killed at any moment, it has every write it acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from informers.client import Client, HttpTransport, load_kubeconfig
from informers.errors import ApiError, NotFound, ServerError, TransportError
from informers.objects import ObjectKey, Resource
from tests.sandbox.http.serving import CONFIG_MAP, client_of, config_map, eventually, serving

NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
PROGRAM = """
import asyncio, resource, sys
from pathlib import Path
from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from etl_operator.sandbox.http.server import EmbeddedServer

async def main(directory: Path, limit: int) -> None:
    server = EmbeddedServer(state_dir=directory)
    await server.start()
    write_kubeconfig(directory / "kubeconfig", server.admin_kubeconfig())
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@contextlib.asynccontextmanager
async def server_process(
    directory: Path, limit: int = 0
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """A server in a process of its own, and its administrator.

    :param limit: bytes beyond which no file may grow once it is up; 0 for no limit.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(directory), str(limit)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if limit else None,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    client = Client(HttpTransport(load_kubeconfig(str(directory / "kubeconfig"))))
    try:
        yield process, client
    finally:
        await client.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_kill_9_under_load_loses_no_acknowledged_write(tmp_path: Path) -> None:
    acknowledged: dict[str, str | None] = {}
    rng = random.Random(7)
    for round_ in range(3):
        async with server_process(tmp_path) as (process, client):
            await _all_there(client, acknowledged)
            writers = [
                asyncio.create_task(_write(client, f"r{round_}-w{number}", acknowledged))
                for number in range(6)
            ]
            count = len(acknowledged) + rng.randint(20, 120)

            async def enough(count: int = count) -> bool:
                return len(acknowledged) >= count

            await eventually(enough, what="some writes are acknowledged")
            os.kill(process.pid, signal.SIGKILL)
            await asyncio.gather(*writers)
    async with server_process(tmp_path) as (_, client):
        await _all_there(client, acknowledged)


async def _write(client: Client, prefix: str, acknowledged: dict[str, str | None]) -> None:
    """Create, change and delete until the server is gone; note what it has said yes to."""
    with contextlib.suppress(TransportError):
        for number in range(10_000):
            name = f"{prefix}-{number}"
            key = ObjectKey("default", name)
            # What is under way when the server dies may have happened or not.
            await client.create(CONFIG_MAP, config_map(name, value="one"))
            acknowledged[name] = "one"
            if number % 3 == 1:
                del acknowledged[name]
                await client.patch(CONFIG_MAP, key, {"data": {"value": "two"}})
                acknowledged[name] = "two"
            elif number % 3 == 2:
                del acknowledged[name]
                await client.delete(CONFIG_MAP, key)
                acknowledged[name] = None


async def _all_there(client: Client, acknowledged: dict[str, str | None]) -> None:
    found = {
        one["metadata"]["name"]: one["data"]["value"]
        for one in (await client.list(CONFIG_MAP, namespace="default")).items
        if "value" in (one.get("data") or {})
    }
    for name, value in acknowledged.items():
        assert found.get(name) == value, name


async def test_versions_go_on_where_they_were(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, client_of(server, tmp_path) as client:
        made = await client.create(CONFIG_MAP, config_map("a", value="1"))
        await client.create(CONFIG_MAP, config_map("b", value="1"))
        await client.delete(CONFIG_MAP, ObjectKey("default", "b"))
        uid = (await client.get(NAMESPACE, ObjectKey("", "default")))["metadata"]["uid"]
        token = server.admin_kubeconfig()["users"]
    async with serving(tmp_path) as server, client_of(server, tmp_path) as client:
        assert server.admin_kubeconfig()["users"] == token
        assert await client.get(CONFIG_MAP, ObjectKey("default", "a")) == made
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAP, ObjectKey("default", "b"))
        assert (await client.get(NAMESPACE, ObjectKey("", "default")))["metadata"]["uid"] == uid
        later = await client.create(CONFIG_MAP, config_map("c", value="1"))
        assert int(later["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"]) + 2


async def test_definitions_serve_their_kind_after_a_restart(tmp_path: Path) -> None:
    crd = Resource(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
    )
    thing = Resource("example.com", "v1", "things", "Thing")
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    definition = {
        "apiVersion": crd.api_version,
        "kind": crd.kind,
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version],
        },
    }
    body = {
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": {"name": "t", "namespace": "default"},
        "spec": {"any": "thing"},
    }
    async with serving(tmp_path) as server, client_of(server, tmp_path) as client:
        await client.create(crd, definition)

        async def made() -> bool:
            try:
                await client.create(thing, body)
            except NotFound:
                return False
            return True

        await eventually(made, what="the kind is served")
    async with serving(tmp_path) as server, client_of(server, tmp_path) as client:
        assert (await client.get(thing, ObjectKey("default", "t")))["spec"] == {"any": "thing"}


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs file size limits")
async def test_a_full_disk_refuses_writes_and_serves_on(tmp_path: Path) -> None:
    async with server_process(tmp_path) as (_, client):
        await client.create(CONFIG_MAP, config_map("before", value="kept"))
    written = 0
    async with server_process(tmp_path, limit=4_000_000) as (_, client):
        with pytest.raises(ServerError) as refused:
            for written in range(1000):
                await client.create(CONFIG_MAP, config_map(f"big-{written}", value="x" * 50_000))
        assert refused.value.status == 507
        assert "cannot store objects in the state directory" in str(refused.value)
        assert written > 2
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAP, ObjectKey("default", f"big-{written}"))
        with pytest.raises(ApiError):
            await client.create(CONFIG_MAP, config_map("another", value="x" * 50_000))
        names = {
            one["metadata"]["name"] for one in (await client.list(CONFIG_MAP, namespace="default")).items
        }
        assert {"before", "big-0"} <= names
    async with server_process(tmp_path) as (_, client):
        again = {
            one["metadata"]["name"] for one in (await client.list(CONFIG_MAP, namespace="default")).items
        }
        assert again == names
