"""What an ordinary cluster does to a pod on its way in, over real HTTPS."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from etl_operator.sandbox.http.server import EmbeddedServer
from informers.apiserver.admission import Admission
from informers.objects import Object
from tests.sandbox.http.serving import asked, browsing, eventually

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
BUNDLES = "/apis/certificates.k8s.io/v1/clustertrustbundles"
MERGE = {"Content-Type": "application/merge-patch+json"}
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}


async def test_a_pod_gets_the_default_account_and_its_token(http: aiohttp.ClientSession) -> None:
    code, made = await asked(http, "POST", PODS, json=pod(initContainers=[{"name": "d", "image": "i:1"}]))
    assert (code, made["spec"]["serviceAccountName"]) == (201, "default")
    assert made["spec"]["serviceAccount"] == "default"
    (volume,) = made["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    sources = volume["projected"]["sources"]
    assert [next(iter(source)) for source in sources] == ["serviceAccountToken", "configMap", "downwardAPI"]
    mount = {"name": volume["name"], "readOnly": True, "mountPath": TOKEN_PATH}
    for container in (*made["spec"]["containers"], *made["spec"]["initContainers"]):
        assert container["volumeMounts"] == [mount]
    # Nobody sent it, so nobody owns it.
    fields = str(made["metadata"]["managedFields"])
    assert "f:volumes" not in fields
    assert "f:serviceAccountName" not in fields
    # Sent back, it is the same pod.
    code, again = await asked(http, "PUT", f"{PODS}/p", json=made)
    assert (code, again["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])


@pytest.mark.parametrize("of_pod", [True, False])
async def test_a_pod_that_wants_no_token_gets_none(http: aiohttp.ClientSession, of_pod: bool) -> None:
    account = {"metadata": {"name": "quiet"}, "imagePullSecrets": [{"name": "s"}]}
    silent = {"automountServiceAccountToken": False}
    code, _ = await asked(http, "POST", ACCOUNTS, json={**account, **({} if of_pod else silent)})
    assert code == 201
    sent = pod(serviceAccountName="quiet", **(silent if of_pod else {}))
    code, made = await asked(http, "POST", PODS, json=sent)
    assert (code, made["spec"]["serviceAccountName"]) == (201, "quiet")
    assert "volumes" not in made["spec"]
    assert made["spec"]["imagePullSecrets"] == [{"name": "s"}]


async def test_an_account_that_is_not_there_is_refused(http: aiohttp.ClientSession) -> None:
    code, answer = await asked(http, "POST", PODS, json=pod(serviceAccountName="nobody"))
    assert (code, answer["reason"]) == (403, "Forbidden")
    assert answer["message"] == (
        'pods "p" is forbidden: error looking up service account default/nobody: '
        'serviceaccount "nobody" not found'
    )


async def test_a_new_namespace_takes_pods_at_once_and_keeps_what_they_need(
    http: aiohttp.ClientSession,
) -> None:
    assert (await asked(http, "POST", "/api/v1/namespaces", json={"metadata": {"name": "new"}}))[0] == 201
    assert (await asked(http, "POST", "/api/v1/namespaces/new/pods", json=pod()))[0] == 201
    for path in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
        full = f"/api/v1/namespaces/new/{path}"
        _, before = await asked(http, "GET", full)
        assert (await asked(http, "DELETE", full))[0] == 200
        _, after = await asked(http, "GET", full)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
    path = "/api/v1/namespaces/new/configmaps/kube-root-ca.crt"
    await asked(http, "PATCH", path, json={"data": {"ca.crt": "another"}}, headers=MERGE)
    assert "BEGIN CERTIFICATE" in (await asked(http, "GET", path))[1]["data"]["ca.crt"]


async def test_a_namespace_on_its_way_out_is_not_filled_again(http: aiohttp.ClientSession) -> None:
    path = "/api/v1/namespaces/brief"
    assert (await asked(http, "POST", "/api/v1/namespaces", json={"metadata": {"name": "brief"}}))[0] == 201
    assert (await asked(http, "DELETE", path))[0] in (200, 202)

    async def gone() -> bool:
        return (await asked(http, "GET", path))[0] == 404

    await eventually(gone, what="the namespace going")


async def test_the_namespaces_level_is_enforced_with_the_real_words(http: aiohttp.ClientSession) -> None:
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    path = "/api/v1/namespaces/default"
    assert (await asked(http, "PATCH", path, json={"metadata": {"labels": labels}}, headers=MERGE))[0] == 200
    privileged = pod(containers=[{"name": "c", "image": "i", "securityContext": {"privileged": True}}])
    code, answer = await asked(http, "POST", PODS, json=privileged)
    assert code == 403
    assert answer["message"] == (
        'pods "p" is forbidden: violates PodSecurity "baseline:latest": '
        'privileged (container "c" must not set securityContext.privileged=true)'
    )
    async with http.post(PODS, json=pod()) as response:
        assert response.status == 201
        assert 'would violate PodSecurity \\"restricted:latest\\"' in response.headers["Warning"]


async def test_a_claim_grows_where_its_class_allows_it(http: aiohttp.ClientSession) -> None:
    for name, grows in (("fixed", False), ("growing", True)):
        storage = {"metadata": {"name": name}, "provisioner": "p", "allowVolumeExpansion": grows}
        assert (await asked(http, "POST", "/apis/storage.k8s.io/v1/storageclasses", json=storage))[0] == 201
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        claim = {"metadata": {"name": name}, "spec": spec}
        assert (await asked(http, "POST", CLAIMS, json=claim))[0] == 201
        status = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
        assert (await asked(http, "PATCH", f"{CLAIMS}/{name}/status", json=status, headers=MERGE))[0] == 200
        more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
        code, answer = await asked(http, "PATCH", f"{CLAIMS}/{name}", json=more, headers=MERGE)
        assert code == (200 if grows else 403), answer
        if not grows:
            assert "the storageclass that provisions the pvc must support resize" in answer["message"]


async def test_who_may_approve_certificates_is_a_right_on_the_signer(server: EmbeddedServer) -> None:
    from tests.informers.apiserver.scenarios.asked_of_passive import condition, request

    everything = {"apiGroups": ["certificates.k8s.io"], "verbs": ["*"]}
    resources = ["certificatesigningrequests", "certificatesigningrequests/approval", "clustertrustbundles"]
    role = {"metadata": {"name": "r"}, "rules": [{**everything, "resources": resources}]}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"}
    binding = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": [subject]}
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    decision = {"status": {"conditions": [condition("Approved")]}}
    bundle = {
        "metadata": {"name": "example.com:signer:x"},
        "spec": {"signerName": "example.com/signer", "trustBundle": "-----BEGIN CERTIFICATE-----"},
    }
    token = server.kubeconfig_for("default/default")["users"][0]["user"]["token"]
    async with browsing(server) as admin, browsing(server, token) as robot:
        assert (await asked(admin, "POST", f"{rbac}/clusterroles", json=role))[0] == 201
        assert (await asked(admin, "POST", f"{rbac}/clusterrolebindings", json=binding))[0] == 201
        assert (await asked(robot, "POST", REQUESTS, json=request()))[0] == 201
        path = f"{REQUESTS}/x/approval"
        code, answer = await asked(robot, "PATCH", path, json=decision, headers=MERGE)
        assert (code, answer["reason"]) == (403, "Forbidden")
        assert (
            'user not permitted to approve requests with signerName "example.com/signer"' in answer["message"]
        )
        assert (await asked(robot, "POST", BUNDLES, json=bundle))[0] == 403
        rights = {**everything, "verbs": ["approve", "attest"], "resources": ["signers"]}
        more = {**role, "rules": [*role["rules"], {**rights, "resourceNames": ["example.com/*"]}]}
        assert (await asked(admin, "PUT", f"{rbac}/clusterroles/r", json=more))[0] == 200
        assert (await asked(robot, "PATCH", path, json=decision, headers=MERGE))[0] == 200


def test_only_plugins_that_are_there_can_be_disabled() -> None:
    with pytest.raises(ValueError, match="unknown admission plugins: Odd"):
        Admission(disabled=("Odd",))
