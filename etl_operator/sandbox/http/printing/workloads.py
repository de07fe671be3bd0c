"""What ``kubectl get`` shows of the kinds that make pods. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from etl_operator.sandbox.http.printing.cells import (
    AGE,
    NAME,
    NONE,
    Column,
    at,
    joined,
    labels,
    meta,
    number,
    selector,
    spec,
    status,
    text,
)
from etl_operator.sandbox.http.printing.duration import age, human
from informers.apiserver.kinds.autoscalers import as_v2
from informers.objects import Object


def _containers(obj: Object, path: Sequence[str], name: str) -> str:
    found: Any = obj
    for step in (*path, "spec"):
        found = found.get(step) or {}
    return joined(one.get(name, "") for one in found.get("containers") or ())


def _template(*path: str, wide: bool = True) -> tuple[Column, Column]:
    def of(name: str) -> Callable[[Object, float], str]:
        return lambda obj, _: _containers(obj, path, name)

    return Column("Containers", of("name"), wide=wide), Column("Images", of("image"), wide=wide)


def _ready(obj: Object, _: float) -> str:
    return f"{status(obj).get('readyReplicas') or 0}/{spec(obj).get('replicas', 0)}"


def _job_status(job: Object, _: float) -> str:
    conditions = status(job).get("conditions") or ()
    held = {one["type"] for one in conditions if one.get("status") == "True"}
    for kind in ("Complete", "Failed"):
        if kind in held:
            return kind
    if meta(job).get("deletionTimestamp"):
        return "Terminating"
    kinds = ("Suspended", "FailureTarget", "SuccessCriteriaMet")
    return next((kind for kind in kinds if kind in held), "Running")


def _completions(job: Object, _: float) -> str:
    succeeded, wanted = status(job).get("succeeded") or 0, spec(job).get("completions")
    if wanted is not None:
        return f"{succeeded}/{wanted}"
    parallel = int(spec(job).get("parallelism") or 0)
    return f"{succeeded}/1 of {parallel}" if parallel > 1 else f"{succeeded}/1"


def _duration(job: Object, now: float) -> str:
    began, ended = status(job).get("startTime"), status(job).get("completionTime")
    if not began:
        return ""
    end = datetime.fromisoformat(ended).timestamp() if ended else now
    return human(end - datetime.fromisoformat(began).timestamp())


def _suspended(job: Object, _: float) -> str:
    return str(bool(spec(job).get("suspend")))


def _last_schedule(job: Object, now: float) -> str:
    last = status(job).get("lastScheduleTime")
    return age(last, now) if last else NONE


def _controller(obj: Object, _: float) -> str:
    for owner in meta(obj).get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].partition("/")[0] if "/" in owner["apiVersion"] else ""
            kind = owner["kind"].lower()
            return f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return NONE


def _scaled(obj: Object, _: float) -> str:
    target = spec(obj).get("scaleTargetRef") or {}
    return f"{target.get('kind')}/{target.get('name')}"


def _target(metric: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """One metric's value and target. Only those of the pods' resources have a name of their own."""
    source: Mapping[str, Any] = next((value for value in metric.values() if isinstance(value, dict)), {})
    target, name = source.get("target") or {}, source.get("name")
    if target.get("averageUtilization") is not None:
        now, wanted = current.get("averageUtilization"), f"{target['averageUtilization']}%"
        shown = "<unknown>" if now is None else f"{now}%"
    else:
        wanted = target.get("averageValue") or target.get("value") or "<unknown>"
        shown = current.get("averageValue") or current.get("value") or "<unknown>"
    return f"{name}: {shown}/{wanted}" if name else f"{shown}/{wanted}"


def _second_version(autoscaler: Object) -> Object:
    # Items of a list do not say their version; the second one is never without metrics.
    return autoscaler if "metrics" in spec(autoscaler) else as_v2(autoscaler)


def _targets(obj: Object, _: float) -> str:
    currents = list(status(obj).get("currentMetrics") or ())
    shown = []
    for index, metric in enumerate(spec(obj).get("metrics") or ()):
        entry = currents[index] if index < len(currents) else {}
        source: Mapping[str, Any] = next((value for value in entry.values() if isinstance(value, dict)), {})
        shown.append(_target(metric, source.get("current") or {}))
    return ", ".join(shown) or NONE


def _labels_at(*path: str) -> Callable[[Object, float], str]:
    read = at(*path, default=None)
    return lambda obj, now: labels(read(obj, now))


def _selector_at(*path: str) -> Column:
    read = at(*path, default=None)
    return Column("Selector", lambda obj, now: selector(read(obj, now)), wide=True)


_COUNTS = (
    number("Desired", "spec", "replicas"),
    number("Current", "status", "replicas"),
    number("Ready", "status", "readyReplicas"),
)
_OF_SPEC = ("spec", "template")

WORKLOADS: Mapping[tuple[str, str], Sequence[Column]] = {
    ("", "podtemplates"): (
        NAME,
        *_template("template", wide=False),
        Column("Pod Labels", _labels_at("template", "metadata", "labels")),
    ),
    ("", "replicationcontrollers"): (
        NAME,
        *_COUNTS,
        AGE,
        *_template(*_OF_SPEC),
        Column("Selector", _labels_at("spec", "selector"), wide=True),
    ),
    ("apps", "statefulsets"): (NAME, Column("Ready", _ready), AGE, *_template(*_OF_SPEC)),
    ("apps", "deployments"): (
        NAME,
        Column("Ready", _ready),
        Column("Up-to-date", at("status", "updatedReplicas", default=0)),
        Column("Available", at("status", "availableReplicas", default=0)),
        AGE,
        *_template(*_OF_SPEC),
        _selector_at("spec", "selector"),
    ),
    ("apps", "replicasets"): (
        NAME,
        *_COUNTS,
        AGE,
        *_template(*_OF_SPEC),
        _selector_at("spec", "selector"),
    ),
    ("apps", "daemonsets"): (
        NAME,
        number("Desired", "status", "desiredNumberScheduled"),
        number("Current", "status", "currentNumberScheduled"),
        number("Ready", "status", "numberReady"),
        number("Up-to-date", "status", "updatedNumberScheduled"),
        number("Available", "status", "numberAvailable"),
        Column("Node Selector", _labels_at("spec", "template", "spec", "nodeSelector")),
        AGE,
        *_template(*_OF_SPEC),
        _selector_at("spec", "selector"),
    ),
    ("apps", "controllerrevisions"): (
        NAME,
        Column("Controller", _controller),
        Column("Revision", at("revision", default=0)),
        AGE,
    ),
    ("batch", "jobs"): (
        NAME,
        Column("Status", _job_status),
        Column("Completions", _completions),
        Column("Duration", _duration),
        AGE,
        *_template(*_OF_SPEC),
        _selector_at("spec", "selector"),
    ),
    ("batch", "cronjobs"): (
        NAME,
        text("Schedule", "spec", "schedule"),
        text("Timezone", "spec", "timeZone"),
        Column("Suspend", _suspended, type="boolean"),
        Column("Active", lambda obj, _: len(status(obj).get("active") or ()), type="integer"),
        Column("Last Schedule", _last_schedule),
        AGE,
        *_template("spec", "jobTemplate", "spec", "template"),
        _selector_at("spec", "jobTemplate", "spec", "selector"),
    ),
    # Of the subresource: no kind of its own is listed under this name.
    ("autoscaling", "scales"): (
        NAME,
        number("Desired", "spec", "replicas"),
        number("Available", "status", "replicas"),
        AGE,
    ),
    ("autoscaling", "horizontalpodautoscalers"): (
        NAME,
        Column("Reference", _scaled),
        Column("Targets", lambda obj, now: _targets(_second_version(obj), now)),
        text("MinPods", "spec", "minReplicas", default="<unset>"),
        Column("MaxPods", at("spec", "maxReplicas", default=0)),
        Column("Replicas", at("status", "currentReplicas", default=0)),
        AGE,
    ),
}
"""Columns by group and plural."""
