"""Rights are asked for at the start, of a server that knows roles, and what is missing has a name."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.access import AGAIN, REVIEW, Access, Preflight, review, rights
from informers.apiserver.core import ApiServer
from informers.client import Client, HttpRequest, HttpResponse, Transport
from informers.clock import SystemClock
from informers.controller import Controller
from informers.errors import Fenced, TransportError
from informers.leader import LeaderElector
from informers.manager import Manager
from informers.metrics import Metrics
from informers.objects import ObjectKey, Resource, Result
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.transport import ApiServerTransport
from tests.hanging import HANGS
from tests.informers.manager.operator import CONFIG_MAP, NAMESPACE, SECRET
from tests.sandbox.http.serving import client_of, serving

CLUSTER_ROLE = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)


def test_every_verb_and_place_is_one_question() -> None:
    found = rights(
        [
            Access(CONFIG_MAP, ("list", "watch"), ("a", "b")),
            Access(CONFIG_MAP, ("list",), ("a",)),
            Access(SECRET, ("patch",), subresource="status"),
            Access(NODE, ("get",), ("a",)),
            Access(CONFIG_MAP, ("update",), ("a",), name="x"),
        ]
    )
    assert [str(right) for right in found] == [
        "list configmaps in namespace a",
        "watch configmaps in namespace a",
        "list configmaps in namespace b",
        "watch configmaps in namespace b",
        "patch secrets/status in all namespaces",
        "get nodes",
        'update configmaps "x" in namespace a',
    ]


class Idle:
    async def reconcile(self, _: ObjectKey) -> Result:
        return Result.done()


def permit(server: EmbeddedServer, *verbs: str) -> None:
    """Let the account ``operator`` do these to ConfigMaps, leases and events, everywhere."""
    rule = {
        "apiGroups": ["", "coordination.k8s.io", "events.k8s.io"],
        "resources": ["configmaps", "leases", "events"],
        "verbs": list(verbs),
    }
    if server.core.find(CLUSTER_ROLE, ObjectKey("", "operator")) is not None:
        server.core.edit(CLUSTER_ROLE, ObjectKey("", "operator"), lambda obj: {**obj, "rules": [rule]})
        return
    api = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": NAMESPACE}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"namespace": NAMESPACE, "name": "operator"},
    }
    role = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "operator"},
        "rules": [rule],
    }
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "operator"},
        "subjects": [subject],
    }
    for obj in (account, role, binding):
        server.core.create(obj)


def manager_of(client: Client, elector: LeaderElector | None) -> Manager:
    manager = Manager(
        client,
        clock=SystemClock(),
        metrics=Metrics(process=False),
        leader=elector,
        metrics_address="0",
        health_address="0",
        preflight=True,
        rng=random.Random(0),
    )
    controller = Controller("idle", Idle(), access=[Access(CONFIG_MAP, ("patch",), (NAMESPACE,))])
    controller.watches(manager.informer(CONFIG_MAP))
    manager.add(controller)
    return manager


async def test_events_are_told_where_objects_and_the_lease_are() -> None:
    client = Client(ApiServerTransport(ApiServer(SystemClock())))
    elector = LeaderElector(client, "home", "lock", "me", clock=SystemClock())
    manager = Manager(client, clock=SystemClock(), metrics=Metrics(process=False), leader=elector)
    manager.informer(CONFIG_MAP, namespaces=["a", "b"])
    # Of no namespace: it must not seem as if all of them were watched.
    manager.informer(NODE)
    asked = [right for right in rights(manager.accesses()) if right.resource.plural == "events"]
    assert {right.namespace for right in asked} == {"a", "b", "home"}
    manager.informer(SECRET)
    asked = [right for right in rights(manager.accesses()) if right.resource.plural == "events"]
    assert {right.namespace for right in asked} == {""}


def problem(manager: Manager) -> str | None:
    (finding,) = manager.ready.findings(only=["access"])
    return finding.problem


async def test_readiness_names_verb_and_resource_on_a_server_with_roles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("informers.access.AGAIN", 0.2)
    async with serving() as server:
        permit(server, "get", "create", "update")
        async with client_of(server, tmp_path, f"{NAMESPACE}/operator") as client:
            elector = LeaderElector(
                Client(client.transport), NAMESPACE, "lock", "me", clock=SystemClock(), rng=random.Random(0)
            )

            def never() -> None:
                raise Fenced("a standby asks all the same")

            manager = manager_of(Client(client.transport, fence=never), elector)
            running = asyncio.ensure_future(manager.run())
            try:
                await until(lambda: "access" in manager.ready.names() and problem(manager) is not None)
                text = str(problem(manager))
                assert text == (
                    "not allowed to list, watch configmaps in all namespaces; "
                    "patch configmaps in namespace default; patch events.events.k8s.io in all namespaces"
                )
                permit(server, "get", "list", "watch", "create", "update", "patch")
                await until(lambda: problem(manager) is None)
            finally:
                running.cancel()
                await asyncio.wait([running])


async def until(condition: Any) -> None:
    async with asyncio.timeout(HANGS):
        while not condition():  # noqa: ASYNC110 (an HTTP server's answer)
            await asyncio.sleep(0.02)


def test_a_server_without_reviews_is_no_obstacle() -> None:
    class Bare:
        """Knows of nothing."""

        async def request(self, _: HttpRequest) -> HttpResponse:
            return HttpResponse(404, b"{}")

    async def main() -> None:
        client = Client(cast(Transport, Bare()), clock=VirtualClock())
        preflight = Preflight(client, [Access(CONFIG_MAP, ("list",))], clock=VirtualClock())
        await preflight.run()
        assert preflight.health() is None
        assert asyncio.get_running_loop().time() < AGAIN

    run_virtual(main())


def test_what_is_answered_counts_although_something_else_could_not_be_asked() -> None:
    class Moody:
        """Refuses to do anything, and every third time to say so."""

        def __init__(self) -> None:
            self.asked = 0

        async def request(self, request: HttpRequest) -> HttpResponse:
            self.asked += 1
            if self.asked % 3 == 0:
                return HttpResponse(503, b"{}")
            return HttpResponse(201, b'{"status": {"allowed": false}}')

    async def main() -> None:
        client = Client(cast(Transport, Moody()), clock=VirtualClock())
        preflight = Preflight(client, [Access(CONFIG_MAP, ("get", "list", "watch"))], clock=VirtualClock())
        running = asyncio.ensure_future(preflight.run())
        await asyncio.sleep(1)
        assert preflight.health() == "not allowed to get, list configmaps in all namespaces"
        running.cancel()

    run_virtual(main())


class Answering:
    """A server that answers every request with these bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def request(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(201, self._body, {})


@pytest.mark.parametrize("body", [b"<html>", b'{"status":{"reason":"\xff"}}', b"[" * 100_000, b"[]"])
async def test_an_answer_that_cannot_be_read_is_a_failed_request(body: bytes) -> None:
    transport = cast(Transport, Answering(body))
    with pytest.raises(TransportError, match="is not JSON"):
        await review(transport, REVIEW, {}, VirtualClock())
