"""What the controllers write is known to the schemas and allowed by the role.

A field of a status that the schema does not know would be pruned by the server, found missing by the
controller, and written again for ever; a missing verb would stop the operator at a user's site.
"""

from __future__ import annotations

from typing import Any

import pytest

from controllers.objects.kinds import DEFINITION, POD, PVC, STORAGE_CLASS
from etl_operator.api import CLUSTER, PIPELINE, SINK, SOURCE
from etl_operator.api.crds import KINDS
from etl_operator.sandbox.manifests import load_manifests
from informers.objects import Object, ObjectKey, Resource
from tests.api.server import admitted
from tests.controllers.cluster import running as clusters
from tests.controllers.pipeline import running as pipelines
from tests.controllers.routers import RouterNodeDouble
from tests.controllers.service import running as services
from tests.controllers.store import Store
from tests.install.manifests import CONFIG, only, problems, rules

ROLE = rules(only(load_manifests(CONFIG / "rbac"), "ClusterRole", "etl-operator-manager-role"))
OWN = {kind.resource for kind in KINDS}


class Recorded:
    """Every request of a store, with its body."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.grants: set[tuple[str, str, str, str]] = set()
        self.bodies: list[tuple[Resource, Object]] = []
        self.managers: set[str] = set()
        """Field managers of everything that writes fields."""
        for name, verbs in (
            ("get", ("get",)),
            ("list", ("list",)),
            ("apply", ("create", "patch")),
            ("update_status", ("patch",)),
            ("patch", ("patch",)),
            ("delete", ("delete",)),
        ):
            monkeypatch.setattr(Store, name, self._recording(name, verbs))

    def _recording(self, name: str, verbs: tuple[str, ...]) -> Any:
        original = getattr(Store, name)

        async def method(store: Store, resource: Resource, *rest: Any, **named: Any) -> Any:
            path = f"{resource.plural}/status" if name == "update_status" else resource.plural
            # Only the definitions of the product itself may be read.
            bare = rest[0].name if resource == DEFINITION else ""
            self.grants |= {(resource.group, path, verb, bare) for verb in verbs}
            if name in ("apply", "update_status", "patch"):
                self.managers.add(named.get("field_manager", ""))
            if name in ("apply", "update_status"):
                self.bodies.append((resource, rest[0]))
            return await original(store, resource, *rest, **named)

        return method


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Records what all stores of a test are asked."""
    return Recorded(monkeypatch)


async def test_a_clusters_life(recorded: Recorded) -> None:
    running = clusters.Running(
        affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
        tolerations=[{"operator": "Exists"}],
        resources={"limits": {"cpu": 1, "memory": "1Gi"}},
        service={"type": "NodePort", "annotations": {"a": "b"}},
        topologySpreadConstraints=[
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    )
    await running.started()
    running.world.routers.down = {"prod-1", "prod-2"}
    await running.once()
    running.world.routers.down = set()
    running.store.edit(CLUSTER, clusters.NAME, {"spec": {"image": "etl-router:2"}})
    await running.settle()
    running.store.edit(CLUSTER, clusters.NAME, {"spec": {"replicas": 4}})
    await running.settle()
    running.store.put(STORAGE_CLASS, "standard", namespace="")
    running.store.objects[STORAGE_CLASS, ObjectKey("", "standard")]["allowVolumeExpansion"] = True
    running.store.edit(CLUSTER, clusters.NAME, {"spec": {"storage": {"size": "20Gi"}}})
    await running.once()
    change = {"serviceAccountName": "mine", "podDisruptionBudget": {"enabled": False}}
    running.store.edit(CLUSTER, clusters.NAME, {"spec": change})
    await running.once()
    # The scenario reached everything it is about.
    for resource, verb in ((POD, "delete"), (PVC, "patch"), (STORAGE_CLASS, "get")):
        assert (resource.group, resource.plural, verb, "") in recorded.grants
    assert {condition["type"] for condition in running.status["conditions"]} >= {"Ready", "QuorumHealthy"}
    judge(recorded, "cluster")


async def test_a_pipelines_life(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    running = pipelines.Running(missing=("out",), dlq={"enabled": True, "maxRetries": 3})
    await running.once()
    running.store.put(SINK, "out", {"grpc": {"endpoint": "x:1"}})
    await running.started()
    running.store.edit(PIPELINE, pipelines.NAME, {"spec": {"enabled": False}})
    await running.once()
    # Somebody else writes while a pass is under way.
    get = RouterNodeDouble.get_pipeline

    async def meanwhile(node: Any, name: str) -> Any:
        running.store.edit(PIPELINE, pipelines.NAME, {"metadata": {"labels": {"a": "b"}}})
        return await get(node, name)

    monkeypatch.setattr(RouterNodeDouble, "get_pipeline", meanwhile)
    running.store.edit(PIPELINE, pipelines.NAME, {"spec": {"enabled": True}})
    await running.once()
    assert running.status["enabled"] is True
    running.delete()
    await running.once()
    assert not running.exists
    judge(recorded, "pipeline")


async def test_a_services_life(recorded: Recorded) -> None:
    running = services.Running()
    await running.started()
    running.store.remove(SOURCE, services.NAME)
    await running.once()
    assert not running.exists
    judge(recorded, "source")


def judge(recorded: Recorded, controller: str) -> None:
    """Nothing forbidden, nothing invalid, nothing that would be pruned, and all of it in one name."""
    assert recorded.managers == {f"etl-operator/{controller}"}
    assert recorded.grants - ROLE == set()
    assert recorded.bodies
    for resource, body in recorded.bodies:
        if resource not in OWN:
            assert problems(body) == [], resource.kind
            continue
        # The server validates the whole object; the spec is not what this is about.
        spec = {CLUSTER: {}, PIPELINE: {"source": "a", "sink": "b"}}.get(
            resource, {"grpc": {"endpoint": "a:1"}}
        )
        stored, causes = admitted(resource, {**body, "spec": spec})
        assert causes == []
        assert stored["status"] == body["status"]
