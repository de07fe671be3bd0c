"""Informers and the client on the simulated API server, with all its rules, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from informers.apiserver.core import ApiServer
from informers.cache.informer import Delta, Informer
from informers.client import Client
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.definitions import definition
from tests.informers.watch.running import running, until

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
WIDGET = Resource("example.com", "v1", "widgets", "Widget")

WIDGETS = definition(
    "Widget",
    "example.com",
    {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    },
    subresources={"status": {}},
)


def config_map(name: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


def widget(name: str, **meta: Any) -> Object:
    metadata = {"name": name, "namespace": "default", **meta}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": {"size": 1}}


@asynccontextmanager
async def api_server(seed: int = 1) -> AsyncIterator[tuple[ApiServer, Client]]:
    """A running server with a default namespace, and a client of it."""
    clock = VirtualClock()
    server = ApiServer(clock, rng=random.Random(seed))
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
    task = asyncio.ensure_future(server.run())
    client = Client(ApiServerTransport(server, latency=0.002), clock=clock)
    try:
        yield server, client
    finally:
        await client.close()
        task.cancel()
        await asyncio.wait([task])


def informer_of(client: Client, resource: Resource, **options: Any) -> Informer:
    return Informer(client, resource, clock=VirtualClock(), rng=random.Random(2), **options)


def test_a_kind_that_is_not_served_yet_is_waited_for_and_named() -> None:
    async def scenario() -> None:
        async with api_server() as (_, client):
            informer = informer_of(client, WIDGET)
            async with running(informer, synced=False):
                await asyncio.sleep(30)
                problem = informer.health()
                assert problem is not None
                assert "widgets.example.com" in problem and "404" in problem
                await client.create(CRD, WIDGETS)
                await informer.wait_synced()
                await client.create(WIDGET, widget("w"))
                await until(lambda: informer.get(ObjectKey("default", "w")))
                assert informer.health() is None

    run_virtual(scenario())


def test_every_kind_of_write_is_read_back_at_once() -> None:
    async def scenario() -> None:
        async with api_server() as (_, client):
            await client.create(CRD, WIDGETS)
            informer = informer_of(client, WIDGET)
            key = ObjectKey("default", "w")
            async with running(informer):
                informer.written(await client.create(WIDGET, widget("w", finalizers=["example.com/f"])))
                view = informer.get(key)
                assert view is not None and view.generation == 1

                bigger = {**widget("w"), "spec": {"size": 2}}
                informer.written(await client.apply(WIDGET, bigger, field_manager="m", force=True))
                view = informer.get(key)
                assert view is not None and view.generation == 2 and view.object()["spec"] == {"size": 2}

                status = {**widget("w"), "status": {"ready": True}}
                status.pop("spec")
                informer.written(await client.update_status(WIDGET, status, field_manager="s"))
                view = informer.get(key)
                assert view is not None and view.object()["status"] == {"ready": True}

                informer.written(await client.delete(WIDGET, key, uid=view.uid))
                view = informer.get(key)
                assert view is not None and view.deleting

                release = {"metadata": {"finalizers": None}}
                informer.written(await client.patch(WIDGET, key, release))
                assert informer.get(key) is None
                await asyncio.sleep(120)
                assert informer.get(key) is None
                assert not any(scope._overlay for scope in informer._scopes.values())

    run_virtual(scenario())


def test_a_selector_follows_objects_in_and_out() -> None:
    async def scenario() -> None:
        async with api_server() as (_, client):
            informer = informer_of(client, CONFIG_MAP, label_selector="app=web")
            deltas: list[Delta] = []
            informer.add_handler(deltas.append)
            key = ObjectKey("default", "c")
            async with running(informer):
                await client.create(CONFIG_MAP, config_map("c"))
                await client.patch(CONFIG_MAP, key, {"metadata": {"labels": {"app": "web"}}})
                await until(lambda: informer.get(key))
                await client.patch(CONFIG_MAP, key, {"metadata": {"labels": {"app": None}}})
                await until(lambda: informer.get(key) is None)
                assert [(bool(d.old), bool(d.new)) for d in deltas] == [(False, True), (True, False)]

    run_virtual(scenario())


def test_the_cache_ends_as_the_server_s_state_under_load() -> None:
    async def scenario() -> None:
        dice = random.Random(5)
        async with api_server() as (server, client):
            informer = informer_of(client, CONFIG_MAP, namespace="default")
            async with running(informer):
                for number in range(400):
                    name = f"c-{dice.randrange(40)}"
                    key = ObjectKey("default", name)
                    try:
                        if dice.random() < 0.3:
                            await client.delete(CONFIG_MAP, key)
                        else:
                            body = config_map(name, number=str(number))
                            answer = await client.apply(CONFIG_MAP, body, field_manager="m", force=True)
                            informer.written(answer)
                            view = informer.get(key)
                            assert view is not None and view.object()["data"] == {"number": str(number)}
                    except NotFound:
                        continue
                await asyncio.sleep(5)
                truth = {
                    ObjectKey.of(obj): obj["metadata"]["resourceVersion"] for obj in server.all(CONFIG_MAP)
                }
                assert {view.key: view.resource_version for view in informer.list()} == truth

    run_virtual(scenario())
