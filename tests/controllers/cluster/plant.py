"""What surrounds the cluster controller, in ticks of one second: pods that start, members that elect, volumes
that grow, users who change things; and a referee who looks at every write from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controllers.cluster.reconciler import ClusterReconciler
from controllers.members.facts import quorum
from controllers.objects.kinds import POD, PVC, STATEFUL_SET, STORAGE_CLASS
from etl_operator.api import CLUSTER
from informers.objects import Object, ObjectKey
from tests.controllers.store import NAMESPACE
from tests.controllers.world import World, router_status

NAME = "prod"
KEY = ObjectKey(NAMESPACE, NAME)
START_TICKS = 3
"""From the creation of a pod to its router's running; it is ready one tick later."""
GROW_TICKS = 3
CHANGES = ("image", "grow", "scale", "restart", "pause", "retention", "delete")


@dataclass
class Plant:
    """One cluster of three, with its reconciler."""

    offline: bool = False
    """Volumes grow when a pod starts, not before."""
    world: World = field(default_factory=World)
    ages: dict[str, int] = field(default_factory=dict)
    """Ticks since a pod (by uid) or a larger request of a claim was first seen."""
    election: int = 0
    count: int = 0
    paused: bool = False
    kinds: list[str] = field(default_factory=list)
    """Every disruptive change, in order."""

    def __post_init__(self) -> None:
        self.store = self.world.store
        self.store.put(STORAGE_CLASS, "standard", namespace="")
        self.store.objects[STORAGE_CLASS, ObjectKey("", "standard")]["allowVolumeExpansion"] = True
        self.wanted: dict[str, Any] = {
            "replicas": 3,
            "image": "etl-router:0",
            "storage": {"size": "10Gi", "retentionPolicy": {"whenScaled": "Retain"}},
        }
        self.store.put(CLUSTER, NAME, self.wanted)
        self.reconciler = ClusterReconciler(self.world.context)

    # -- users -------------------------------------------------------------------------------------

    def change(self, what: str) -> None:
        """A user does something."""
        self.count += 1
        if what == "image":
            self.edit({"image": f"etl-router:{self.count}"})
        elif what == "grow":
            self.edit({"storage": {"size": f"{10 + self.count}Gi"}})
        elif what == "scale":
            self.edit({"replicas": self.wanted["replicas"] + 1})
        elif what == "retention":
            now = self.wanted["storage"]["retentionPolicy"]["whenScaled"]
            self.edit(
                {"storage": {"retentionPolicy": {"whenScaled": "Delete" if now == "Retain" else "Retain"}}}
            )
        elif what == "restart":
            self.annotate("etl.router/restart-requested-at", str(self.count))
        elif what == "pause":
            self.paused = True
            self.annotate("etl.router/paused", "true")
        elif what == "delete" and self.store.has(POD, f"{NAME}-{self.count % 3}"):
            self.store.remove(POD, f"{NAME}-{self.count % 3}")

    def resume(self) -> None:
        """A pause ends."""
        self.paused = False
        self.annotate("etl.router/paused", None)

    def edit(self, spec: Object) -> None:
        """Change the spec."""
        self.store.edit(CLUSTER, NAME, {"spec": spec})
        self.wanted = self.store.of(CLUSTER, NAME)["spec"]

    def annotate(self, name: str, value: str | None) -> None:
        """Set or remove an annotation."""
        self.store.edit(CLUSTER, NAME, {"metadata": {"annotations": {name: value}}})

    # -- the surroundings --------------------------------------------------------------------------

    async def tick(self) -> None:
        """A second passes: the surroundings act, then the controller, then the referee looks."""
        self.store.now += 1
        if self.store.has(STATEFUL_SET, NAME):
            self.world.run_stateful_set(NAME, ready=False)
            self._pods()
            self._claims()
        self.store.writes.clear()
        before = self._seen()
        await self.reconciler.reconcile(KEY)
        self._judge(before)

    def _pods(self) -> None:
        live = {pod["metadata"]["name"]: pod for pod in self.pods()}
        ages = {pod["metadata"]["uid"]: self._age(pod["metadata"]["uid"]) for pod in live.values()}
        running = {name for name, pod in live.items() if ages[pod["metadata"]["uid"]] >= START_TICKS}
        self._elect(running, live)
        leader = live.get(f"{NAME}-{self.world.routers.leader - 1}")
        listed = int(leader["metadata"]["annotations"]["etl.router/members"]) if leader else 0
        self.world.routers.claims = {}
        for name, pod in live.items():
            number = int(name.rpartition("-")[2]) + 1
            # A member that the leader does not list as a peer hears nothing of it.
            heard = number <= listed
            if not heard:
                self.world.routers.claims[number] = 0
            ready = heard and ages[pod["metadata"]["uid"]] > START_TICKS
            status = router_status(ready=ready, running=name in running)
            if pod.get("status") != status:
                self.world.store.edit(POD, name, {"status": status})

    def _elect(self, running: set[str], live: dict[str, Object]) -> None:
        routers = self.world.routers
        routers.down = live.keys() - running
        if routers.leader and f"{NAME}-{routers.leader - 1}" in running:
            return
        self.election = 0 if routers.leader else self.election + 1
        routers.leader = 0
        # Whoever joins has no majority of its own.
        old = [name for name in sorted(running) if int(name.rpartition("-")[2]) < 3]
        if self.election >= 2 and old:
            routers.leader = int(old[self.count % len(old)].rpartition("-")[2]) + 1
            routers.term += 1

    def _claims(self) -> None:
        for claim in self._all(PVC):
            name, status = claim["metadata"]["name"], claim["status"]
            wanted = claim["spec"]["resources"]["requests"]["storage"]
            if status["capacity"]["storage"] == wanted:
                continue
            age = self._age(f"{name} {wanted}")
            pod = self.store.objects.get((POD, ObjectKey(NAMESPACE, name.removeprefix("data-"))))
            started = pod is not None and self.ages.get(pod["metadata"]["uid"], 0) <= age - GROW_TICKS
            if age < GROW_TICKS:
                # As the resizer does: it takes back that the file system of a smaller size waits for a start.
                status = {"conditions": [{"type": "Resizing", "status": "True"}]}
            elif not self.offline or started:
                status = {"capacity": {"storage": wanted}, "conditions": []}
            else:
                status = {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}
            self.store.edit(PVC, name, {"status": status})

    def _age(self, what: str) -> int:
        self.ages[what] = self.ages.get(what, -1) + 1
        return self.ages[what]

    # -- the referee -------------------------------------------------------------------------------

    def pods(self) -> list[Object]:
        """Every pod."""
        return self._all(POD)

    def _all(self, resource: Any) -> list[Object]:
        found = [obj for (kind, _), obj in self.store.objects.items() if kind is resource]
        return sorted(found, key=lambda obj: str(obj["metadata"]["name"]))

    def _seen(self) -> dict[str, Any]:
        """The truth before a pass."""
        live = self.store.objects.get((STATEFUL_SET, KEY))
        pods = self.pods()
        revisions = {pod["metadata"]["labels"]["controller-revision-hash"] for pod in pods}
        ready = {p["metadata"]["name"] for p in pods if _condition(p) == "True"}
        return {
            "size": live["spec"]["replicas"] if live else 0,
            "image": live and live["spec"]["template"]["spec"]["containers"][0]["image"],
            "ready": ready,
            "running": {p["metadata"]["name"] for p in pods if _runs(p)},
            "voters": min(map(_members, pods), default=0),
            "whole": live is not None and len(ready) == live["spec"]["replicas"] == len(pods),
            "one_revision": len(revisions) == 1,
            "current": live is not None and revisions == {(live.get("status") or {}).get("updateRevision")},
            "growing": [c["metadata"]["name"] for c in self._all(PVC) if _grows(c)],
        }

    def _judge(self, before: dict[str, Any]) -> None:
        kinds = set()
        after = self._seen()
        patched = [key for verb, kind, key in self.store.writes if (verb, kind) == ("patch", PVC.kind)]
        deleted = [key for verb, kind, key in self.store.writes if (verb, kind) == ("delete", POD.kind)]
        if patched:
            kinds.add("volumes")
            assert before["whole"], "volumes grow while a pod is being replaced"
            assert before["one_revision"], "volumes grow in the middle of a roll"
        if deleted:
            kinds.add("roll")
            assert not before["growing"], "a pod is restarted while volumes grow"
            (key,) = deleted
            name = key.partition("/")[2]
            # A pod whose router does not run serves nobody.
            if name in before["running"]:
                assert len(before["ready"] - {name}) >= quorum(before["voters"]), "no quorum is left"
        if 0 < before["size"] < after["size"]:
            kinds.add("size")
            assert after["size"] == before["size"] + 1
            assert before["whole"], "a member is added while a pod is being replaced"
            assert before["current"], "a member is added before the roll has ended"
            assert not before["growing"], "a member is added while volumes grow"
            assert before["image"] == after["image"], "a member is added together with a new template"
        assert len(kinds) <= 1, kinds
        assert not (self.paused and kinds), f"{kinds} during a pause"
        self.kinds += kinds

    @property
    def ended(self) -> bool:
        """Everything that was asked for is there."""
        live = self.store.of(STATEFUL_SET, NAME)
        seen = self._seen()
        sizes = {claim["status"]["capacity"]["storage"] for claim in self._all(PVC)}
        return bool(
            seen["whole"]
            and seen["current"]
            and seen["size"] == self.wanted["replicas"]
            and seen["image"] == self.wanted["image"]
            and sizes == {self.wanted["storage"]["size"]}
            and live["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"]
            == self.wanted["storage"]["retentionPolicy"]["whenScaled"]
            and self.store.condition(CLUSTER, NAME, "Ready").get("status") == "True"
            and self.store.of(CLUSTER, NAME)["status"]["observedGeneration"]
            == self.store.of(CLUSTER, NAME)["metadata"]["generation"]
        )


def _condition(pod: Object) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((str(one["status"]) for one in conditions if one["type"] == "Ready"), "")


def _runs(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"


def _members(pod: Object) -> int:
    """How many members the pod was configured for."""
    return int(pod["metadata"]["annotations"]["etl.router/members"])


def _grows(claim: Object) -> bool:
    """Whether something outside the pod works on the volume."""
    status = claim["status"]
    if claim["spec"]["resources"]["requests"]["storage"] == status["capacity"]["storage"]:
        return False
    return not any(one["type"] == "FileSystemResizePending" for one in status.get("conditions") or ())
