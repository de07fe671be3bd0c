"""What a Deployment needs next. Pure: objects in, writes out.

The rules are those of the real controller (``pkg/controller/deployment``): one ReplicaSet for each pod
template, the one of the current template grows while the others shrink, never more pods than
``maxSurge`` allows and never fewer available ones than ``maxUnavailable`` demands. The status is in
:mod:`~etl_operator.sandbox.loops.rollout`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.kinds import DEPLOYMENT, REPLICA_SET
from etl_operator.sandbox.loops.owners import owner_reference
from etl_operator.sandbox.loops.revisions import fingerprint
from etl_operator.sandbox.loops.workloads import wanted
from informers.objects import Object

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_OWN = (REVISION, HISTORY, DESIRED, MAXIMUM, "kubectl.kubernetes.io/last-applied-configuration")
"""Annotations that are not copied from a Deployment to its ReplicaSets."""
_UNLIMITED = 2**31 - 1


@dataclass(slots=True)
class Plan:
    """What to do now, in this order.

    :param create: the ReplicaSet of a template that has none yet.
    :param annotate: merge patches of ReplicaSets' annotations and ``minReadySeconds``.
    :param scale: the wanted ``spec.replicas`` of a ReplicaSet.
    :param delete: ReplicaSets beyond the history limit.
    :param revision: for the Deployment's annotation; "" while no ReplicaSet has the current template.
    :param newest: the current template's ReplicaSet, as it was before this step; ``None`` without one.
    :param own: all ReplicaSets that are the Deployment's, as they were.
    """

    adopt: list[Object] = field(default_factory=list)
    release: list[Object] = field(default_factory=list)
    create: Object | None = None
    annotate: list[tuple[Object, dict[str, Any]]] = field(default_factory=list)
    scale: list[tuple[Object, int]] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    revision: str = ""
    newest: Object | None = None
    own: list[Object] = field(default_factory=list)


def plan_rollout(deployment: Object, replica_sets: Iterable[Object], pods: Iterable[Object]) -> Plan:
    """The next step for a Deployment.

    :param replica_sets: the namespace's.
    :param pods: the namespace's; only ``Recreate`` looks at them.
    """
    result = Plan()
    _claim(deployment, replica_sets, result)
    current = deployment["spec"]["template"]
    matching = sorted((one for one in result.own if _same_template(one, current)), key=_age)
    result.newest = matching[0] if matching else None
    old = [one for one in result.own if one is not result.newest]
    if p.is_terminating(deployment):
        return result
    recreate = _strategy(deployment) == "Recreate"
    if deployment["spec"].get("paused") or (not recreate and _was_scaled(deployment, result.own)):
        _number(deployment, old, result)
        _scale(deployment, old, result)
    elif recreate:
        _recreate(deployment, old, pods, result)
    else:
        _roll(deployment, old, result)
    if not result.create and not result.scale:
        result.delete = _surplus(deployment, old, result)
    return result


def bounds(deployment: Object) -> tuple[int, int]:
    """``maxSurge`` and ``maxUnavailable`` as numbers of pods; both 0 becomes one pod unavailable.

    ``Recreate`` has neither: its availability is that of all pods.
    """
    if _strategy(deployment) == "Recreate":
        return 0, 0
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = wanted(deployment)
    surge = _share(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, replicas)


def revision_of(obj: Object) -> int:
    """The number in an object's revision annotation; 0 where it has none."""
    text = str((obj["metadata"].get("annotations") or {}).get(REVISION, "0"))
    return int(text) if text.isdecimal() else 0


def new_replica_set(deployment: Object, salt: str = "") -> Object:
    """The ReplicaSet of the current template, with no replicas yet.

    :param salt: makes another name, where the first one is taken by somebody else's object.
    """
    spec, meta = deployment["spec"], deployment["metadata"]
    code = fingerprint(_plain(spec["template"]), salt)
    selector = spec["selector"]
    labels = {**((spec["template"].get("metadata") or {}).get("labels") or {}), HASH_LABEL: code}
    template = {
        **spec["template"],
        "metadata": {**(spec["template"].get("metadata") or {}), "labels": labels},
    }
    return {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.kind,
        "metadata": {
            "name": f"{meta['name']}-{code}",
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": _copied(deployment),
            "ownerReferences": [owner_reference(deployment, DEPLOYMENT)],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": int(spec.get("minReadySeconds") or 0),
            "selector": {
                **selector,
                "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: code},
            },
            "template": template,
        },
    }


def _claim(deployment: Object, replica_sets: Iterable[Object], result: Plan) -> None:
    uid, selector = deployment["metadata"]["uid"], deployment["spec"].get("selector")
    deleting = p.is_terminating(deployment)
    for one in replica_sets:
        selected = p.matches(selector, one["metadata"].get("labels") or {})
        if p.controller_uid(one) == uid:
            if selected or deleting:
                result.own.append(one)
            else:
                result.release.append(one)
        elif selected and not deleting and p.is_orphan(one):
            result.adopt.append(one)
            result.own.append(one)


def _plain(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template without what the loop itself adds to it."""
    meta = {key: value for key, value in (template.get("metadata") or {}).items() if value is not None}
    labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH_LABEL}
    return {**template, "metadata": {**meta, "labels": labels}}


def _same_template(replica_set: Object, template: Mapping[str, Any]) -> bool:
    return _plain(replica_set["spec"]["template"]) == _plain(template)


def _age(obj: Object) -> tuple[str, str]:
    """Older first."""
    return str(obj["metadata"].get("creationTimestamp") or ""), str(obj["metadata"]["name"])


def _strategy(deployment: Object) -> str:
    return str((deployment["spec"].get("strategy") or {}).get("type") or "RollingUpdate")


def _share(value: int | str, total: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%")) * total / 100
    return math.ceil(exact) if up else math.floor(exact)


def _available(replica_set: Object) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def _was_scaled(deployment: Object, own: Sequence[Object]) -> bool:
    """Whether ``spec.replicas`` has changed since the ReplicaSets were last looked at."""
    for one in own:
        text = (one["metadata"].get("annotations") or {}).get(DESIRED)
        if wanted(one) > 0 and text is not None and text != str(wanted(deployment)):
            return True
    return False


def _maximum(deployment: Object) -> int:
    return wanted(deployment) + bounds(deployment)[0]


def _copied(deployment: Object) -> dict[str, str]:
    annotations = deployment["metadata"].get("annotations") or {}
    return {key: value for key, value in annotations.items() if key not in _OWN}


def _sizes(deployment: Object) -> dict[str, str]:
    return {DESIRED: str(wanted(deployment)), MAXIMUM: str(_maximum(deployment))}


def _number(deployment: Object, old: Sequence[Object], result: Plan) -> None:
    """Give the current template's ReplicaSet, if there is one, the highest revision number."""
    newest = result.newest
    if newest is None:
        return
    annotations = dict(newest["metadata"].get("annotations") or {})
    fresh = {**annotations, **_copied(deployment)}
    before, revision = revision_of(newest), 1 + max((revision_of(one) for one in old), default=0)
    if before < revision:
        fresh[REVISION] = str(revision)
        if before:
            history = [one for one in annotations.get(HISTORY, "").split(",") if one]
            fresh[HISTORY] = ",".join([*history, str(before)])
    patch: dict[str, Any] = {}
    if fresh != annotations:
        patch["metadata"] = {"annotations": fresh}
    pause = int(deployment["spec"].get("minReadySeconds") or 0)
    if int(newest["spec"].get("minReadySeconds") or 0) != pause:
        patch["spec"] = {"minReadySeconds": pause}
    if patch:
        result.annotate.append((newest, patch))
    result.revision = fresh.get(REVISION, "")


def _make(deployment: Object, old: Sequence[Object], result: Plan) -> None:
    """Have a ReplicaSet of the current template."""
    if result.newest is not None:
        _number(deployment, old, result)
        return
    collisions = (deployment.get("status") or {}).get("collisionCount")
    made = new_replica_set(deployment, str(collisions or ""))
    result.revision = str(1 + max((revision_of(one) for one in old), default=0))
    made["metadata"]["annotations"] |= {**_sizes(deployment), REVISION: result.revision}
    made["spec"]["replicas"] = _new_size(deployment, 0, old)
    result.create = made


def _new_size(deployment: Object, now: int, old: Sequence[Object]) -> int:
    """Replicas the current template's ReplicaSet may have in this step."""
    if _strategy(deployment) == "Recreate":
        return wanted(deployment)
    total = now + sum(wanted(one) for one in old)
    if total >= _maximum(deployment):
        return now
    return now + min(_maximum(deployment) - total, wanted(deployment) - now)


def _resize(deployment: Object, replica_set: Object, size: int, result: Plan) -> bool:
    """Set a ReplicaSet's size, and note for which size of the Deployment that was."""
    annotations = replica_set["metadata"].get("annotations") or {}
    sizes = _sizes(deployment)
    if any(annotations.get(key) != value for key, value in sizes.items()):
        result.annotate.append((replica_set, {"metadata": {"annotations": sizes}}))
    if wanted(replica_set) == size:
        return False
    result.scale.append((replica_set, size))
    return True


def _grow_new(deployment: Object, old: Sequence[Object], result: Plan) -> bool:
    newest = result.newest
    if newest is None:
        return True
    if wanted(newest) > wanted(deployment):
        return _resize(deployment, newest, wanted(deployment), result)
    return _resize(deployment, newest, _new_size(deployment, wanted(newest), old), result)


def _recreate(deployment: Object, old: Sequence[Object], pods: Iterable[Object], result: Plan) -> None:
    """First no pod of an older template, then those of the current one."""
    for one in old:
        if wanted(one) > 0:
            _resize(deployment, one, 0, result)
    if result.scale:
        return
    uids = {one["metadata"]["uid"] for one in old}
    # Also those that are terminating: two of them at once is what Recreate is to prevent.
    if any(p.controller_uid(pod) in uids and not p.is_finished(pod) for pod in pods):
        return
    _make(deployment, old, result)
    _grow_new(deployment, old, result)


def _roll(deployment: Object, old: Sequence[Object], result: Plan) -> None:
    _make(deployment, old, result)
    if _grow_new(deployment, old, result):
        return
    active = sorted((one for one in old if wanted(one) > 0), key=_age)
    newest = result.newest
    if newest is None or not active:
        return
    _, unavailable = bounds(deployment)
    minimum = wanted(deployment) - unavailable
    total = wanted(newest) + sum(wanted(one) for one in active)
    room = total - minimum - (wanted(newest) - _available(newest))
    if room <= 0:
        return
    sizes = {one["metadata"]["name"]: wanted(one) for one in active}
    # Pods that do not work anyway can go without loss.
    for one in active:
        name = one["metadata"]["name"]
        broken = max(0, min(room, sizes[name] - _available(one)))
        sizes[name] -= broken
        room -= broken
    spare = sum(_available(one) for one in (newest, *active)) - minimum
    for one in active:
        name = one["metadata"]["name"]
        fewer = max(0, min(spare, sizes[name]))
        sizes[name] -= fewer
        spare -= fewer
    for one in active:
        _resize(deployment, one, sizes[one["metadata"]["name"]], result)


def _scale(deployment: Object, old: Sequence[Object], result: Plan) -> None:
    """Follow a change of ``spec.replicas`` without going on with the rollout."""
    own = [*([result.newest] if result.newest is not None else []), *old]
    active = [one for one in own if wanted(one) > 0]
    only = active[0] if len(active) == 1 else None
    if not active:
        only = result.newest or max(old, key=_age, default=None)
    if only is not None:
        _resize(deployment, only, wanted(deployment), result)
    elif result.newest is not None and _is_saturated(deployment, result.newest):
        for one in active:
            if one is not result.newest:
                _resize(deployment, one, 0, result)
    elif active and _strategy(deployment) == "RollingUpdate":
        _spread(deployment, active, result)


def _is_saturated(deployment: Object, newest: Object) -> bool:
    size = wanted(deployment)
    desired = (newest["metadata"].get("annotations") or {}).get(DESIRED)
    return wanted(newest) == size == _available(newest) and desired == str(size)


def _spread(deployment: Object, active: list[Object], result: Plan) -> None:
    """Share a change among several ReplicaSets in proportion to their size; the rest goes to the largest."""
    allowed = _maximum(deployment) if wanted(deployment) > 0 else 0
    change = allowed - sum(wanted(one) for one in active)
    ranked = sorted(active, key=_age, reverse=change > 0)
    ranked.sort(key=wanted, reverse=True)
    sizes, left = {}, change
    for one in ranked:
        part = _part(deployment, one)
        part = min(part, left) if change > 0 else max(part, left)
        # A share against the change's direction is none.
        part = max(part, 0) if change > 0 else min(part, 0)
        sizes[one["metadata"]["name"]] = wanted(one) + part
        left -= part
    first = ranked[0]["metadata"]["name"]
    sizes[first] = max(0, sizes[first] + left)
    for one in ranked:
        _resize(deployment, one, sizes[one["metadata"]["name"]], result)


def _part(deployment: Object, replica_set: Object) -> int:
    if wanted(deployment) == 0:
        return -wanted(replica_set)
    text = str((replica_set["metadata"].get("annotations") or {}).get(MAXIMUM, ""))
    before = (
        int(text)
        if text.isdecimal() and int(text)
        else int((deployment.get("status") or {}).get("replicas") or 0)
    )
    if not before:
        return 0
    return round(wanted(replica_set) * _maximum(deployment) / before) - wanted(replica_set)


def _surplus(deployment: Object, old: Sequence[Object], result: Plan) -> list[Object]:
    """The oldest unused ReplicaSets beyond ``revisionHistoryLimit``, once the rollout is complete."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    newest, size = result.newest, wanted(deployment)
    if limit is None or limit == _UNLIMITED or newest is None:
        return []
    if _available(newest) != size or wanted(newest) != size or any(wanted(one) for one in old):
        return []
    idle = [one for one in old if _is_idle(one)]
    return sorted(idle, key=lambda one: (revision_of(one), _age(one)))[: max(0, len(idle) - int(limit))]


def _is_idle(replica_set: Object) -> bool:
    status, meta = replica_set.get("status") or {}, replica_set["metadata"]
    return (
        not status.get("replicas")
        and not wanted(replica_set)
        and int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
        and not p.is_terminating(replica_set)
    )
