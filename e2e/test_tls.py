"""Clusters with TLS: their certificates, rotation, and the way from plain connections to TLS and back, all
under a client that writes.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from e2e.running import eventually
from e2e.scene import MANAGER, Scene, condition
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.router.pb import router_pb2, router_pb2_grpc
from etl_operator.tls.credentials import ChannelTls
from informers.errors import NotFound
from informers.objects import Object, Resource
from tests.certificates import DAY, Authority, Issued
from tests.hanging import HANGS
from tests.node.cluster import pipeline
from tests.node.data.made import batch
from tests.node.data.processes import ACCEPTED
from tests.node.data.services import FakeSink, Source

pytestmark = pytest.mark.asyncio(loop_scope="function")

SECRET = Resource("", "v1", "secrets", "Secret")
ROLE = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
BINDING = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
DOMAIN = "svc.cluster.local"


def names(scene: Scene, cluster: str) -> tuple[str, str]:
    return f"*.{cluster}-headless.{scene.namespace}.{DOMAIN}", f"{cluster}.{scene.namespace}.{DOMAIN}"


async def keep(scene: Scene, name: str, issued: Issued) -> None:
    """Create or replace a Secret, as cert-manager does."""
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": scene.namespace},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value).decode() for key, value in issued.data.items()},
    }
    await scene.client.apply(SECRET, body, field_manager=MANAGER)


async def grant(scene: Scene, message: str) -> None:
    """What the commands in the message do."""
    found = re.search(
        r"kubectl create role (\S+) --namespace=(\S+) --verb=get --resource=secrets "
        r"((?:--resource-name=\S+ ?)+)&& "
        r"kubectl create rolebinding \1 --namespace=\2 --role=\1 --serviceaccount=([^:\s]+):(\S+)$",
        message,
    )
    assert found is not None, message
    meta = {"name": found[1], "namespace": found[2]}
    rule = {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": re.findall(r"--resource-name=(\S+)", found[3]),
        "verbs": ["get"],
    }
    role = {"apiVersion": ROLE.api_version, "kind": "Role", "metadata": meta, "rules": [rule]}
    await scene.client.apply(ROLE, role, field_manager=MANAGER)
    binding = {
        "apiVersion": BINDING.api_version,
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": found[1]},
        "subjects": [{"kind": "ServiceAccount", "namespace": found[4], "name": found[5]}],
    }
    await scene.client.apply(BINDING, binding, field_manager=MANAGER)


async def granted(scene: Scene, cluster: str) -> None:
    """Wait until the operator asks for its permission, and grant it."""
    said = await scene.says(CLUSTER, cluster, "TLSNotReady", "no permission to get Secret", status="False")
    await grant(scene, said["message"])


class Writer:
    """Creates pipelines all the while, on whatever member takes them, with TLS or without.

    :param ways: how it connects; each is tried.
    """

    def __init__(self, scene: Scene, cluster: str, *ways: ChannelTls | None) -> None:
        self._scene = scene
        self._cluster = cluster
        self._ways = ways
        self._name = names(scene, cluster)[1]
        self._channels: dict[tuple[str, ChannelTls | None], grpc.aio.Channel] = {}
        self._numbers = itertools.count()
        self._first = ""
        self.acknowledged: list[str] = []
        self.refused = 0
        self.longest = 0.0
        """Seconds between two acknowledged writes."""

    def _channel(self, address: str, tls: ChannelTls | None) -> grpc.aio.Channel:
        if (address, tls) not in self._channels:
            options = [
                ("grpc.enable_http_proxy", 0),
                ("grpc.max_reconnect_backoff_ms", 200),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.ssl_target_name_override", self._name),
            ]
            self._channels[address, tls] = (
                grpc.aio.insecure_channel(address, options=options)
                if tls is None
                else grpc.aio.secure_channel(address, tls.credentials(), options=options)
            )
        return self._channels[address, tls]

    async def run(self) -> None:
        """Until cancelled."""
        last = time.monotonic()
        while True:
            name = f"by-hand/{next(self._numbers)}"
            if await self._write(name):
                self.acknowledged.append(name)
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
            await asyncio.sleep(0.02)

    async def _write(self, name: str) -> bool:
        pods = await self._scene.pods(self._cluster)
        # One that is being replaced has no address yet.
        addresses = [f"{ip}:50051" for pod in pods if (ip := (pod.get("status") or {}).get("podIP"))]
        for address in sorted(addresses, key=lambda one: one != self._first):
            for tls in self._ways:
                stub = router_pb2_grpc.RouterAdminStub(self._channel(address, tls))  # type: ignore[no-untyped-call]
                request = router_pb2.CreatePipelineRequest(config=pipeline(name))
                try:
                    if (await stub.CreatePipeline(request, timeout=5)).success:
                        self._first = address
                        return True
                except grpc.aio.AioRpcError:
                    self.refused += 1
        return False

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)


@asynccontextmanager
async def writing(scene: Scene, cluster: str, *ways: ChannelTls | None) -> AsyncIterator[Writer]:
    """A writer that has written; what it wrote is there in the end."""
    writer = Writer(scene, cluster, *ways)
    task = asyncio.create_task(writer.run())

    async def wrote() -> bool:
        return len(writer.acknowledged) > 3

    try:
        await eventually(wrote, what="the first writes")
        yield writer
        before = len(writer.acknowledged)

        async def writes() -> bool:
            if task.done():
                task.result()
            return len(writer.acknowledged) > before + 3

        await eventually(writes, what="writes after all")
        await everything(scene, cluster, writer)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.close()


async def everything(scene: Scene, cluster: str, writer: Writer) -> None:
    """No acknowledged write is lost, on any member."""
    wanted = set(writer.acknowledged)
    for address in await scene.addresses(cluster):

        async def has(address: str = address) -> bool:
            for tls in writer._ways:
                stub = router_pb2_grpc.RouterAdminStub(writer._channel(address, tls))  # type: ignore[no-untyped-call]
                request = router_pb2.ListPipelinesRequest(include_disabled=True)
                try:
                    answer = await stub.ListPipelines(request, timeout=HANGS)
                except grpc.aio.AioRpcError:
                    continue
                return wanted <= {one.id for one in answer.pipelines}
            return False

        await eventually(has, what=f"{address} has everything that was acknowledged")


async def presented(address: str, tls: ChannelTls, tmp_path: Path) -> bytes:
    """The certificate, as DER, that a new connection gets."""
    (tmp_path / "pair").write_bytes((tls.key or b"") + (tls.certificate or b""))
    context = ssl.create_default_context(cadata=(tls.authority or b"").decode())
    context.check_hostname = False
    context.load_cert_chain(tmp_path / "pair")
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_mutual_tls_its_messages_and_a_rotation_under_writes(scene: Scene, tmp_path: Path) -> None:
    authority = Authority()
    wanted = names(scene, "locked")
    await scene.cluster("locked", replicas=3, tls={"secretName": "locked", "clientAuth": "Require"})
    await granted(scene, "locked")
    await scene.says(CLUSTER, "locked", "TLSNotReady", "Secret locked does not exist")
    assert await scene.pods("locked") == []
    await keep(scene, "locked", authority.issue("wrong.example"))
    await scene.says(CLUSTER, "locked", "TLSNotReady", "tls.crt is not valid for locked-0.locked-headless")
    await keep(scene, "locked", authority.issue(*wanted, begins=-9 * DAY, lasts=DAY))
    await scene.says(CLUSTER, "locked", "TLSNotReady", "Secret locked: tls.crt expired at")
    first = authority.issue(*wanted)
    await keep(scene, "locked", first)
    ready = await scene.ready(CLUSTER, "locked")
    assert [one["name"] for one in ready["status"]["certificates"]] == ["locked"]
    client = authority.issue("client")
    mutual = ChannelTls(authority.certificate, *client.pair)
    # Pipelines and services of the operator go the same way.
    await scene.service(SINK, "sink")
    await scene.ready(SINK, "sink")
    for way in (None, ChannelTls(authority.certificate)):
        outsider = Writer(scene, "locked", way)
        assert not await outsider._write("by-hand/no")
        await outsider.close()
    async with writing(scene, "locked", mutual) as writer:
        refused = writer.refused
        second = authority.issue(*wanted)
        await keep(scene, "locked", second)
        der = ssl.PEM_cert_to_DER_cert(second.certificate.decode())
        for address in await scene.addresses("locked"):

            async def renewed(address: str = address) -> bool:
                return await presented(address, mutual, tmp_path) == der

            await eventually(renewed, what=f"{address} presents the new certificate")
        assert writer.refused == refused, "a rotation interrupts nobody"
        # The operator has read it too, and nothing was restarted for it.
        await scene.ready(CLUSTER, "locked")
        assert {
            pod["status"]["containerStatuses"][0]["restartCount"] for pod in await scene.pods("locked")
        } == {0}


async def test_plain_to_tls_to_plain_under_writes(scene: Scene) -> None:
    authority = Authority()
    await scene.cluster("turn", replicas=3)
    await scene.ready(CLUSTER, "turn")
    await scene.service(SINK, "sink")
    await scene.ready(SINK, "sink")
    await keep(scene, "turn-tls", authority.issue(*names(scene, "turn")))
    tls = ChannelTls(authority.certificate)
    async with writing(scene, "turn", tls, None) as writer:
        await scene.patch(CLUSTER, "turn", {"spec": {"tls": {"secretName": "turn-tls"}}})
        await granted(scene, "turn")
        await scene.ready(CLUSTER, "turn")
        assert {mode(pod) for pod in await scene.pods("turn")} == {"Required"}
        plain = Writer(scene, "turn", None)
        assert not await plain._write("by-hand/no")
        await plain.close()
        await scene.ready(SINK, "sink")
        await scene.patch(CLUSTER, "turn", {"spec": {"tls": None}})
        await scene.ready(CLUSTER, "turn")
        assert {mode(pod) for pod in await scene.pods("turn")} == {""}
        await scene.ready(SINK, "sink")
    # Shown with -rP.
    print(f"{len(writer.acknowledged)} writes acknowledged, longest gap {writer.longest:.2f} s")  # noqa: T201
    reasons = [event["reason"] for event in await scene.events("turn")]
    assert "QuorumLost" not in reasons
    assert "SplitBrain" not in reasons


def mode(pod: Object) -> str:
    return str(pod["metadata"]["annotations"].get("etl.router/tls", ""))


async def test_a_right_that_is_taken_back_and_a_secret_that_goes_stop_no_member(scene: Scene) -> None:
    authority = Authority()
    await keep(scene, "one-tls", authority.issue(*names(scene, "one")))
    await scene.cluster("one", tls={"secretName": "one-tls"})
    await granted(scene, "one")
    await scene.ready(CLUSTER, "one")
    (pod,) = await scene.pods("one")
    await scene.client.delete(SECRET, scene.key("one-tls"))
    with pytest.raises(NotFound):
        await scene.get(SECRET, "one-tls")
    # Without a change it is noticed with the next look at the Secrets, which is a minute away.
    await scene.patch(CLUSTER, "one", {"spec": {"replicas": 3}})
    said = await scene.says(CLUSTER, "one", "TLSNotReady", "Secret one-tls does not exist", status="False")
    assert condition(await scene.get(CLUSTER, "one"), "Available")["status"] == "True", said
    (same,) = await scene.pods("one")
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_records_reach_a_sink_that_requires_certificates(scene: Scene) -> None:
    authority = Authority()
    issued = authority.issue("127.0.0.1")
    sink = FakeSink("out")
    pair = [(issued.key, issued.certificate)]
    sink.credentials = grpc.ssl_server_credentials(pair, issued.authority, require_client_auth=True)
    await sink.start()
    try:
        await scene.cluster("calls")
        await scene.service(SOURCE, "in")
        await scene.ready(CLUSTER, "calls")
        (before,) = await scene.pods("calls")
        await keep(scene, "router-client", authority.issue("router"))
        tls = {"enabled": True, "caSecretName": "sink-ca", "clientSecretName": "router-client"}
        await scene.apply(SINK, "out", {"grpc": {"endpoint": f"127.0.0.1:{sink.port}", "tls": tls}})
        await scene.apply(PIPELINE, "flow", {"source": "in", "sink": "out"})
        # One restart mounts both, also the one that does not exist yet.
        await scene.ready(SINK, "out")
        (after,) = await scene.pods("calls")
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        await scene.ready(PIPELINE, "flow")
        await keep(scene, "sink-ca", issued)
        where = await scene.leader("calls")
        options = [("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(where, options=options) as channel:
            records = Source(channel)
            assert await records.send(batch(range(1, 11), source="in")) == [ACCEPTED] * 10
        assert sink.sequences == list(range(1, 11))
        (same,) = await scene.pods("calls")
        assert same["metadata"]["uid"] == after["metadata"]["uid"]
    finally:
        await sink.stop()
