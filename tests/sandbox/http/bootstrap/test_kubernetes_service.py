"""``default/kubernetes``: where clients inside the cluster find the API server."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_operator.sandbox.http.bootstrap.kubernetes_service import reconcile
from etl_operator.sandbox.http.server import EmbeddedServer
from etl_operator.sandbox.resolving import ClusterNames, Target
from informers.apiserver.errors import StatusError
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import serving

KEY = ObjectKey("default", "kubernetes")
SERVICE = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
SLICE = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")


def found(server: EmbeddedServer, resource: Resource) -> Object:
    obj = server.core.find(resource, KEY)
    assert obj is not None
    return obj


def port_of(server: EmbeddedServer) -> int:
    return int(server.url.rpartition(":")[2])


def leads_to(server: EmbeddedServer) -> list[Target]:
    """Where the name of the Service leads."""
    names = ClusterNames(
        lambda key: server.core.find(SERVICE, key), lambda key: filter(None, [server.core.find(SLICE, key)])
    )
    return names.resolve("kubernetes.default.svc", 443)


async def test_it_is_there_from_the_start() -> None:
    async with serving() as server:
        service = found(server, SERVICE)
        assert service["metadata"]["labels"] == {"component": "apiserver", "provider": "kubernetes"}
        assert service["spec"]["clusterIP"] == "10.96.0.1"
        assert service["spec"]["ports"] == [
            {"name": "https", "port": 443, "protocol": "TCP", "targetPort": port_of(server)}
        ]
        assert "selector" not in service["spec"]
        (subset,) = found(server, ENDPOINTS)["subsets"]
        assert subset["addresses"] == [{"ip": "127.0.0.1"}]
        assert found(server, SLICE)["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
        assert leads_to(server) == [Target("127.0.0.1", port_of(server))]


async def test_it_follows_the_server_to_another_port(tmp_path: Path) -> None:
    ports, uids = set(), set()
    for _ in range(2):
        async with serving(tmp_path) as server:
            ports.add(port_of(server))
            uids.add(found(server, SERVICE)["metadata"]["uid"])
            assert leads_to(server) == [Target("127.0.0.1", port_of(server))]
            assert found(server, ENDPOINTS)["subsets"][0]["ports"][0]["port"] == port_of(server)
    assert len(uids) == 1


@pytest.mark.parametrize("resource", [SERVICE, ENDPOINTS, SLICE])
async def test_what_is_deleted_comes_back(resource: Resource) -> None:
    async with serving() as server:
        before = found(server, resource)["metadata"]["uid"]
        server.core.delete(resource, KEY)
        reconcile(server.core, "127.0.0.1", port_of(server))
        assert found(server, resource)["metadata"]["uid"] != before
        assert found(server, SERVICE)["spec"]["clusterIP"] == "10.96.0.1"


async def test_endpoints_that_lead_elsewhere_are_put_right_and_nothing_else_is_written() -> None:
    async with serving() as server:
        server.core.edit(SLICE, KEY, lambda obj: {**obj, "endpoints": []})
        # Whose Service it is does not matter: only a real server's own fields are looked after.
        server.core.edit(SERVICE, KEY, lambda obj: {**obj, "spec": {**obj["spec"], "type": "NodePort"}})
        reconcile(server.core, "127.0.0.1", port_of(server))
        assert leads_to(server) == [Target("127.0.0.1", port_of(server))]
        assert found(server, SERVICE)["spec"]["type"] == "NodePort"
        revision = server.core.store.revision
        reconcile(server.core, "127.0.0.1", port_of(server))
        assert server.core.store.revision == revision


async def test_an_address_that_is_taken_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        server.core.delete(SERVICE, KEY)
        spec = {"clusterIP": "10.96.0.1", "ports": [{"port": 1}]}
        metadata = {"name": "thief", "namespace": "default"}
        try:
            server.core.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
        except StatusError as error:
            pytest.fail(f"the address is free here: {error}")
        reconcile(server.core, "127.0.0.1", port_of(server))
        assert "cannot update the Service default/kubernetes" in caplog.text
        assert "10.96.0.1" in caplog.text
