"""One long conversation with an API server: the requests, in order.

``record.py`` holds it with a real server and writes the answers down; ``test_real_answers.py`` holds it with
the embedded one and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from informers.objects import Object

NAMESPACE = "core-check"
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
HOME = f"/api/v1/namespaces/{NAMESPACE}"
_MAPS = f"{HOME}/configmaps"
_PODS = f"{HOME}/pods"
_EVENTS = f"{HOME}/events"
_NEW_EVENTS = f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events"
_LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
_BUDGETS = f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"
_SETS = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets"
_COGS = f"/apis/corecheck.example.com/v1/namespaces/{NAMESPACE}/cogs"
COG = f"{DEFINITIONS}/cogs.corecheck.example.com"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request.

    :param body: texts that begin with ``$`` are replaced by what was kept under that name.
    :param keep: remember the answer's resourceVersion, uid and continue token under this name.
    :param settle: seconds to wait after the answer, for what controllers do.
    """

    title: str
    method: str
    path: str
    body: Any = None
    content_type: str = JSON
    query: Mapping[str, str] = field(default_factory=dict)
    keep: str = ""
    settle: float = 0.0


def _merge(title: str, path: str, body: Any, **query: str) -> Ask:
    return Ask(title, "PATCH", path, body, MERGE, query)


def _apply(title: str, path: str, body: Any, **query: str) -> Ask:
    return Ask(title, "PATCH", path, body, APPLY, query)


def _map(name: str = "", /, data: Any = None, **metadata: Any) -> Object:
    found: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": dict(metadata)}
    if name:
        found["metadata"]["name"] = name
    if data is not None:
        found["data"] = data
    return found


def _owner(**changes: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "y", **changes}


def _creating() -> Iterator[Ask]:
    # A namespace's own account comes a moment later, and pods need it.
    yield Ask("namespace", "POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}, settle=3)
    yield Ask("create", "POST", _MAPS, _map("a", {"x": "1"}), keep="a")
    yield Ask("name taken", "POST", _MAPS, _map("a"))
    yield Ask("no name", "POST", _MAPS, _map())
    yield Ask("no kind", "POST", _MAPS, {"metadata": {"name": "nokind"}})
    yield Ask("other kind", "POST", _MAPS, {**_map("q"), "kind": "Secret"})
    yield Ask("other version", "POST", _MAPS, {**_map("q"), "apiVersion": "v2"})
    yield Ask("a list", "POST", _MAPS, [1])
    yield Ask("other namespace", "POST", _MAPS, _map("q", namespace="other"))
    yield Ask("namespace missing", "POST", "/api/v1/namespaces/nope/configmaps", _map("q"))
    yield _apply(
        "apply, namespace missing", "/api/v1/namespaces/nope/configmaps/q", _map("q"), fieldManager="m"
    )
    yield Ask("version on create", "POST", _MAPS, _map("q", resourceVersion="12"))
    given = {"uid": "abc", "creationTimestamp": "2020-01-01T00:00:00Z", "generation": 7}
    yield Ask("server's fields sent", "POST", _MAPS, _map("given", **given))
    yield Ask("bad name", "POST", _MAPS, _map("A_b"))
    yield Ask("bad labels", "POST", _MAPS, _map("q", labels={"a b": "x", "ok": "no good!"}))
    yield Ask("owner without name", "POST", _MAPS, _map("q", ownerReferences=[_owner(name="", uid="")]))
    yield Ask("data of another type", "POST", _MAPS, _map("q", {"x": 1}))
    yield Ask("unknown, strict", "POST", _MAPS, {**_map("q"), "foo": 1}, query={"fieldValidation": "Strict"})
    yield Ask("unknown, warned", "POST", _MAPS, {**_map("q1"), "foo": 1})
    yield Ask(
        "unknown, ignored", "POST", _MAPS, {**_map("q2"), "foo": 1}, query={"fieldValidation": "Ignore"}
    )
    yield Ask("simple finalizer", "POST", _MAPS, _map("fz", finalizers=["foo"]))
    yield Ask("dry run", "POST", _MAPS, _map("dry"), query={"dryRun": "All"})
    yield Ask("nothing stored", "GET", f"{_MAPS}/dry")
    yield Ask("bad dryRun", "POST", _MAPS, _map("dry"), query={"dryRun": "Some"})
    yield Ask("bad fieldValidation", "POST", _MAPS, _map("dry"), query={"fieldValidation": "Some"})


def _reading() -> Iterator[Ask]:
    yield Ask("get", "GET", f"{_MAPS}/a")
    yield Ask("get missing", "GET", f"{_MAPS}/zz")
    yield Ask("no such resource", "GET", f"{HOME}/zz")
    yield Ask("no such method", "POST", f"{_MAPS}/a", _map("a"))
    yield Ask("no such method on collection", "PUT", _MAPS, _map("a"))
    yield Ask("create across namespaces", "POST", "/api/v1/configmaps", _map("a"))
    yield Ask("no such subresource", "GET", f"{_MAPS}/a/status")
    yield Ask("get from the future", "GET", f"{_MAPS}/a", query={"resourceVersion": "999999999"})
    yield Ask("bad version", "GET", f"{_MAPS}/a", query={"resourceVersion": "abc"})


def _updating() -> Iterator[Ask]:
    one = f"{_MAPS}/a"
    yield Ask("stale update", "PUT", one, _map("a", resourceVersion="1"))
    yield Ask("update of another uid", "PUT", one, _map("a", uid="xyz"))
    yield Ask("update of another name", "PUT", one, _map("b"))
    yield Ask("update of nothing", "PUT", f"{_MAPS}/missing", _map("missing"))
    yield Ask("update to the same", "PUT", one, _map("a", {"x": "1"}, resourceVersion="$arv"))
    yield Ask("update", "PUT", one, _map("a", {"x": "2"}))
    sent = {"creationTimestamp": "2020-01-01T00:00:00Z", "generation": 9}
    yield Ask("update of server's fields", "PUT", one, _map("a", {"x": "3"}, **sent))
    yield Ask("make immutable", "PUT", one, {**_map("a", {"x": "3"}), "immutable": True})
    yield Ask("update immutable", "PUT", one, {**_map("a", {"x": "4"}), "immutable": True})


def _patching() -> Iterator[Ask]:
    one = f"{_MAPS}/m"
    yield Ask("create to patch", "POST", _MAPS, _map("m", {"x": "1"}), keep="m")
    yield _merge("patch of nothing", f"{_MAPS}/zz", {})
    yield _merge("patch of old version", one, {"metadata": {"resourceVersion": "1"}})
    yield _merge("patch of right version", one, {"metadata": {"resourceVersion": "$mrv"}, "data": {"y": "2"}})
    yield _merge("patch of name", one, {"metadata": {"name": "other"}})
    yield _merge("patch of namespace", one, {"metadata": {"namespace": "other"}})
    yield _merge("patch of uid", one, {"metadata": {"uid": "other"}})
    yield _merge("patch to the same", one, {"data": {"y": "2"}}, fieldManager="other")
    yield _merge("forced merge", one, {"data": {"y": "2"}}, force="true")
    yield _merge("patch of unknown", one, {"zzz": "x"})
    yield Ask("json patch", "PATCH", one, [{"op": "add", "path": "/data/z", "value": "1"}], JSON_PATCH)
    yield Ask("strategic patch", "PATCH", one, {"data": {"$patch": "replace", "q": "1"}}, STRATEGIC)
    yield Ask("not a patch", "PATCH", one, {"data": {"q": "1"}}, JSON)
    yield _merge("labels", one, {"metadata": {"labels": {"a": "1"}, "annotations": {"b": "2"}}})
    yield _merge("labels gone", one, {"metadata": {"labels": None}})


def _applying() -> Iterator[Ask]:
    one = f"{_MAPS}/s"
    yield _apply("apply", one, _map("s", {"x": "1"}), fieldManager="m1")
    yield _apply("apply again", one, _map("s", {"x": "1"}), fieldManager="m1")
    yield _apply("apply against owner", one, _map("s", {"x": "2"}), fieldManager="m2")
    yield _apply("apply with force", one, _map("s", {"x": "2"}), fieldManager="m2", force="true")
    yield _apply("apply by nobody", one, _map("s", {"x": "2"}))
    yield _apply("apply of old version", one, _map("s", {"x": "2"}, resourceVersion="1"), fieldManager="m2")
    yield _apply("apply of uid, nothing there", f"{_MAPS}/s9", _map("s9", uid="abc"), fieldManager="m2")
    yield _apply(
        "apply of version, nothing there", f"{_MAPS}/s9", _map("s9", resourceVersion="1"), fieldManager="m2"
    )
    yield _apply("apply of another uid", one, _map("s", uid="abc"), fieldManager="m2")
    yield _apply("apply without kind", one, {"metadata": {"name": "s"}}, fieldManager="m2")
    yield _apply("apply of another name", one, _map("t"), fieldManager="m2")
    yield _apply("apply without name", one, _map(), fieldManager="m3")
    yield _apply("apply without name, nothing there", f"{_MAPS}/s8", _map(), fieldManager="m3")
    yield _apply(
        "apply of managedFields", one, _map("s", managedFields=[{"manager": "x"}]), fieldManager="m2"
    )
    yield _apply("apply of unknown", one, {**_map("s"), "zz": 1}, fieldManager="m2")
    yield _apply("apply of another kind", one, {**_map("s"), "kind": "Secret"}, fieldManager="m2")
    yield _apply("apply, dry run", f"{_MAPS}/sd", _map("sd"), fieldManager="m2", dryRun="All")


def _deleting() -> Iterator[Ask]:
    one, held = f"{_MAPS}/s", f"{_MAPS}/f"
    yield Ask("delete of another uid", "DELETE", one, {"preconditions": {"uid": "abc"}})
    yield Ask("delete, dry run", "DELETE", one, query={"dryRun": "All"})
    yield Ask("bad propagation", "DELETE", one, query={"propagationPolicy": "Foo"})
    both = {"propagationPolicy": "Orphan", "orphanDependents": "true"}
    yield Ask("two propagations", "DELETE", one, query=both)
    yield Ask("delete", "DELETE", one)
    yield Ask("delete again", "DELETE", one)
    yield Ask("create held", "POST", _MAPS, _map("f", finalizers=["x.io/a", "x.io/b"]))
    yield Ask("delete held", "DELETE", held)
    yield Ask("delete held again", "DELETE", held)
    added = ["x.io/a", "x.io/b", "x.io/c"]
    yield _merge("finalizer added in deletion", held, {"metadata": {"finalizers": added}})
    yield _merge("edit in deletion", held, {"data": {"a": "b"}})
    yield _merge("one finalizer removed", held, {"metadata": {"finalizers": ["x.io/b"]}})
    yield _merge("last finalizer removed", held, {"metadata": {"finalizers": None}})
    yield Ask("gone", "GET", held)
    for name in ("p0", "p1", "p2", "p3", "p4"):
        yield Ask(f"create {name}", "POST", _MAPS, _map(name, labels={"page": "y"}))
    paged = {"limit": "2", "labelSelector": "page"}
    yield Ask("first page", "GET", _MAPS, query=paged, keep="page")
    yield Ask("second page", "GET", _MAPS, query={**paged, "continue": "$pagetoken"})
    yield Ask("page of a version", "GET", _MAPS, query={"resourceVersion": "5", "continue": "$pagetoken"})
    initial = {
        "sendInitialEvents": "true",
        "resourceVersionMatch": "NotOlderThan",
        "allowWatchBookmarks": "true",
    }
    short = {"watch": "true", "timeoutSeconds": "1"}
    yield Ask("streaming list", "GET", _MAPS, query={**short, **initial, "labelSelector": "page"})
    yield Ask("delete collection", "DELETE", _MAPS, query={"labelSelector": "page"})
    yield Ask("collection deleted", "GET", _MAPS, query={"labelSelector": "page"})


def _listing() -> Iterator[Ask]:
    def listed(title: str, **query: str) -> Ask:
        return Ask(title, "GET", _MAPS, query=query)

    yield listed("match without version", resourceVersionMatch="Exact")
    yield listed("exactly any version", resourceVersionMatch="Exact", resourceVersion="0")
    yield listed("bad match", resourceVersionMatch="Foo", resourceVersion="1")
    yield listed("list of bad version", resourceVersion="abc")
    yield listed("list from the future", resourceVersion="999999999")
    yield listed("list with initial events", sendInitialEvents="true")
    yield listed("bad limit", limit="x")
    yield listed("bad field", fieldSelector="spec.x=1")
    yield listed("by name", fieldSelector="metadata.name=a")
    watch = {"watch": "true", "timeoutSeconds": "1"}
    yield listed("watch with match", resourceVersionMatch="NotOlderThan", **watch)
    yield listed("initial events without match", sendInitialEvents="true", **watch)
    exact = {"resourceVersionMatch": "Exact", "resourceVersion": "1"}
    yield listed("initial events exactly", sendInitialEvents="true", **exact, **watch)
    yield Ask("default namespace stays", "DELETE", "/api/v1/namespaces/default")


def definition(name: str = "cogs.corecheck.example.com", /, versions: Any = None, **spec: Any) -> Object:
    """The custom kind of the conversation."""
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    numbers = {"n": {"type": "integer", "default": 3, "minimum": 1}, "replicas": {"type": "integer"}}
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": numbers},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}, "scale": scale},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": "corecheck.example.com",
            "scope": "Namespaced",
            "names": {"plural": "cogs", "kind": "Cog", "shortNames": ["cg"]},
            "versions": versions or [version],
            **spec,
        },
    }


def _defining() -> Iterator[Ask]:
    bare = {"name": "v1", "served": True, "storage": True}
    loose = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}
    yield Ask("definition of another name", "POST", DEFINITIONS, definition("foo.corecheck.example.com"))
    yield Ask("definition without schema", "POST", DEFINITIONS, definition(versions=[bare]))
    yield Ask("definition of any type", "POST", DEFINITIONS, definition(versions=[{**bare, "schema": loose}]))
    yield Ask("definition of bad scope", "POST", DEFINITIONS, definition(scope="Foo"))
    yield Ask("definition without group", "POST", DEFINITIONS, definition(group=""))
    yield Ask("definition", "POST", DEFINITIONS, definition(), settle=3)
    yield Ask("definition established", "GET", COG)
    yield _merge("definition changed", COG, {"spec": {"scope": "Cluster", "group": "x.y"}})


def _cog(name: str = "", /, spec: Any = None, status: Any = None, **metadata: Any) -> Object:
    found: Object = {"apiVersion": "corecheck.example.com/v1", "kind": "Cog", "metadata": dict(metadata)}
    if name:
        found["metadata"]["name"] = name
    if spec is not None:
        found["spec"] = spec
    if status is not None:
        found["status"] = status
    return found


def _custom() -> Iterator[Ask]:
    one, status, scale = f"{_COGS}/a", f"{_COGS}/a/status", f"{_COGS}/a/scale"
    yield Ask("cog", "POST", _COGS, _cog("a", {"replicas": 2}, {"x": 1}), keep="g")
    yield Ask(
        "cog of another version", "POST", _COGS, {**_cog("b"), "apiVersion": "corecheck.example.com/v2"}
    )
    yield Ask("cog of another kind", "POST", _COGS, {**_cog("b"), "kind": "Foo"})
    yield Ask("cog of bad name", "POST", _COGS, _cog("A_b"))
    yield Ask("cog without name", "POST", _COGS, _cog())
    yield Ask("invalid cog", "POST", _COGS, _cog("b", {"n": 0}))
    yield Ask("mistyped cog", "POST", _COGS, _cog("b", {"n": "x"}))
    yield Ask(
        "unknown in cog, strict", "POST", _COGS, _cog("b", {"zz": 1}), query={"fieldValidation": "Strict"}
    )
    yield Ask("unknown in cog, warned", "POST", _COGS, _cog("w", {"zz": 1}))
    yield Ask("cog updated without version", "PUT", one, _cog("a", {"n": 5}))
    yield Ask("cog updated", "PUT", one, _cog("a", {"n": 5}, {"y": 1}, resourceVersion="$grv"), keep="g")
    yield Ask("cog updated to the same", "PUT", one, _cog("a", {"n": 5}, resourceVersion="$grv"))
    yield Ask("cog updated, nothing there", "PUT", f"{_COGS}/zz", _cog("zz", {"n": 5}, resourceVersion="1"))
    yield Ask("cog patched strategically", "PATCH", one, {"spec": {"n": 6}}, STRATEGIC)
    yield _merge("cog patched", one, {"spec": {"n": 6}, "status": {"z": 1}})
    yield _merge("cog labelled", one, {"metadata": {"labels": {"a": "b"}}})
    yield Ask("status updated without version", "PUT", status, _cog("a", None, {"q": 1}))
    more = {"spec": {"n": 9}, "metadata": {"labels": {"c": "d"}, "annotations": {"x": "y"}}}
    yield _merge("status patched", status, {"status": {"replicas": 4, "selector": "a=b"}, **more})
    yield _apply("status applied", status, _cog("a", {"n": 8}, {"phase": "x"}), fieldManager="st")
    yield _apply("status applied again", status, _cog("a", None, {"phase": "x"}), fieldManager="st")
    missing = f"{_COGS}/zz/status"
    yield _apply(
        "status applied, nothing there", missing, _cog("zz", None, {"phase": "x"}), fieldManager="st"
    )
    yield Ask("scale of nothing", "GET", scale)
    yield _merge("scaled", scale, {"spec": {"replicas": 7}})
    yield _merge("scaled below zero", scale, {"spec": {"replicas": -7}})
    yield Ask("cog as it is", "GET", one)
    yield _apply("cog applied", f"{_COGS}/s", _cog("s", {"n": 1}), fieldManager="m")
    yield _apply("cog applied against owner", one, _cog("a", {"n": 1, "replicas": 1}), fieldManager="m")
    yield _apply("unknown in applied cog", f"{_COGS}/s", _cog("s", {"n": 1, "zz": 1}), fieldManager="m")
    yield _apply("invalid applied cog", f"{_COGS}/s", _cog("s", {"n": 0}), fieldManager="m")
    yield _merge("spec dropped", f"{_COGS}/s", {"spec": None})
    yield Ask("cogs everywhere", "GET", "/apis/corecheck.example.com/v1/cogs", query={"limit": "1"})
    yield Ask("cogs by field", "GET", _COGS, query={"fieldSelector": "spec.n=1"})
    yield _merge("cog held", f"{_COGS}/s", {"metadata": {"finalizers": ["x.io/a"]}})
    yield Ask("cog deleted", "DELETE", f"{_COGS}/s")
    yield _merge("cog changed in deletion", f"{_COGS}/s", {"spec": {"n": 7}})
    yield Ask("definition deleted", "DELETE", COG, settle=3)
    yield Ask("definition waits", "GET", COG)
    yield Ask("cog created late", "POST", _COGS, _cog("late"))
    yield Ask("cog released", "PATCH", f"{_COGS}/s", {"metadata": {"finalizers": None}}, MERGE, settle=6)
    yield Ask("definition gone", "GET", COG)


def _pod(name: str) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}}
    metadata = {"name": name, "labels": {"app": "x"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def _bind(title: str, name: str, node: str) -> Ask:
    target = {"kind": "Node", "name": node}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    return Ask(title, "POST", f"{_PODS}/{name}/binding", body)


def _evict(title: str, name: str, **more: Any) -> Ask:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, **more}
    return Ask(title, "POST", f"{_PODS}/{name}/eviction", body)


def _pods() -> Iterator[Ask]:
    one, other = f"{_PODS}/p", f"{_PODS}/p3"
    yield Ask("pod", "POST", _PODS, _pod("p"))
    more = {"metadata": {"labels": {"z": "1"}, "annotations": {"a": "b"}}, "spec": {"nodeName": "q"}}
    yield _merge("pod's status", f"{one}/status", {"status": {"phase": "Running"}, **more})
    yield _merge("pod's status elsewhere", one, {"status": {"phase": "Failed"}})
    yield _bind("bind", "p", "n1")
    yield _bind("bind again", "p", "n2")
    yield Ask("pod deleted", "DELETE", one)
    yield Ask("pod deleted, longer", "DELETE", one, query={"gracePeriodSeconds": "60"})
    yield Ask("pod deleted, shorter", "DELETE", one, query={"gracePeriodSeconds": "10"})
    yield Ask("pod deleted, now", "DELETE", one, query={"gracePeriodSeconds": "0"})
    yield Ask("pod is gone", "GET", one)
    yield Ask("unbound pod", "POST", _PODS, _pod("p2"))
    yield Ask("unbound pod deleted", "DELETE", f"{_PODS}/p2")
    yield _evict("evict nothing", "p9")
    yield Ask("pod to evict", "POST", _PODS, _pod("p3"))
    yield _bind("bind to evict", "p3", "n1")
    yield _evict("evict", "p3")
    yield Ask("evicted", "GET", other)
    yield _evict("evict again", "p3")
    wrong = {"gracePeriodSeconds": 0, "preconditions": {"uid": "zz"}}
    yield Ask("finish another", "DELETE", other, wrong)
    yield Ask("finish", "DELETE", other, {"gracePeriodSeconds": 0})


def _sets() -> Iterator[Ask]:
    one, scale = f"{_SETS}/w", f"{_SETS}/w/scale"
    ports = [{"containerPort": 80}]
    container = {"name": "c", "image": "i", "resources": {"limits": {"cpu": "1000m"}}, "ports": ports}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    selector = {"matchLabels": {"a": "b"}}
    spec = {"replicas": 0, "serviceName": "x", "selector": selector, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"}, "spec": spec}
    yield _apply("set applied", one, body, fieldManager="m")
    yield _merge("set changed", one, {"spec": {"serviceName": "y"}})
    yield Ask("set's scale", "GET", scale)
    yield _merge("set scaled below zero", scale, {"spec": {"replicas": -1}})
    named = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "v"},
        "spec": {"replicas": 0},
    }
    yield Ask("scale of another name", "PUT", scale, named)
    stale = {**named, "metadata": {"name": "w", "resourceVersion": "1"}}
    yield Ask("stale scale", "PUT", scale, stale)


def _small() -> Iterator[Ask]:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    lease |= {"spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.123456Z"}}
    yield Ask("lease", "POST", _LEASES, lease, keep="l")
    yield Ask("lease without version", "PUT", f"{_LEASES}/l", lease)
    yield Ask(
        "lease with version",
        "PUT",
        f"{_LEASES}/l",
        {**lease, "metadata": {"name": "l", "resourceVersion": "$lrv"}},
    )
    yield Ask(
        "lease by update",
        "PUT",
        f"{_LEASES}/l2",
        {**lease, "metadata": {"name": "l2", "resourceVersion": "5"}},
    )
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    budget |= {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "other"}}}}
    yield Ask("budget", "POST", _BUDGETS, budget)
    yield Ask("budget without version", "PUT", f"{_BUDGETS}/b", budget)
    regarding = {"kind": "Pod", "name": "p", "namespace": NAMESPACE}
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.123456Z",
        "reportingController": "x/y",
        "reportingInstance": "z",
        "action": "Do",
        "reason": "Done",
        "regarding": regarding,
        "note": "hi",
        "type": "Normal",
    }
    yield Ask("event", "POST", _NEW_EVENTS, event)
    yield Ask("event in the core form", "GET", f"{_EVENTS}/e")
    by = {"fieldSelector": "involvedObject.name=p,source=x/y"}
    yield Ask("events by field", "GET", _EVENTS, query=by)
    series = {"series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:01.123456Z"}}
    yield Ask("event repeats", "PATCH", f"{_NEW_EVENTS}/e", series, STRATEGIC)
    yield Ask("repeated, in the core form", "GET", f"{_EVENTS}/e")


def _ending() -> Iterator[Ask]:
    yield Ask("hold the namespace", "POST", _MAPS, _map("hold", finalizers=["x.io/a"]))
    yield Ask("delete the namespace", "DELETE", HOME)
    yield Ask("create in its last days", "POST", _MAPS, _map("late"))
    yield _apply("apply in its last days", f"{_MAPS}/late", _map("late"), fieldManager="m")


def conversation() -> Iterator[Ask]:
    """Everything, in order, from a new namespace to its end."""
    for part in (
        _creating,
        _reading,
        _updating,
        _patching,
        _applying,
        _deleting,
        _listing,
        _defining,
        _custom,
        _pods,
        _sets,
        _small,
        _ending,
    ):
        yield from part()
