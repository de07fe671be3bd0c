"""A cluster with ``spec.tls``: its certificates, and the way from plain connections to TLS and back."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.cluster.encryption import Encryption, next_encryption, wanted_encryption
from controllers.cluster.reconciler import ClusterReconciler
from controllers.cluster.statefulset import stateful_set
from controllers.members import naming
from controllers.members.facts import PodFacts
from controllers.objects.kinds import POD, SECRET, SERVICE, STATEFUL_SET
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, SINK, EtlRouterCluster
from etl_operator.router.errors import Unreachable
from etl_operator.tls.credentials import ChannelTls
from informers.errors import Forbidden
from tests.certificates import DAY, SERVER_ONLY, Authority, Issued
from tests.controllers.cluster.running import NAME, Running
from tests.controllers.store import NAMESPACE, START

AUTHORITY = Authority(now=START)
DOMAIN = "svc.cluster.local"
NAMES = (f"*.prod-headless.{NAMESPACE}.{DOMAIN}", f"prod.{NAMESPACE}.{DOMAIN}")
GOOD = AUTHORITY.issue(*NAMES)


def keep(running: Running, name: str, content: dict[str, bytes]) -> None:
    """Create or change a Secret."""
    data = {"data": {key: base64.b64encode(value).decode() for key, value in content.items()}}
    if running.store.has(SECRET, name):
        running.store.edit(SECRET, name, {"data": None})
    else:
        running.store.put(SECRET, name)
    running.store.edit(SECRET, name, data)


def secured(issued: Issued = GOOD, **tls: Any) -> Running:
    running = Running(tls={"secretName": "own", **tls})
    keep(running, "own", issued.data)
    return running


def template(running: Running) -> Any:
    return running.store.of(STATEFUL_SET, NAME)["spec"]["template"]


def container(running: Running) -> Any:
    return template(running)["spec"]["containers"][0]


async def test_a_new_cluster_is_encrypted_from_the_start() -> None:
    running = secured(clientAuth="Require")
    await running.started()
    assert container(running)["args"] == [
        "--tls-cert=/etc/etl-router-tls/tls.crt",
        "--tls-key=/etc/etl-router-tls/tls.key",
        "--tls-ca=/etc/etl-router-tls/ca.crt",
        "--raft-tls-cert=/etc/etl-router-tls/tls.crt",
        "--raft-tls-key=/etc/etl-router-tls/tls.key",
        "--raft-tls-ca=/etc/etl-router-tls/ca.crt",
        f"--raft-tls-name=*.prod-headless.etl.{DOMAIN}",
        "--tls-client-auth=require",
        "--tls-plaintext=deny",
    ]
    assert template(running)["metadata"]["annotations"]["etl.router/tls"] == "Required"
    ports = running.store.of(SERVICE, NAME)["spec"]["ports"]
    assert not any("appProtocol" in port for port in ports)
    assert running.status["certificates"] == [
        {"name": "own", "key": "tls.crt", "notAfter": "2027-04-15T07:00:00Z"}
    ]
    # Every member is called with the certificate, by whoever calls it.
    assert set(running.world.routers.secured.values()) == {
        ChannelTls(GOOD.authority, GOOD.certificate, GOOD.key)
    }


async def test_the_authority_may_be_in_a_secret_of_its_own_and_args_of_the_user_come_last() -> None:
    running = Running(tls={"secretName": "own", "caSecretName": "ca"}, args=["--data-workers=2"])
    keep(running, "own", {key: value for key, value in GOOD.data.items() if key != "ca.crt"})
    keep(running, "ca", {"ca.crt": GOOD.authority})
    await running.started()
    arguments = container(running)["args"]
    assert "--raft-tls-ca=/etc/etl-router-ca/ca.crt" in arguments
    assert arguments[-1] == "--data-workers=2"
    mounts = {mount["name"]: mount["mountPath"] for mount in container(running)["volumeMounts"]}
    assert (mounts["tls"], mounts["tls-ca"]) == ("/etc/etl-router-tls", "/etc/etl-router-ca")


BROKEN: dict[str, tuple[dict[str, bytes] | None, str, str]] = {
    "no Secret": (None, "Reconciling", "Secret own does not exist in namespace etl"),
    "no tls.key": ({"tls.crt": b"x", "ca.crt": b"x"}, "Reconciling", "Secret own has no tls.key"),
    "no ca.crt": (
        {"tls.crt": GOOD.certificate, "tls.key": GOOD.key},
        "Reconciling",
        "Secret own has no ca.crt: add it, or set spec.tls.caSecretName",
    ),
    "wrong authority": (
        {**GOOD.data, "ca.crt": Authority("other", START).certificate},
        "Stalled",
        "Secret own: tls.crt is not signed by ca.crt",
    ),
    "wrong key": (
        {**GOOD.data, "tls.key": AUTHORITY.issue("x").key},
        "Stalled",
        "Secret own: tls.crt and tls.key cannot be used as certificate and key",
    ),
    "wrong names": (
        AUTHORITY.issue("prod-0.example").data,
        "Stalled",
        f"Secret own: tls.crt is not valid for prod-0.prod-headless.etl.{DOMAIN}, only for prod-0.example; "
        f"request it for *.prod-headless.etl.{DOMAIN} and prod.etl.{DOMAIN}",
    ),
    "no name of the Service": (
        AUTHORITY.issue(NAMES[0]).data,
        "Stalled",
        f"tls.crt is not valid for prod.etl.{DOMAIN}",
    ),
    "expired": (
        AUTHORITY.issue(*NAMES, begins=-3 * DAY, lasts=2 * DAY).data,
        "Stalled",
        "Secret own: tls.crt expired at 2027-01-14T08:00:00Z; renew it",
    ),
    "not valid yet": (
        AUTHORITY.issue(*NAMES, begins=DAY).data,
        "Stalled",
        "Secret own: tls.crt is not valid before 2027-01-16T08:00:00Z",
    ),
    "server only": (
        AUTHORITY.issue(*NAMES, usages=SERVER_ONLY).data,
        "Stalled",
        'Secret own: tls.crt needs the usages "server auth" and "client auth"',
    ),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_nothing_is_created_until_the_certificates_are_in_order(what: str) -> None:
    content, kind, message = BROKEN[what]
    running = Running(tls={"secretName": "own"})
    if content is not None:
        keep(running, "own", content)
    for _ in range(3):
        await running.later(1)
    assert {verb for verb, _, _ in running.store.writes} == {"status"}
    assert running.condition("Ready")["reason"] == "TLSNotReady"
    assert running.condition(kind)["status"] == "True"
    assert message in running.condition("Ready")["message"]
    assert running.world.events.reasons() == ["TLSNotReady"]
    keep(running, "own", GOOD.data)
    await running.later(60)
    running.world.run_stateful_set(NAME)
    await running.settle()
    assert running.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("what", BROKEN)
async def test_a_running_cluster_is_left_alone_while_its_certificates_are_wrong(what: str) -> None:
    content, _, message = BROKEN[what]
    running = await secured().started()
    if content is None:
        running.store.remove(SECRET, "own")
    else:
        keep(running, "own", content)
    await running.later(60)
    running.store.edit(CLUSTER, NAME, {"spec": {"image": "etl-router:2"}})
    running.store.writes.clear()
    for _ in range(4):
        await running.later(20)
    assert {verb for verb, _, _ in running.store.writes} == {"status"}
    assert message in running.condition("Ready")["message"]
    assert running.condition("Available")["status"] == "True"
    keep(running, "own", GOOD.data)
    await running.later(5)
    assert len(await running.settle()) == 3


async def test_the_permission_to_grant_is_in_the_message() -> None:
    running = Running(tls={"secretName": "own", "caSecretName": "ca"})
    running.store.no_secrets = Forbidden(
        403,
        message='secrets "own" is forbidden: User "system:serviceaccount:etl-system:etl-operator" cannot get '
        'resource "secrets" in API group "" in the namespace "etl"',
    )
    await running.once()
    assert running.condition("Stalled")["reason"] == "TLSNotReady"
    assert running.condition("Ready")["message"] == (
        "the operator has no permission to get Secret own; grant it: kubectl create role etl-router-tls-prod "
        "--namespace=etl --verb=get --resource=secrets --resource-name=own --resource-name=ca && "
        "kubectl create rolebinding etl-router-tls-prod --namespace=etl --role=etl-router-tls-prod "
        "--serviceaccount=etl-system:etl-operator"
    )
    running.store.no_secrets = Forbidden(403, message='User "kubernetes-admin" cannot get resource "secrets"')
    await running.once()
    assert running.condition("Ready")["message"].endswith("--user=kubernetes-admin")


async def test_without_a_secret_name_the_field_is_named() -> None:
    running = Running(tls={"caSecretName": "ca"})
    await running.once()
    assert "spec.tls.secretName is not set" in running.condition("Ready")["message"]


async def test_a_settled_cluster_reads_its_secrets_once_a_minute_and_follows_a_rotation() -> None:
    running = await secured().started()
    running.store.read_secrets.clear()
    for _ in range(23):
        await running.later(5)
    assert running.store.read_secrets == ["own"]
    renewed = AUTHORITY.issue(*NAMES, lasts=100 * DAY)
    keep(running, "own", renewed.data)
    running.store.writes.clear()
    await running.later(60)
    assert running.status["certificates"][0]["notAfter"] == "2027-04-25T07:00:00Z"
    assert ChannelTls(renewed.authority, *renewed.pair) in running.world.routers.secured.values()
    assert {(verb, kind) for verb, kind, _ in running.store.writes} == {("status", CLUSTER.kind)}


async def test_a_certificate_that_nobody_renews_is_announced_once_and_then_reported() -> None:
    running = await secured(AUTHORITY.issue(*NAMES, lasts=10 * DAY)).started()
    await running.later(7.9 * DAY)
    assert "CertificateExpiring" not in running.world.events.reasons()
    for _ in range(3):
        await running.later(0.2 * DAY)
    assert running.world.events.reasons().count("CertificateExpiring") == 1
    assert running.condition("Ready")["status"] == "True"
    await running.later(2 * DAY)
    assert "tls.crt expired at" in running.condition("Ready")["message"]
    assert running.condition("Available")["status"] == "True"


@pytest.mark.parametrize("tls", [{"secretName": "own"}, None])
async def test_an_operator_that_starts_without_the_permission_raises_no_alarm(tls: Any) -> None:
    running = await secured().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"tls": tls}})
    running.store.no_secrets = Forbidden(403, message='User "me" cannot get resource "secrets"')
    running.world.routers.errors["GetClusterStatus"] = Unreachable("connection lost")
    running.reconciler = ClusterReconciler(running.world.context)
    for _ in range(3):
        await running.later(20)
    for kind in ("Available", "QuorumHealthy"):
        assert running.condition(kind)["status"] == "Unknown"
        assert running.condition(kind)["reason"] == "TLSNotReady"
    assert "no permission to get Secret own" in running.condition("Ready")["message"]
    assert "QuorumLost" not in running.world.events.reasons()
    running.store.no_secrets = None
    del running.world.routers.errors["GetClusterStatus"]
    await running.later(5)
    await running.settle()
    assert running.condition("Ready")["status"] == "True"


async def test_while_another_secret_is_missing_members_are_called_as_before() -> None:
    running = await secured().started()
    running.store.edit(CLUSTER, NAME, {"spec": {"tls": {"secretName": "other"}}})
    await running.later(5)
    assert "Secret other does not exist" in running.condition("Ready")["message"]
    assert running.condition("Available")["status"] == "True"
    assert ChannelTls(GOOD.authority, *GOOD.pair) in running.world.routers.secured.values()


def modes(running: Running) -> list[str]:
    pods = sorted(view.key.name for view in running.world.context.informers[POD].list(NAMESPACE))
    return [running.store.of(POD, pod)["metadata"]["annotations"].get("etl.router/tls", "") for pod in pods]


def talk(one: str, other: str) -> bool:
    return {one, other} != {naming.PLAIN, naming.ENCRYPTED}


async def test_plain_to_tls_and_back_by_two_rolls_each_in_which_all_members_can_talk() -> None:
    running = await Running().started()
    keep(running, "own", GOOD.data)
    for tls, end in (({"secretName": "own"}, "Required"), (None, "")):
        running.store.edit(CLUSTER, NAME, {"spec": {"tls": tls}})
        seen: list[list[str]] = []
        for _ in range(40):
            await running.later(1)
            running.world.run_stateful_set(NAME)
            seen.append(modes(running))
            for one, other in itertools.combinations(seen[-1], 2):
                assert talk(one, other), seen[-1]
            if set(seen[-1]) != {end}:
                assert running.condition("Ready")["status"] != "True"
        assert seen[-1] == [end] * 3
        assert running.condition("Ready")["status"] == "True"
        assert ["Allowed"] * 3 in seen
    assert "args" not in container(running)
    assert "certificates" not in running.status
    assert set(running.world.routers.secured.values()) == {None}


@pytest.mark.parametrize("start", ["", "Required"])
async def test_a_change_that_gets_stuck_can_be_taken_back(start: str) -> None:
    running = await (secured() if start else Running()).started()
    if not start:
        keep(running, "own", GOOD.data)
    there, back = (None, {"secretName": "own"}) if start else ({"secretName": "own"}, None)
    running.store.edit(CLUSTER, NAME, {"spec": {"tls": there}})
    for _ in range(6):
        await running.later(5)
        # Whoever starts again does not come up, as with an image that does not know the flags.
        running.world.run_stateful_set(NAME, ready=False)
    assert sorted(modes(running)) == sorted([start, start, "Allowed"])
    running.store.edit(CLUSTER, NAME, {"spec": {"tls": back}})
    assert len(await running.settle()) == 1
    assert modes(running) == [start] * 3
    assert running.condition("Ready")["status"] == "True"


async def test_both_can_be_allowed_for_as_long_as_clients_need_it() -> None:
    running = await Running().started()
    keep(running, "own", GOOD.data)
    running.store.edit(CLUSTER, NAME, {"spec": {"tls": {"secretName": "own", "plaintext": "Allow"}}})
    await running.settle()
    assert modes(running) == ["Allowed"] * 3
    assert running.condition("Ready")["status"] == "True"
    running.store.edit(CLUSTER, NAME, {"spec": {"tls": {"plaintext": "Deny"}}})
    assert len(await running.settle()) == 3
    assert modes(running) == ["Required"] * 3


PODS = st.lists(st.sampled_from([naming.PLAIN, naming.MIXED, naming.ENCRYPTED]), min_size=1, max_size=5)


def pods_of(modes: Sequence[str]) -> list[PodFacts]:
    base = PodFacts("prod-0", 0, "u", True, True, False, "r", 3)
    return [replace(base, ordinal=i, tls=mode) for i, mode in enumerate(modes)]


@settings(max_examples=50, deadline=None)
@given(wishes=st.lists(st.sampled_from(["", "Deny", "Allow"]), max_size=6), data=st.data())
def test_members_can_talk_whatever_is_asked_for(wishes: list[str], data: st.DataObject) -> None:
    def cluster(wish: str) -> EtlRouterCluster:
        tls = {"tls": {"secretName": "own", "plaintext": wish}} if wish else {}
        return EtlRouterCluster.model_validate(
            {
                "apiVersion": CLUSTER.api_version,
                "kind": CLUSTER.kind,
                "metadata": {"name": NAME, "namespace": NAMESPACE},
                "spec": tls,
            }
        )

    live: Any = None
    pods: list[str] = []
    for wish in wishes:
        for _ in range(data.draw(st.integers(0, 8))):
            wanted = wanted_encryption(cluster(wish))
            now = next_encryption(wanted, live, pods_of(pods), complete=data.draw(st.booleans()))
            live = stateful_set(cluster(wish), ControllerSettings(), 3, now)
            pods = pods or [now.mode] * 3
            outdated = [i for i, mode in enumerate(pods) if mode != now.mode]
            if outdated:
                pods[data.draw(st.sampled_from(outdated))] = now.mode
            for one, other in itertools.combinations(pods, 2):
                assert talk(one, other), pods
            if now.mode != naming.PLAIN:
                assert now.secret == "own"


async def test_the_secrets_of_services_are_mounted_by_one_roll_and_stay_until_the_next() -> None:
    running = await Running().started()
    tls = {"enabled": True, "caSecretName": "sink-ca", "clientSecretName": "me"}
    running.store.put(SINK, "s", {"grpc": {"endpoint": "s:1", "tls": tls}})
    off = {"enabled": False, "caSecretName": "unused"}
    running.store.put(SINK, "off", {"grpc": {"endpoint": "s:1", "tls": off}})
    running.store.put(SINK, "other", {"grpc": {"endpoint": "s:1", "tls": tls}}, namespace="elsewhere")
    assert len(await running.settle()) == 3
    (volume,) = [one for one in template(running)["spec"]["volumes"] if "projected" in one]
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert [(one["name"], one["optional"]) for one in sources] == [("me", True), ("sink-ca", True)]
    assert sources[0]["items"][1] == {"key": "tls.crt", "path": "me/tls.crt"}
    assert container(running)["args"] == ["--service-tls-dir=/etc/etl-router-services"]
    running.store.remove(SINK, "s")
    assert await running.settle() == []
    running.store.put(
        SINK, "t", {"grpc": {"endpoint": "t:1", "tls": {"enabled": True, "caSecretName": "new"}}}
    )
    assert len(await running.settle()) == 3
    assert template(running)["metadata"]["annotations"]["etl.router/service-secrets"] == "new"


def test_no_tls_renders_as_if_there_were_none() -> None:
    assert Encryption() == Encryption(naming.PLAIN, "", "", client_auth=False, services=())
