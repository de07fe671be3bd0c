"""A small world for reconcilers: an object store, router nodes and a registry keeper, all in memory.

It speaks the interfaces the controllers use and nothing more, counts every write, and does nothing by
itself: tests say when the StatefulSet controller acts, when a pod becomes ready, who leads. What the real
API server and real routers do is proven in the tests of the rooms that own them and end to end.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from controllers.applying.comparing import digest
from controllers.members.reach import POD_INDEXES
from controllers.objects.kinds import (
    CONFIG_MAP,
    DEFINITION,
    DISRUPTION_BUDGET,
    POD,
    PVC,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from controllers.references.services import PIPELINE_INDEXES, SERVICE_INDEXES, SERVICES
from controllers.wiring.context import Context
from controllers.wiring.settings import ControllerSettings
from etl_operator.api import CLUSTER, PIPELINE
from informers.cache.store import IndexFunction
from informers.objects import Object, Resource
from tests.controllers.routers import KeeperDouble, Routers
from tests.controllers.store import NAMESPACE, STARTED_AT, Store, StoreInformer


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
