"""A small world for reconcilers: an object store, router nodes and a registry keeper, all in memory.

It speaks the interfaces the controllers use and nothing more, counts every write, and does nothing by
itself: tests say when the StatefulSet controller acts, when a pod becomes ready, who leads. What the real
API server and real routers do is proven in the tests of the rooms that own them and end to end.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from controllers.applying.comparing import digest
from controllers.members.reach import POD_INDEXES
from controllers.objects.kinds import (
    CONFIG_MAP,
    DEFINITION,
    DISRUPTION_BUDGET,
    EVENT,
    POD,
    PVC,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from controllers.references.services import PIPELINE_INDEXES, SERVICE_INDEXES, SERVICES
from controllers.wiring.context import Context
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, PIPELINE
from etl_operator.router.errors import NotLeader, RouterError, Unreachable
from etl_operator.router.leaders import Leaders
from etl_operator.router.pb import router_pb2 as pb
from etl_operator.tls.credentials import ChannelTls
from informers.cache.store import IndexFunction
from informers.cache.store import Store as Views
from informers.errors import AlreadyExists, Conflict, NotFound
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View, view_of_object

NAMESPACE = "etl"
START = 1_800_000_000.0
STARTED_AT = "2027-01-15T08:00:00Z"


class StoreInformer:
    """A cache that is behind only when a test says so: the library's store, told of every change at once."""

    def __init__(self, resource: Resource, indexes: Mapping[str, IndexFunction]) -> None:
        self.resource = resource
        self._views = Views(indexes)
        self._behind = False

    def get(self, key: ObjectKey) -> View | None:
        return self._views.get(key)

    def list(self, namespace: str | None = None) -> Sequence[View]:
        return list(self._views.all() if namespace is None else self._views.of(namespace))

    def by_index(self, index: str, value: str) -> Sequence[View]:
        found = (self._views.get(key) for key in self._views.by_index(index, value))
        return [view for view in found if view is not None]

    def written(self, obj: Object) -> None:
        """The answer to a write is shown at once, also by a cache that is behind."""
        if self._behind:
            self._show(obj, gone=False)

    def fall_behind(self) -> None:
        """See nothing of what happens from now on."""
        self._behind = True

    def changed(self, obj: Object, *, gone: bool) -> None:
        """The store has another version of an object, or none any more."""
        if not self._behind:
            self._show(obj, gone=gone)

    def _show(self, obj: Object, *, gone: bool) -> None:
        view = view_of_object(obj)
        assert view is not None, "the store keeps nothing without a name"
        if gone:
            self._views.remove(view)
        else:
            self._views.put(view)


@dataclass
class Store:
    """Objects, and a log of every request that could change one."""

    now: float = START
    objects: dict[tuple[Resource, ObjectKey], Object] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    informers: dict[Resource, StoreInformer] = field(default_factory=dict)
    events: dict[str, list[Object]] = field(default_factory=dict)
    """Warning events by the uid of what they are about."""
    asked: list[str] = field(default_factory=list)
    """Uids whose events were read."""
    no_events: Exception | None = None
    """Why events cannot be read."""
    read_secrets: list[str] = field(default_factory=list)
    """Names of the Secrets that were asked for."""
    no_secrets: Exception | None = None
    """Why Secrets cannot be read."""
    _applied: dict[tuple[Resource, ObjectKey], Object] = field(default_factory=dict)
    _serial: int = 0

    # -- what the controllers use ------------------------------------------------------------------

    async def get(self, resource: Resource, key: ObjectKey, *, subresource: str = "") -> Object:
        if resource == SECRET:
            self.read_secrets.append(key.name)
            if self.no_secrets is not None:
                raise self.no_secrets
        return copy.deepcopy(self._must(resource, key))

    async def list(
        self, resource: Resource, *, namespace: str = "", field_selector: str = "", limit: int = 0
    ) -> Any:
        """The objects of a namespace with one name, or the Warning events about one uid."""
        if resource == EVENT:
            found = re.fullmatch(r"involvedObject\.uid=([^,]+),type=Warning", field_selector)
            assert found and namespace and limit, "events are read of one object, and not without a limit"
            self.asked.append(found[1])
            if self.no_events is not None:
                raise self.no_events
            return SimpleNamespace(items=[copy.deepcopy(one) for one in self.events.get(found[1], ())])
        key = ObjectKey(namespace, field_selector.removeprefix("metadata.name="))
        obj = self.objects.get((resource, key))
        return SimpleNamespace(items=[copy.deepcopy(obj)] if obj else [])

    async def apply(
        self, resource: Resource, body: Object, *, field_manager: str, force: bool = False
    ) -> Object:
        key = ObjectKey.of(body)
        self.writes.append(("apply", resource.kind, str(key)))
        merged = copy.deepcopy(self.objects.get((resource, key)) or {})
        _subtract(merged, self._applied.get((resource, key)) or {}, body)
        _merge(merged, body)
        self._applied[resource, key] = copy.deepcopy(body)
        return self._store(resource, merged)

    async def update_status(self, resource: Resource, body: Object, *, field_manager: str) -> Object:
        key = ObjectKey.of(body)
        current = copy.deepcopy(self._must(resource, key))
        version = body["metadata"].get("resourceVersion", current["metadata"]["resourceVersion"])
        if version != current["metadata"]["resourceVersion"]:
            raise Conflict(409)
        self.writes.append(("status", resource.kind, str(key)))
        current["status"] = copy.deepcopy(body["status"])
        return self._store(resource, current)

    async def patch(
        self, resource: Resource, key: ObjectKey, patch: Any, *, field_manager: str = "", **_: Any
    ) -> Object:
        current = copy.deepcopy(self._must(resource, key))
        self.writes.append(("patch", resource.kind, str(key)))
        _merge(current, patch)
        return self._store(resource, current)

    async def delete(self, resource: Resource, key: ObjectKey, *, uid: str | None = None, **_: Any) -> None:
        current = copy.deepcopy(self._must(resource, key))
        if uid is not None and current["metadata"]["uid"] != uid:
            raise NotFound(404)
        self.writes.append(("delete", resource.kind, str(key)))
        current["metadata"].setdefault("deletionTimestamp", STARTED_AT)
        self._store(resource, current)

    # -- what tests use ----------------------------------------------------------------------------

    def put(self, resource: Resource, name: str, spec: Any = None, /, **metadata: Any) -> Object:
        """A user creates an object."""
        meta = {"name": name, "namespace": metadata.pop("namespace", NAMESPACE), **metadata}
        obj: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
        if (resource, ObjectKey.of(obj)) in self.objects:
            raise AlreadyExists(409)
        if spec is not None:
            obj["spec"] = spec
        return self._store(resource, obj)

    def edit(self, resource: Resource, name: str, change: Object) -> Object:
        """A user edits an object: a merge patch, unseen by the write log."""
        key = ObjectKey(NAMESPACE, name)
        current = copy.deepcopy(self._must(resource, key))
        _merge(current, change)
        return self._store(resource, current)

    def remove(self, resource: Resource, name: str, *, at: str = STARTED_AT) -> None:
        """A user deletes an object; finalizers hold it.

        :param at: by the server's clock.
        """
        key = ObjectKey(NAMESPACE, name)
        current = copy.deepcopy(self._must(resource, key))
        current["metadata"].setdefault("deletionTimestamp", at)
        self._store(resource, current)

    def of(self, resource: Resource, name: str) -> Object:
        """The object as it is now."""
        return self._must(resource, ObjectKey(NAMESPACE, name))

    def has(self, resource: Resource, name: str) -> bool:
        """Whether the object exists."""
        return (resource, ObjectKey(NAMESPACE, name)) in self.objects

    def condition(self, resource: Resource, name: str, kind: str) -> Mapping[str, Any]:
        """A condition of an object; empty when it has none of this type."""
        conditions = (self.of(resource, name).get("status") or {}).get("conditions") or ()
        return next((c for c in conditions if c["type"] == kind), {})

    def _must(self, resource: Resource, key: ObjectKey) -> Object:
        try:
            return self.objects[resource, key]
        except KeyError:
            raise NotFound(404, message=f"{resource.kind} {key} not found") from None

    def _store(self, resource: Resource, obj: Object) -> Object:
        key = ObjectKey.of(obj)
        before = self.objects.get((resource, key))
        meta = obj["metadata"]
        self._serial += 1
        if before is None:
            meta["uid"] = f"uid-{self._serial}"
            meta["generation"] = 1
            meta.setdefault("creationTimestamp", STARTED_AT)
        elif before.get("spec") != obj.get("spec"):
            meta["generation"] = before["metadata"]["generation"] + 1
        meta["resourceVersion"] = str(self._serial)
        gone = "deletionTimestamp" in meta and not meta.get("finalizers")
        if gone:
            self.objects.pop((resource, key), None)
            self._applied.pop((resource, key), None)
        else:
            self.objects[resource, key] = obj
        if resource in self.informers:
            self.informers[resource].changed(obj, gone=gone)
        return copy.deepcopy(obj)


def _merge(target: Object, patch: Object) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            inner = target.setdefault(key, {})
            if isinstance(inner, dict):
                _merge(inner, value)
            else:
                target[key] = copy.deepcopy(value)
        else:
            target[key] = copy.deepcopy(value)


def _subtract(target: Object, before: Object, now: Object) -> None:
    """Fields applied before and not any more go, as server-side apply has it."""
    for key, value in before.items():
        if key not in now:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(now[key], dict) and isinstance(target.get(key), dict):
            _subtract(target[key], value, now[key])


# -- routers ---------------------------------------------------------------------------------------


@dataclass
class Pipeline:
    """A pipeline in the router's state machine."""

    config: pb.PipelineConfig
    enabled: bool = False
    version: int = 1
    pending: int = 0
    counters: dict[str, pb.StageStatus] = field(default_factory=dict)
    """By stage."""


@dataclass
class Routers:
    """A Raft cluster seen from outside: shared pipelines, a registry per node, one leader."""

    leader: int = 1
    term: int = 1
    commit: int = 10
    claims: dict[int, int] = field(default_factory=dict)
    """Node id to the leader it names, where that differs from :attr:`leader`."""
    down: set[str] = field(default_factory=set)
    errors: dict[str, RouterError] = field(default_factory=dict)
    """Method name to the error it answers with."""
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    registered: dict[str, set[str]] = field(default_factory=dict)
    habit: Callable[[pb.PipelineConfig], Any] = lambda _: None
    """What these routers do to every config they are given."""
    hosts: dict[str, str] = field(default_factory=dict)
    """Service name to the host of its endpoint, where that is not ``<name>-svc``."""
    mutations: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    """Pipelines that were deleted with whatever was inside."""

    secured: dict[str, ChannelTls | None] = field(default_factory=dict)
    """How addresses are called."""
    buffer_troubles: dict[int, str] = field(default_factory=dict)
    """Node id to what it says of its durable buffer."""
    protocol: str = "etl"
    leaders: Leaders = field(default_factory=Leaders)
    """Who is remembered to lead, as clients do."""

    @property
    def prefixes(self) -> Routers:
        """What is known of the packages the nodes speak."""
        return self

    def of(self, _: str) -> str:
        """The package of one address."""
        return self.protocol

    def await_certificates(self, needed: Callable[[str], bool]) -> None:
        """Nobody waits here."""

    def secure(self, address: str, tls: ChannelTls | None) -> None:
        """How an address is called from now on."""
        self.secured[address] = tls

    def node(self, address: str) -> RouterNodeDouble:
        """The client of one address."""
        return RouterNodeDouble(self, address)


class RouterNodeDouble:
    """One router node as its client shows it."""

    def __init__(self, routers: Routers, address: str) -> None:
        self._routers = routers
        self.address = address
        self._id = int(address.partition(".")[0].rpartition("-")[2]) + 1

    @property
    def buffer_trouble(self) -> str:
        return self._routers.buffer_troubles.get(self._id, "")

    def _check(self, method: str, *, leader: bool = False) -> None:
        if self.address.partition(".")[0] in self._routers.down:
            raise Unreachable("connection refused", address=self.address, method=method)
        if method in self._routers.errors:
            raise self._routers.errors[method]
        if leader and self._id != self._routers.leader:
            raise NotLeader("Not the leader", address=self.address, method=method)

    async def get_cluster_status(self) -> pb.GetClusterStatusResponse:
        self._check("GetClusterStatus")
        routers = self._routers
        return pb.GetClusterStatusResponse(
            node_id=self._id,
            leader_id=routers.claims.get(self._id, routers.leader),
            term=routers.term,
            commit_index=routers.commit,
            applied_index=routers.commit,
        )

    async def get_pipeline(self, name: str) -> pb.GetPipelineResponse | None:
        self._check("GetPipeline")
        found = self._routers.pipelines.get(name)
        if found is None:
            return None
        status = pb.PipelineStatus(
            enabled=found.enabled, version=found.version, stage_statuses=found.counters
        )
        return pb.GetPipelineResponse(found=True, config=found.config, status=status)

    async def list_pipelines(self, include_disabled: bool = False) -> Sequence[pb.PipelineConfig]:
        self._check("ListPipelines")
        found = self._routers.pipelines.values()
        return [one.config for one in found if one.enabled or include_disabled]

    async def create_pipeline(self, config: pb.PipelineConfig) -> str:
        self._mutate("create")
        self._routers.pipelines[config.id] = Pipeline(self._stored(config))
        return str(config.id)

    async def update_pipeline(self, name: str, config: pb.PipelineConfig) -> int:
        self._mutate("update")
        found = self._routers.pipelines[name]
        found.config, found.version = self._stored(config), found.version + 1
        return found.version

    def _stored(self, config: pb.PipelineConfig) -> pb.PipelineConfig:
        stored = pb.PipelineConfig()
        stored.CopyFrom(config)
        self._routers.habit(stored)
        return stored

    async def enable_pipeline(self, name: str) -> None:
        self._mutate("enable")
        self._routers.pipelines[name].enabled = True

    async def disable_pipeline(self, name: str, drain: bool = True) -> int:
        self._mutate("disable")
        self._routers.pipelines[name].enabled = False
        return self._routers.pipelines[name].pending

    async def delete_pipeline(self, name: str, force: bool = False) -> None:
        self._mutate("delete")
        if force:
            self._routers.forced.append(name)
        self._routers.pipelines.pop(name, None)

    async def get_service_endpoints(self, name: str) -> list[Any]:
        self._check("GetServiceEndpoints")
        host = self._routers.hosts.get(name, f"{name}-svc")
        return [SimpleNamespace(endpoint=SimpleNamespace(host=host, port=50051))]

    async def deregister(self, service: str) -> None:
        self._check("Deregister")
        self._routers.registered.setdefault(self.address, set()).discard(service)

    def _mutate(self, what: str) -> None:
        self._check(f"{what.title()}Pipeline", leader=True)
        self._routers.mutations.append(what)
        self._routers.commit += 1


class KeeperDouble:
    """A registry keeper whose work is done at once."""

    def __init__(self, routers: Routers) -> None:
        self._routers = routers
        self.wanted: dict[str, tuple[Any, tuple[str, ...]]] = {}
        self.health: dict[str, Any] = {}
        """What goes along with the heartbeats, by service."""
        self.failing: dict[str, str] = {}
        self.slow: set[str] = set()
        """Addresses where registrations are still under way."""
        self.keeps: dict[str, Exception] = {}
        """Errors of nodes that cannot be told to forget, by address."""

    def want(self, registration: Any, addresses: Iterable[str], health: Any = None) -> None:
        self.health[registration.service_id] = health
        self.wanted[registration.service_id] = (registration, tuple(addresses))
        for services in self._routers.registered.values():
            services.discard(registration.service_id)
        for address in self.wanted[registration.service_id][1]:
            if self._done(address):
                self._routers.registered.setdefault(address, set()).add(registration.service_id)

    def state(self, service: str) -> Mapping[str, Any]:
        _, addresses = self.wanted.get(service, (None, ()))
        return {
            address: SimpleNamespace(registered=self._done(address), error=self.failing.get(address))
            for address in addresses
        }

    def _done(self, address: str) -> bool:
        return address not in self.failing and address not in self.slow

    def dismiss(self, service: str) -> None:
        self.wanted.pop(service, None)
        for services in self._routers.registered.values():
            services.discard(service)

    def forget(self, service: str) -> None:
        """Nobody is told: what is registered stays until its lease is over."""
        self.wanted.pop(service, None)

    async def drop(self, service: str) -> Mapping[str, Exception]:
        self.wanted.pop(service, None)
        for services in self._routers.registered.values():
            services.discard(service)
        return self.keeps


@dataclass
class Recorder:
    """Remembers events."""

    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def event(self, involved: Any, *, type: str, reason: str, action: str, note: str) -> None:
        self.seen.append((type, reason, note))

    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.seen]


class MetricsDouble:
    """Accepts every metric; the series themselves are tested with the metrics library."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


def router_status(*, ready: bool, running: bool = True) -> Object:
    """The status of a pod whose only container is the router."""
    state = {"running": {}} if running else {"waiting": {"reason": "CrashLoopBackOff"}}
    return {
        "phase": "Running" if running else "Pending",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [{"name": "router", "ready": ready, "state": state}],
    }


class World:
    """Everything a reconciler is given, in one place."""

    def __init__(self, **settings: Any) -> None:
        self.store = Store()
        self.routers = Routers()
        self.keeper = KeeperDouble(self.routers)
        self.events = Recorder()
        children = (CONFIG_MAP, SERVICE, SERVICE_ACCOUNT, DISRUPTION_BUDGET, STATEFUL_SET)
        indexes: dict[Resource, Mapping[str, IndexFunction]] = {
            PIPELINE: PIPELINE_INDEXES,
            POD: POD_INDEXES,
            **dict.fromkeys(SERVICES, SERVICE_INDEXES),
        }
        self.store.informers = {
            resource: StoreInformer(resource, indexes.get(resource, {}))
            for resource in (CLUSTER, PIPELINE, *SERVICES, *children, POD, PVC)
        }
        self.context = Context(
            client=cast(Any, self.store),
            events=cast(Any, self.events),
            clock=self,
            settings=ControllerSettings(**settings),
            clients=cast(Any, self.routers),
            keeper=cast(Any, self.keeper),
            informers=cast(Any, self.store.informers),
            metrics=cast(Any, MetricsDouble()),
        )

    def monotonic(self) -> float:
        return self.store.now

    def time(self) -> float:
        return self.store.now

    def end_namespace(self) -> None:
        """A user deletes the namespace; nothing in it has gone yet."""
        kind = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
        self.store.put(kind, NAMESPACE, namespace="", finalizers=["kubernetes"], deletionTimestamp=STARTED_AT)

    def end_definitions(self, *kinds: Resource) -> None:
        """A user deletes definitions; their objects have not gone yet."""
        for kind in kinds:
            name = f"{kind.plural}.{kind.group}"
            held = {"finalizers": ["customresourcecleanup.apiextensions.k8s.io"]}
            self.store.put(DEFINITION, name, namespace="", deletionTimestamp=STARTED_AT, **held)

    # -- the StatefulSet controller and the node, one step at a time ---------------------------------

    def run_stateful_set(self, name: str, *, ready: bool = True) -> None:
        """Create missing pods and claims, and report the revisions (OnDelete)."""
        live = copy.deepcopy(self.store.of(STATEFUL_SET, name))
        revision = f"{name}-{digest(live['spec']['template'])}"
        for ordinal in range(live["spec"]["replicas"]):
            if not self.store.has(POD, f"{name}-{ordinal}"):
                self._create_pod(live, ordinal, revision, ready)
        status = live.setdefault("status", {})
        status.setdefault("currentRevision", revision)
        status |= {"observedGeneration": live["metadata"]["generation"], "updateRevision": revision}
        self.store._store(STATEFUL_SET, live)

    def set_ready(self, pod: str, ready: bool, *, running: bool = True) -> None:
        """The node reports on a pod."""
        self.store.edit(POD, pod, {"status": router_status(ready=ready, running=running)})

    def _create_pod(self, live: Object, ordinal: int, revision: str, ready: bool) -> None:
        name = f"{live['metadata']['name']}-{ordinal}"
        template = live["spec"]["template"]["metadata"]
        owner = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "name": live["metadata"]["name"],
            "uid": live["metadata"]["uid"],
            "controller": True,
        }
        self.store.put(
            POD,
            name,
            {},
            labels={**template["labels"], "controller-revision-hash": revision},
            annotations=dict(template["annotations"]),
            ownerReferences=[owner],
        )
        self.set_ready(name, ready)
        if not self.store.has(PVC, f"data-{name}"):
            claim = copy.deepcopy(live["spec"]["volumeClaimTemplates"][0]["spec"])
            claim.setdefault("storageClassName", "standard")
            self.store.put(PVC, f"data-{name}", claim)
            capacity = claim["resources"]["requests"]
            status = {"phase": "Bound", "capacity": dict(capacity)}
            self.store.edit(PVC, f"data-{name}", {"status": status})
