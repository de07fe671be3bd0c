"""The Service by which clients in pods find the API server."""

from __future__ import annotations

import pytest

from e2e.conformance.asking import found
from informers.client import HttpTransport

CORE = "/api/v1/namespaces/default"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


async def test_the_service_is_there(transport: HttpTransport) -> None:
    code, service = await found(transport, "GET", f"{CORE}/services/kubernetes")
    assert code == 200
    assert service["metadata"]["labels"] == {"component": "apiserver", "provider": "kubernetes"}
    spec = service["spec"]
    (port,) = spec.pop("ports")
    target = port.pop("targetPort")
    assert isinstance(target, int)
    assert port == {"name": "https", "port": 443, "protocol": "TCP"}
    addresses = [spec["clusterIP"]]
    assert spec["clusterIP"].endswith(".1")
    assert spec == {
        "clusterIP": addresses[0],
        "clusterIPs": addresses,
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }


@pytest.mark.sandbox_only("the real server of the tests is on loopback, where no endpoints may be")
async def test_its_endpoints_lead_to_the_server(transport: HttpTransport) -> None:
    _, service = await found(transport, "GET", f"{CORE}/services/kubernetes")
    port = service["spec"]["ports"][0]["targetPort"]
    _, endpoints = await found(transport, "GET", f"{CORE}/endpoints/kubernetes")
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    assert endpoints["subsets"] == [{"addresses": [{"ip": "127.0.0.1"}], "ports": ports}]
    _, found_slice = await found(transport, "GET", f"{SLICES}/kubernetes")
    assert found_slice["metadata"]["labels"] == {"kubernetes.io/service-name": "kubernetes"}
    assert found_slice["endpoints"] == [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}]
    assert found_slice["ports"] == ports
