"""Kinds that nothing in the sandbox acts on: stored where that is honest, refused where it would deceive."""

from __future__ import annotations

import aiohttp
import pytest

from informers.objects import Object
from tests.sandbox.http.serving import asked, eventually

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AS_TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}

HOOK: Object = {
    "name": "a.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
BINDING: Object = {"spec": {"policyName": "p", "validationActions": ["Deny"]}}
REFUSED: list[tuple[str, Object, str]] = [
    (
        f"{ADMISSION}/validatingwebhookconfigurations",
        {"webhooks": [HOOK]},
        "does not call admission webhooks",
    ),
    (f"{ADMISSION}/mutatingwebhookconfigurations", {"webhooks": [HOOK]}, "does not call admission webhooks"),
    (f"{ADMISSION}/validatingadmissionpolicybindings", BINDING, "does not enforce admission policies"),
    (f"{ADMISSION}/mutatingadmissionpolicybindings", BINDING, "does not enforce admission policies"),
    (
        SERVICES,
        {
            "spec": {
                "group": "x.example.com",
                "version": "v1",
                "groupPriorityMinimum": 1,
                "versionPriority": 1,
                "service": {"namespace": "a", "name": "b"},
            }
        },
        "does not forward requests",
    ),
    (
        "/apis/networking.k8s.io/v1/servicecidrs",
        {"spec": {"cidrs": ["10.3.0.0/24"]}},
        "supports only the ServiceCIDR",
    ),
]


@pytest.mark.parametrize(("path", "obj", "why"), REFUSED, ids=[path for path, _, _ in REFUSED])
async def test_what_would_deceive_its_author_is_refused(
    http: aiohttp.ClientSession, path: str, obj: Object, why: str
) -> None:
    code, answer = await asked(http, "POST", path, json={"metadata": {"name": "v1.x.example.com"}, **obj})
    assert (code, answer["reason"]) == (501, "NotImplemented")
    assert why in answer["message"]
    assert '"v1.x.example.com"' in answer["message"]


async def test_webhooks_are_refused_when_they_come_later_too(http: aiohttp.ClientSession) -> None:
    path = f"{ADMISSION}/validatingwebhookconfigurations"
    code, _ = await asked(http, "POST", path, json={"metadata": {"name": "a"}})
    assert code == 201
    code, _ = await asked(http, "PATCH", f"{path}/a", json={"webhooks": [HOOK]}, headers=MERGE)
    assert code == 501


async def test_what_only_tunes_a_server_is_stored_with_a_warning(http: aiohttp.ClientSession) -> None:
    obj = {"metadata": {"name": "a"}, "spec": {"priorityLevelConfiguration": {"name": "p"}}}
    async with http.post("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", json=obj) as response:
        assert response.status == 201
        assert "does not support priority and fairness" in response.headers["Warning"]


async def test_a_certificate_request_says_who_made_it_and_is_decided_once(
    http: aiohttp.ClientSession,
) -> None:
    from tests.informers.apiserver.scenarios.asked_of_passive import condition, request

    code, made = await asked(http, "POST", REQUESTS, json=request(username="somebody else"))
    assert (code, made["spec"]["username"]) == (201, "sandbox-admin")
    assert made["spec"]["groups"] == ["system:masters", "system:authenticated"]
    decision = {**made, "status": {"conditions": [condition("Approved")]}}
    code, approved = await asked(http, "PUT", f"{REQUESTS}/x/approval", json=decision)
    assert (code, approved["status"]["conditions"][0]["type"]) == (200, "Approved")
    _, table = await asked(http, "GET", f"{REQUESTS}/x", headers=AS_TABLE)
    assert table["rows"][0]["cells"][-1] == "Approved"
    denied = {"status": {"conditions": [condition("Denied")]}}
    code, _ = await asked(http, "PATCH", f"{REQUESTS}/x/approval", json=denied, headers=MERGE)
    assert code == 422


async def test_every_group_version_has_an_apiservice_as_long_as_it_is_served(
    http: aiohttp.ClientSession,
) -> None:
    async def names() -> set[str]:
        found = (await asked(http, "GET", SERVICES))[1]["items"]
        return {one["metadata"]["name"] for one in found}

    groups = (await asked(http, "GET", "/apis"))[1]["groups"]
    served = {f"{one['version']}.{group['name']}" for group in groups for one in group["versions"]}
    assert await names() == served - {"v1.apiregistration.k8s.io"} | {"v1."}
    schema = {"openAPIV3Schema": {"type": "object"}}
    definition = {
        "metadata": {"name": "cups.shop.example.com"},
        "spec": {
            "group": "shop.example.com",
            "scope": "Namespaced",
            "names": {"plural": "cups", "kind": "Cup"},
            "versions": [{"name": "v7", "served": True, "storage": True, "schema": schema}],
        },
    }
    assert (await asked(http, "POST", DEFINITIONS, json=definition))[0] == 201

    async def there() -> bool:
        return "v7.shop.example.com" in await names()

    async def gone() -> bool:
        return not await there()

    await eventually(there, what="an APIService for the new group")
    await asked(http, "DELETE", f"{DEFINITIONS}/cups.shop.example.com")
    await eventually(gone, what="the APIService going with its group")


async def test_an_autoscaler_is_the_same_object_in_both_versions(http: aiohttp.ClientSession) -> None:
    def path(version: str) -> str:
        return f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers"

    target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 60}
    code, _ = await asked(http, "POST", path("v1"), json={"metadata": {"name": "a"}, "spec": spec})
    assert code == 201
    _, second = await asked(http, "GET", f"{path('v2')}/a")
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
    assert second["spec"]["metrics"] == [{"type": "Resource", "resource": cpu}]
    memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}
    metrics = [*second["spec"]["metrics"], {"type": "Resource", "resource": memory}]
    changed = {**second, "spec": {**second["spec"], "metrics": metrics}}
    assert (await asked(http, "PUT", f"{path('v2')}/a", json=changed))[0] == 200
    _, first = await asked(http, "GET", f"{path('v1')}/a")
    assert first["spec"] == {**spec, "minReplicas": 1}
    # Writing the older version loses nothing of the newer one.
    first["spec"]["maxReplicas"] = 5
    assert (await asked(http, "PUT", f"{path('v1')}/a", json=first))[0] == 200
    _, again = await asked(http, "GET", f"{path('v2')}/a")
    assert again["spec"]["maxReplicas"] == 5
    assert sorted(one["resource"]["name"] for one in again["spec"]["metrics"]) == ["cpu", "memory"]
    assert "annotations" not in again["metadata"]
    _, table = await asked(http, "GET", f"{path('v1')}/a", headers=AS_TABLE)
    assert "60%" in str(table["rows"][0]["cells"])


async def test_a_pod_is_bound_through_the_collection_of_bindings(http: aiohttp.ClientSession) -> None:
    pods = "/api/v1/namespaces/default/pods"
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert (await asked(http, "POST", pods, json=pod))[0] == 201
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
    bindings = "/api/v1/namespaces/default/bindings"
    assert (await asked(http, "POST", bindings, json=binding))[0] == 201
    assert (await asked(http, "GET", f"{pods}/a"))[1]["spec"]["nodeName"] == "n"
    assert (await asked(http, "POST", bindings, json={"target": {"name": "n"}}))[0] == 400
    assert (await asked(http, "GET", bindings))[0] == 405


async def test_kinds_with_a_successor_say_so(http: aiohttp.ClientSession) -> None:
    for path, said in (
        ("/api/v1/namespaces/default/endpoints", "use discovery.k8s.io/v1 EndpointSlice"),
        ("/api/v1/componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    ):
        async with http.get(path) as response:
            assert response.status == 200
            assert said in response.headers["Warning"]
    async with http.get("/api/v1/namespaces/default/pods") as response:
        assert "Warning" not in response.headers


async def test_the_system_priority_classes_are_there(http: aiohttp.ClientSession) -> None:
    _, found = await asked(http, "GET", "/apis/scheduling.k8s.io/v1/priorityclasses")
    values = {one["metadata"]["name"]: one["value"] for one in found["items"]}
    assert values == {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
