"""One namespace of a running cluster, with what tests do in it and wait for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from e2e.running import Sandbox, eventually
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.router.client import RouterClients, RouterNode
from informers.client import Client
from informers.errors import NotFound
from informers.objects import Object, ObjectKey, Resource
from tests.hanging import HANGS

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
POD = Resource("", "v1", "pods", "Pod")
PVC = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
ETL = (CLUSTER, PIPELINE, SOURCE, TRANSFORM, SINK)
CHILDREN = (CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, STATEFUL_SET, BUDGET)
MANAGER = "e2e"
FAST_RAFT = {"electionTimeoutMs": 500, "heartbeatIntervalMs": 100}


def condition(obj: Object, kind: str = "Ready") -> Object:
    """A condition, or an empty one."""
    conditions: Sequence[Object] = (obj.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one["type"] == kind), {})


class Scene:
    """A namespace of one test's own.

    :param client: an administrator's.
    """

    def __init__(self, sandbox: Sandbox, client: Client, namespace: str) -> None:
        self.sandbox = sandbox
        self.client = client
        self.namespace = namespace

    def key(self, name: str) -> ObjectKey:
        """A name of this namespace."""
        return ObjectKey(self.namespace, name)

    async def apply(self, resource: Resource, name: str, spec: Object, **metadata: Any) -> Object:
        """Create or change an object; further arguments go to its metadata."""
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "namespace": self.namespace, **metadata},
            "spec": spec,
        }
        return await self.client.apply(resource, body, field_manager=MANAGER)

    async def cluster(self, name: str, replicas: int = 1, **spec: Any) -> Object:
        """Ask for a router cluster with short elections."""
        return await self.apply(CLUSTER, name, {"replicas": replicas, "raft": FAST_RAFT, **spec})

    async def service(self, resource: Resource, name: str, endpoint: str = "svc:1", **spec: Any) -> Object:
        """Ask for a source, transform or sink."""
        return await self.apply(resource, name, {"grpc": {"endpoint": endpoint}, **spec})

    async def patch(self, resource: Resource, name: str, patch: Object) -> Object:
        """Merge a patch into an object."""
        return await self.client.patch(resource, self.key(name), patch, field_manager=MANAGER)

    async def annotate(self, resource: Resource, name: str, **annotations: str | None) -> Object:
        """Set or, with ``None``, remove annotations; ``_`` stands for ``-`` below ``etl.router/``."""
        named = {f"etl.router/{key.replace('_', '-')}": value for key, value in annotations.items()}
        return await self.patch(resource, name, {"metadata": {"annotations": named}})

    async def get(self, resource: Resource, name: str) -> Object:
        """An object; :raises NotFound: when there is none."""
        return await self.client.get(resource, self.key(name))

    async def find(self, resource: Resource, name: str) -> Object | None:
        """An object, if there is one."""
        with suppress(NotFound):
            return await self.get(resource, name)
        return None

    async def all(self, resource: Resource) -> list[Object]:
        """Every object of a kind."""
        return (await self.client.list(resource, namespace=self.namespace)).items

    async def delete(self, resource: Resource, name: str) -> None:
        """Delete an object, if there is one."""
        with suppress(NotFound):
            await self.client.delete(resource, self.key(name))

    async def gone(self, resource: Resource, name: str, within: float = HANGS) -> None:
        """Wait until an object is gone."""

        async def check() -> bool:
            return await self.find(resource, name) is None

        await eventually(check, what=f"{resource.kind} {name} is gone", within=within)

    async def until(
        self, resource: Resource, name: str, check: Callable[[Object], Any], what: str, within: float = HANGS
    ) -> Object:
        """Wait until an object exists and fulfils ``check``; the failure shows its last state."""
        last: Object | None = None

        async def looked() -> Object | None:
            nonlocal last
            last = await self.find(resource, name)
            return last if last is not None and check(last) else None

        try:
            return await eventually(looked, what=what, within=within)
        except AssertionError as error:
            shown = {part: (last or {}).get(part) for part in ("metadata", "spec", "status")}
            raise AssertionError(f"{error}\n{resource.kind} {name}: {shown}") from None

    async def ready(self, resource: Resource, name: str, within: float = HANGS) -> Object:
        """Wait until an object is Ready at its present generation."""

        def check(obj: Object) -> bool:
            found = condition(obj)
            generation = obj["metadata"]["generation"]
            return found.get("status") == "True" and found["observedGeneration"] == generation

        return await self.until(resource, name, check, f"{resource.kind} {name} is Ready", within)

    async def says(
        self,
        resource: Resource,
        name: str,
        reason: str,
        *parts: str,
        kind: str = "Ready",
        status: str | None = None,
        within: float = HANGS,
    ) -> Object:
        """Wait until a condition has this reason (and status), and a message with these parts."""

        def check(obj: Object) -> bool:
            found = condition(obj, kind)
            return (
                found.get("reason") == reason
                and all(part in found["message"] for part in parts)
                and status in (None, found["status"])
            )

        wanted = f"{resource.kind} {name} says {kind} {status or ''} {reason} {parts}"
        return condition(await self.until(resource, name, check, wanted, within), kind)

    async def events(self, name: str) -> list[Object]:
        """Events about the objects of a name, oldest first."""
        found = [one for one in await self.all(EVENT) if (one.get("regarding") or {}).get("name") == name]
        return sorted(found, key=lambda one: one.get("eventTime") or "")

    async def told(self, name: str, reason: str, *parts: str, within: float = HANGS) -> Object:
        """Wait for an event with this reason and these parts of its note."""

        async def check() -> Object | None:
            return next(
                (
                    event
                    for event in await self.events(name)
                    if event["reason"] == reason and all(part in event.get("note", "") for part in parts)
                ),
                None,
            )

        try:
            return await eventually(check, what=f"an event {reason} {parts} about {name}", within=within)
        except AssertionError as error:
            notes = [f"{one['reason']}: {one.get('note')}" for one in await self.events(name)]
            raise AssertionError("\n".join([str(error), *notes])) from None

    async def pods(self, cluster: str) -> list[Object]:
        """The router pods of a cluster, in order of their names."""
        labelled = f"etl.router/cluster={cluster}"
        found = (await self.client.list(POD, namespace=self.namespace, label_selector=labelled)).items
        return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))

    async def addresses(self, cluster: str, port: int = 50051) -> list[str]:
        """Where the routers of a cluster answer."""
        return [f"{pod['status']['podIP']}:{port}" for pod in await self.pods(cluster)]

    async def leader(self, cluster: str) -> str:
        """Where the leader answers."""
        status = (await self.until(CLUSTER, cluster, _led, f"{cluster} has a leader"))["status"]
        pod = await self.get(POD, status["leaderPod"])
        return f"{pod['status']['podIP']}:50051"

    async def process(self, pod: str) -> int:
        """The id of the process that runs in a pod."""
        address = (await self.get(POD, pod))["status"]["podIP"]
        pattern = re.compile(rf"--listen-addr {re.escape(address)}:")
        (line,) = (one for one in self.sandbox.processes() if pattern.search(one))
        return int(line.split()[0])

    async def versions(self, *kinds: Resource) -> dict[tuple[str, str], str]:
        """The version of every object that a controller may write, or of those of some kinds."""
        found = {}
        for resource in kinds or (*ETL, *CHILDREN, POD, PVC, EVENT):
            for obj in await self.all(resource):
                found[resource.kind, obj["metadata"]["name"]] = obj["metadata"]["resourceVersion"]
        return found

    async def still(self, *kinds: Resource, polls: int = 2, within: float = HANGS) -> None:
        """Wait until nothing in the namespace changes while every cluster is looked at again and again.

        Statuses follow what has happened with the next look, so the first changes are allowed for.
        """

        async def silent() -> bool:
            before = await self.versions(*kinds)
            await self.looked_at(polls)
            return await self.versions(*kinds) == before

        await eventually(silent, what=f"{self.namespace} becomes silent", within=within)

    async def looked_at(self, polls: int) -> None:
        """Wait until the operator has looked at all clusters ``polls`` times."""
        clusters = len((await self.client.list(CLUSTER)).items)
        enough = await reconciles(self.sandbox, "cluster") + polls * max(1, clusters)

        async def check() -> bool:
            return await reconciles(self.sandbox, "cluster") >= enough

        await eventually(check, what=f"{polls} looks at {clusters} clusters")


def _led(cluster: Object) -> bool:
    return bool((cluster.get("status") or {}).get("leaderPod"))


@asynccontextmanager
async def scene_in(sandbox: Sandbox, client: Client, namespace: str) -> AsyncIterator[Scene]:
    """A namespace that is deleted afterwards."""
    await client.apply(
        NAMESPACE,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        field_manager=MANAGER,
    )
    try:
        yield Scene(sandbox, client, namespace)
    finally:
        with suppress(NotFound):
            await client.delete(NAMESPACE, ObjectKey("", namespace))


@asynccontextmanager
async def router(address: str) -> AsyncIterator[RouterNode]:
    """A router, spoken to directly."""
    clients = RouterClients()
    try:
        yield clients.node(address)
    finally:
        await clients.close()


@asynccontextmanager
async def meanwhile(work: Callable[[], Awaitable[None]], pause: float = 0.05) -> AsyncIterator[None]:
    """Repeat ``work`` until the block ends; what it raises fails the block."""

    async def repeatedly() -> None:
        while True:
            await work()
            await asyncio.sleep(pause)

    task = asyncio.create_task(repeatedly())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def reconciles(sandbox: Sandbox, controller: str) -> float:
    """How many reconciles of a controller the operator has counted."""
    pattern = rf'controller_runtime_reconcile_total{{controller="{controller}",result="[a-z_]+"}} ([0-9.e+]+)'
    return sum(float(value) for value in re.findall(pattern, await metrics(sandbox)))


async def metrics(sandbox: Sandbox) -> str:
    """The operator's metrics; empty while it does not answer."""
    address = re.search(r"http://(127\.0\.0\.1):(\d+)/metrics", sandbox.output)
    assert address is not None
    try:
        reader, writer = await asyncio.open_connection(address[1], int(address[2]))
    except OSError:
        return ""
    writer.write(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()
