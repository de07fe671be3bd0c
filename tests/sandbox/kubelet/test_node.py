"""The process node against a real API server: pods of small shell programs, from creation to their end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl_operator.sandbox.http.server import EmbeddedServer
from etl_operator.sandbox.kubelet import ImageTable, ProcessNode
from etl_operator.sandbox.kubelet.backoff import CrashBackoff
from etl_operator.sandbox.kubelet.images import Image
from etl_operator.sandbox.reaper import Reaper
from informers.client import Client, HttpRequest
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource
from tests.sandbox.http.serving import CONFIG_MAP, client_of, comes_true, config_map, eventually, serving

POD = Resource("", "v1", "pods", "Pod")
NODE = Resource("", "v1", "nodes", "Node", namespaced=False)
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
PVC = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE = Resource("", "v1", "services", "Service")
KEY = ObjectKey("default", "p")
FOR_EVER = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
IMAGES = ImageTable([Image("shell:*", {"tool": (sys.executable, "-c", "print('tool')")}, ("tool",))])


@dataclass
class World:
    """A server, its administrator and a state directory for nodes."""

    server: EmbeddedServer
    client: Client
    directory: Path

    @contextlib.asynccontextmanager
    async def node(self, first_backoff: float = 0.05) -> AsyncIterator[ProcessNode]:
        """A running node; leaving stops it as Ctrl-C does."""
        async with Reaper(self.directory) as reaper:
            node = ProcessNode(
                self.client,
                state_dir=self.directory,
                images=IMAGES,
                reaper=reaper,
                backoff=lambda: CrashBackoff(base=first_backoff),
            )
            self.server.logs = node.logs
            task = asyncio.create_task(node.run())
            try:
                yield node
            finally:
                assert not task.done(), task
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def create(self, pod: Object) -> Object:
        return await self.client.create(POD, pod)

    async def pod(self) -> Object:
        return await self.client.get(POD, KEY)

    async def becomes(self, check: Callable[[Object], Any], what: str) -> Object:
        """Wait until the pod fulfils a condition."""

        async def look() -> Object | None:
            found = await self.pod()
            return found if check(found) else None

        try:
            return await eventually(look, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {(await self.pod()).get('status')}") from None

    async def gone(self) -> None:
        async def look() -> bool:
            try:
                await self.pod()
            except NotFound:
                return True
            return False

        await eventually(look, what="the pod is gone")

    async def logs(self, **query: str) -> str:
        path = POD.path("default", "p", "log")
        answer = await self.client.transport.request(HttpRequest("GET", path, tuple(query.items())))
        return answer.body.decode()

    async def logs_show(self, text: str, **query: str) -> str:
        async def look() -> str | None:
            found = await self.logs(**query)
            return found if text in found else None

        return await eventually(look, what=f"the log shows {text!r}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving() as server, client_of(server, tmp_path) as client:
        yield World(server, client, tmp_path / "state")


def container(script: str, name: str = "main", **fields: Any) -> Object:
    return {"name": name, "image": "shell:1", "command": ["sh", "-c", script], **fields}


def pod(*containers: Object, **spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "labels": {"app": "x"}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 5, **spec},
    }


def is_ready(found: Object) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda found: bool(found["status"].get("phase") == wanted)


def first(found: Object, field: str = "containerStatuses") -> Object:
    entries: list[Object] = found["status"].get(field) or [{"state": {}, "restartCount": 0}]
    return entries[0]


def waiting_for(reason: str) -> Callable[[Object], bool]:
    def check(found: Object) -> bool:
        statuses = found["status"].get("containerStatuses") or ()
        return any((one["state"].get("waiting") or {}).get("reason") == reason for one in statuses)

    return check


async def test_a_pod_comes_to_life_and_goes_gracefully(world: World) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo $POD_IP; while :; do sleep 0.05; done"
    env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    async with world.node():
        await world.create(pod(container(script, env=env)))
        found = await world.becomes(is_ready, "ready")
        assert found["spec"]["nodeName"] == "sandbox"
        address = found["status"]["podIP"]
        assert await world.logs_show(address) == f"{address}\n"
        version = found["metadata"]["resourceVersion"]
        following = asyncio.create_task(world.logs(follow="true"))
        await asyncio.sleep(0.3)
        assert (await world.pod())["metadata"]["resourceVersion"] == version
        await world.client.delete(POD, KEY)
        assert (await world.pod())["metadata"]["deletionTimestamp"]
        await world.gone()
        followed = await following
        assert followed.startswith(f"{address}\n")
        assert followed.endswith("bye\n")
        assert list((world.directory / "pods").iterdir()) == []
        again = await world.create(pod(container(FOR_EVER)))
        assert (await world.becomes(is_ready, "ready again"))["status"]["podIP"] == address
        assert again["metadata"]["uid"] != found["metadata"]["uid"]


async def test_the_node_registers_and_tells_what_it_does(world: World) -> None:
    async with world.node():
        await world.create(pod(container(FOR_EVER)))
        await world.becomes(is_ready, "ready")
        node = await world.client.get(NODE, ObjectKey("", "sandbox"))
        assert node["status"]["conditions"][-1]["type"] == "Ready"

        async def started() -> bool:
            events = (await world.client.list(EVENT, namespace="default")).items
            return any(event["reason"] == "Started" for event in events)

        await eventually(started, what="an event tells of the start")


async def test_an_image_nobody_has_is_waited_for_and_the_pod_can_still_be_deleted(world: World) -> None:
    async with world.node():
        await world.create(pod({"name": "main", "image": "nobody/has-this:1"}))
        found = await world.becomes(waiting_for("ErrImagePull"), "ErrImagePull")
        assert "nobody/has-this:1" in first(found)["state"]["waiting"]["message"]
        assert found["status"]["phase"] == "Pending"
        await world.client.delete(POD, KEY)
        await world.gone()


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "sealed"}, 'RuntimeClass "sealed"'),
        ({"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}, "resource claims gpu"),
    ],
)
async def test_what_the_node_has_not_is_said_and_the_pod_can_still_be_deleted(
    world: World, spec: Object, why: str
) -> None:
    sealed = Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
    await world.client.create(
        sealed,
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": "sealed"},
            "handler": "x",
        },
    )

    async def said() -> str | None:
        events = (await world.client.list(EVENT, namespace="default")).items
        found = [one["note"] for one in events if one["reason"] == "FailedCreatePodSandBox"]
        return found[0] if found else None

    async with world.node():
        await world.create(pod(container(FOR_EVER), **spec))
        assert why in await eventually(said, what="the event")
        assert (await world.pod())["status"]["phase"] == "Pending"
        await world.client.delete(POD, KEY)
        await world.gone()


async def test_the_image_brings_programs_and_an_entry_point(world: World) -> None:
    async with world.node():
        await world.create(pod({"name": "main", "image": "registry/shell:2"}, restartPolicy="Never"))
        await world.becomes(phase("Succeeded"), "succeeded")
        assert await world.logs() == "tool\n"


@pytest.mark.parametrize(
    ("policy", "code", "ends"),
    [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")],
)
async def test_what_shall_not_run_again_does_not(world: World, policy: str, code: int, ends: str) -> None:
    async with world.node():
        await world.create(pod(container(f"exit {code}"), restartPolicy=policy))
        found = await world.becomes(phase(ends), ends)
        assert first(found)["state"]["terminated"]["exitCode"] == code
        assert first(found)["restartCount"] == 0


async def test_what_keeps_ending_is_restarted_with_back_off(world: World) -> None:
    async with world.node(first_backoff=0.3):
        await world.create(pod(container("echo run; exit 7")))
        found = await world.becomes(waiting_for("CrashLoopBackOff"), "back-off")
        assert "restarting failed container=main" in first(found)["state"]["waiting"]["message"]
        assert first(found)["lastState"]["terminated"]["exitCode"] == 7
        assert found["status"]["phase"] == "Running"
        assert not is_ready(found)
        await world.becomes(lambda one: first(one)["restartCount"] >= 2, "two restarts")
        assert await world.logs(previous="true") == "run\n"
        await world.client.delete(POD, KEY)
        await world.gone()


async def test_init_containers_run_one_after_the_other_and_helpers_beside(
    world: World, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    helper = container(FOR_EVER, "helper", restartPolicy="Always")
    inits = [container(f"echo one >> {order}", "one"), helper, container(f"echo two >> {order}", "two")]
    async with world.node():
        await world.create(pod(container(f"echo main >> {order}; {FOR_EVER}"), initContainers=inits))
        found = await world.becomes(is_ready, "ready")
        whole = ["one", "two", "main"]
        await comes_true(lambda: order.read_text().split() == whole, what="all have run in their order")
        by_name = {entry["name"]: entry for entry in found["status"]["initContainerStatuses"]}
        assert by_name["one"]["state"]["terminated"]["reason"] == "Completed"
        assert "running" in by_name["helper"]["state"]
        await world.client.delete(POD, KEY)
        await world.gone()


async def test_a_failing_init_container_stops_the_pod_that_may_not_retry(world: World) -> None:
    async with world.node():
        await world.create(
            pod(container(FOR_EVER), initContainers=[container("exit 1", "one")], restartPolicy="Never")
        )
        found = await world.becomes(phase("Failed"), "failed")
        assert "waiting" in first(found)["state"]


async def test_probes_decide_about_readiness_and_restarts(world: World, tmp_path: Path) -> None:
    flag, ill = tmp_path / "ready", tmp_path / "ill"
    probe = {"periodSeconds": 1, "failureThreshold": 1}
    readiness = {**probe, "exec": {"command": ["test", "-e", str(flag)]}}
    liveness = {**probe, "exec": {"command": ["sh", "-c", f"! test -e {ill}"]}}
    async with world.node():
        await world.create(pod(container(FOR_EVER, readinessProbe=readiness, livenessProbe=liveness)))
        found = await world.becomes(lambda one: first(one).get("started"), "started")
        assert not is_ready(found)
        flag.touch()
        await world.becomes(is_ready, "ready")
        flag.unlink()
        await world.becomes(lambda one: not is_ready(one), "not ready any more")
        flag.touch()
        ill.touch()
        await world.becomes(lambda one: first(one)["restartCount"] >= 1, "restarted")
        ill.unlink()
        await world.becomes(is_ready, "ready after the restart")


async def test_a_startup_probe_comes_first(world: World, tmp_path: Path) -> None:
    flag = tmp_path / "up"
    startup = {"periodSeconds": 1, "failureThreshold": 30, "exec": {"command": ["test", "-e", str(flag)]}}
    async with world.node():
        await world.create(pod(container(FOR_EVER, startupProbe=startup)))
        found = await world.becomes(lambda one: "running" in first(one)["state"], "running")
        assert (first(found)["started"], first(found)["ready"]) == (False, False)
        flag.touch()
        await world.becomes(is_ready, "ready")


async def test_files_of_config_maps_follow_and_what_is_missing_is_waited_for(world: World) -> None:
    mounts = [{"name": "c", "mountPath": "/etc/app"}, {"name": "t", "mountPath": "/tmp"}]  # noqa: S108
    script = "echo $TMPDIR $LEVEL; while :; do cat /etc/app/key; echo; sleep 0.05; done"
    env = [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "level"}}}]
    volumes = [{"name": "c", "configMap": {"name": "files"}}, {"name": "t", "emptyDir": {}}]
    async with world.node():
        await world.create(pod(container(script, volumeMounts=mounts, env=env), volumes=volumes))
        await world.becomes(waiting_for("ContainerCreating"), "waiting for the files")
        await world.client.create(CONFIG_MAP, config_map("files", key="one"))
        await world.becomes(waiting_for("CreateContainerConfigError"), "waiting for the variable")
        await world.client.create(CONFIG_MAP, config_map("env", level="high"))
        assert "volumes/t high" in await world.logs_show("one")
        files = ObjectKey("default", "files")
        await world.client.patch(CONFIG_MAP, files, {"data": {"key": "two"}})
        await world.logs_show("two", tailLines="2")


async def test_claims_outlive_their_pods_and_go_with_their_object(world: World) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    key = ObjectKey("default", "data")
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    writer = container(
        "echo again >> /data/log; cat /data/log", volumeMounts=[{"name": "d", "mountPath": "/data"}]
    )
    once = pod(writer, volumes=volumes, restartPolicy="Never")
    claims = world.directory / "claims"
    async with world.node():
        await world.create(once)
        await world.client.create(PVC, claim)
        await world.client.patch(PVC, key, {"status": {"phase": "Bound"}}, subresource="status")
        for runs in (1, 2):
            await world.becomes(phase("Succeeded"), "succeeded")
            assert await world.logs() == "again\n" * runs
            await world.client.delete(POD, KEY)
            await world.gone()
            if runs == 1:
                await world.create(once)
        assert len(list(claims.iterdir())) == 1
        await world.client.delete(PVC, key)
        # What the loops do, which do not run here: no pod uses it any more.
        await world.client.patch(PVC, key, {"metadata": {"finalizers": None}})
        await comes_true(lambda: not list(claims.iterdir()), what="the directory goes with its claim")


async def test_names_of_peers_become_their_addresses_before_they_exist(world: World) -> None:
    peer = "peer-0.db.default.svc.cluster.local:50052"
    async with world.node():
        await world.client.create(
            SERVICE,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "db", "namespace": "default"},
                "spec": {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"port": 50052}]},
            },
        )
        await world.create(
            pod(container("echo $PEER", env=[{"name": "PEER", "value": peer}]), restartPolicy="Never")
        )
        await world.becomes(phase("Succeeded"), "succeeded")
        told = (await world.logs()).strip()
        other = pod(container(FOR_EVER))
        other["metadata"]["name"] = "peer-0"
        await world.create(other)

        async def address() -> str:
            found = await world.client.get(POD, ObjectKey("default", "peer-0"))
            return str(found["status"].get("podIP", ""))

        assert told == f"{await eventually(address, what='the peer has an address')}:50052"


async def test_a_pod_taken_away_by_force_leaves_no_process(world: World, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with world.node():
        await world.create(pod(container(f"echo $$$$ > {pid}.new; mv {pid}.new {pid}; {FOR_EVER}")))
        await world.becomes(is_ready, "ready")
        await comes_true(pid.exists, what="it has told its process id")
        await world.client.delete(POD, KEY, grace_period=0)
        await world.gone()
        await comes_true(lambda: not _alive(int(pid.read_text())), what="its process is gone")


async def test_a_node_that_comes_back_takes_its_pods_up_again(world: World) -> None:
    async with world.node():
        await world.create(pod(container(FOR_EVER)))
        before = await world.becomes(is_ready, "ready")
    stopped = await world.pod()
    assert stopped["metadata"]["uid"] == before["metadata"]["uid"]
    async with world.node():
        found = await world.becomes(
            lambda one: is_ready(one) and first(one)["restartCount"] == 1, "running again"
        )
        assert first(found)["lastState"]["terminated"]["message"] == "the sandbox stopped"
        assert found["status"]["podIP"] == before["status"]["podIP"]
    await world.client.delete(POD, KEY)
    async with world.node():
        await world.gone()
    async with world.node():
        assert list((world.directory / "pods").iterdir()) == []


def for_node(name: str) -> Object:
    """As a DaemonSet says which node its pod is for."""
    field = {"key": "metadata.name", "operator": "In", "values": [name]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


@pytest.mark.parametrize("spec", [{"schedulerName": "another"}, {"affinity": for_node("another")}])
async def test_pods_of_other_nodes_and_schedulers_are_left_alone(world: World, spec: Object) -> None:
    theirs = pod(container(FOR_EVER), **spec)
    async with world.node():
        await world.create(theirs)
        ours = pod(container(FOR_EVER), affinity=for_node("sandbox"))
        ours["metadata"]["name"] = "q"
        await world.create(ours)

        async def running() -> bool:
            return is_ready(await world.client.get(POD, ObjectKey("default", "q")))

        await eventually(running, what="the other pod runs")
        assert "nodeName" not in (await world.pod())["spec"]


async def test_hooks_run_around_the_life_of_a_container(world: World, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", f"echo started >> {trace}"]}},
        "preStop": {"exec": {"command": ["sh", "-c", f"echo stopping >> {trace}"]}},
    }
    trapped = tmp_path / "trapped"
    script = f"trap 'echo end >> {trace}; exit 0' TERM; touch {trapped}; while :; do sleep 0.05; done"
    async with world.node():
        await world.create(pod(container(script, lifecycle=lifecycle)))
        await comes_true(trapped.exists, what="the container is ready for its signal")
        await comes_true(lambda: trace.exists() and "started" in trace.read_text(), what="postStart ran")
        await world.client.delete(POD, KEY)
        await world.gone()
        assert trace.read_text().split() == ["started", "stopping", "end"]


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
