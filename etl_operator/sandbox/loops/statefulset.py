"""What a StatefulSet needs next. Pure: objects in, actions and a status out.

The rules are those of the real controller: one pod per ordinal, stable names and claims; ``OrderedReady``
moves one pod at a time and waits for it, ``Parallel`` does not wait; ``RollingUpdate`` replaces from the
highest ordinal down to the partition and waits for each to be healthy; ``OnDelete`` replaces nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.kinds import POD, PVC, STATEFUL_SET
from etl_operator.sandbox.loops.owners import owner_reference
from etl_operator.sandbox.loops.revisions import LABEL, Revision
from etl_operator.sandbox.loops.workloads import count_available, next_available, wanted
from informers.objects import Object, Resource

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass(slots=True)
class Plan:
    """What to do now, in this order: adoptions, claims, their owners, pods to create and delete, status.

    :param look_again_in: seconds until time alone changes the answer, or ``None``.
    """

    adopt: list[Object] = field(default_factory=list)
    claims: list[Object] = field(default_factory=list)
    claim_owners: list[Object] = field(default_factory=list)
    create: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=dict)
    look_again_in: float | None = None


@dataclass(slots=True)
class _Facts:
    stateful_set: Object
    current: Revision
    update: Revision
    claims: Mapping[str, Object]
    replicas: list[Object | None]
    condemned: list[Object]

    @property
    def spec(self) -> Mapping[str, Any]:
        return dict(self.stateful_set["spec"])

    @property
    def ordered(self) -> bool:
        return bool(self.spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady")

    @property
    def partition(self) -> int:
        """Ordinals below it stay at the current revision."""
        strategy = self.spec.get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return 0
        return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)

    @property
    def rolling(self) -> bool:
        strategy = self.spec.get("updateStrategy") or {}
        return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")


def plan(
    stateful_set: Object,
    pods: Iterable[Object],
    claims: Iterable[Object],
    revisions: Mapping[str, Revision],
    update: Revision,
    now: float,
) -> Plan:
    """The next step for a StatefulSet.

    :param pods: the namespace's. Those it controls count, and those nobody controls that fit it, which it
        adopts; others are ignored.
    :param claims: the namespace's PersistentVolumeClaims.
    :param revisions: every known revision by name.
    :param update: the revision of the spec's template.
    :param now: seconds since the epoch.
    """
    current_name = (stateful_set.get("status") or {}).get("currentRevision") or update.name
    found = list(pods)
    adopted = [pod for pod in found if _fits(pod, stateful_set)]
    own = [pod for pod in found if p.controller_uid(pod) == stateful_set["metadata"]["uid"]] + adopted
    replicas, condemned = _by_ordinal(stateful_set, own)
    facts = _Facts(
        stateful_set=stateful_set,
        current=revisions.get(current_name, update),
        update=update,
        claims={claim["metadata"]["name"]: claim for claim in claims},
        replicas=replicas,
        condemned=condemned,
    )
    result = Plan()
    if not stateful_set["metadata"].get("deletionTimestamp"):
        result.adopt = adopted
        _adopt_claims(facts, result)
        if _fill(facts, result) and _shrink(facts, result):
            _update(facts, result)
    result.status = _status(facts, current_name, own, now)
    result.look_again_in = next_available(stateful_set, own, now)
    return result


def owner_of(stateful_set: Object) -> dict[str, Any]:
    """The owner reference pods and revisions carry."""
    return owner_reference(stateful_set, STATEFUL_SET)


def ordinal_of(pod: Object, stateful_set: Object) -> int | None:
    """A pod's ordinal in the set, or ``None`` when its name does not follow the set's."""
    prefix, _, digits = pod["metadata"]["name"].rpartition("-")
    if prefix != stateful_set["metadata"]["name"] or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits)


def _fits(pod: Object, stateful_set: Object) -> bool:
    """Whether an orphan is the set's by name and labels: a set deleted with ``--cascade=orphan`` had it."""
    return (
        p.is_orphan(pod)
        and ordinal_of(pod, stateful_set) is not None
        and p.matches(stateful_set["spec"].get("selector"), pod["metadata"].get("labels") or {})
    )


def _by_ordinal(stateful_set: Object, own: Sequence[Object]) -> tuple[list[Object | None], list[Object]]:
    spec = stateful_set["spec"]
    start = int((spec.get("ordinals") or {}).get("start") or 0)
    replicas: list[Object | None] = [None] * wanted(stateful_set)
    condemned: list[tuple[int, Object]] = []
    for pod in own:
        ordinal = ordinal_of(pod, stateful_set)
        if ordinal is None:
            continue
        if start <= ordinal < start + len(replicas):
            replicas[ordinal - start] = pod
        else:
            condemned.append((ordinal, pod))
    return replicas, [pod for _, pod in sorted(condemned, key=lambda entry: -entry[0])]


def _fill(facts: _Facts, result: Plan) -> bool:
    """Bring every ordinal to life; false when the rest has to wait for one of them."""
    start = int((facts.spec.get("ordinals") or {}).get("start") or 0)
    for index, pod in enumerate(facts.replicas):
        if pod is None and _claims_go(facts, start + index):
            # Their end brings the set back; a pod made now would wait for claims that go.
            settled = False
        elif pod is None:
            revision = facts.current if facts.rolling and index < facts.partition else facts.update
            result.claims += _missing_claims(facts, start + index)
            result.create.append(new_pod(facts.stateful_set, revision, start + index))
            settled = False
        elif p.is_finished(pod) and not p.is_terminating(pod):
            result.delete.append(pod)
            settled = False
        else:
            if p.phase(pod) == "Pending" and not p.is_terminating(pod):
                # A claim may have gone with an earlier set of the name after the pod was made.
                result.claims += _missing_claims(facts, start + index)
            settled = p.is_healthy(pod)
        if facts.ordered and not settled:
            return False
    return True


def _shrink(facts: _Facts, result: Plan) -> bool:
    """Remove pods beyond the wanted number, the highest first; false when the rest has to wait."""
    unhealthy = [pod for pod in facts.replicas if pod is not None and not p.is_healthy(pod)]
    for pod in facts.condemned:
        if p.is_terminating(pod):
            if facts.ordered:
                return False
            continue
        if facts.ordered and (unhealthy or result.create):
            return False
        result.claim_owners += _handed_to_pod(facts, pod)
        result.delete.append(pod)
        if facts.ordered:
            return False
    return True


def _update(facts: _Facts, result: Plan) -> None:
    """Replace at most one outdated pod, and none while a higher one is not healthy."""
    if not facts.rolling or result.create or result.delete:
        return
    for pod in reversed(facts.replicas[facts.partition :]):
        if pod is None or not p.is_healthy(pod):
            # An outdated pod that is broken anyway is replaced rather than waited for.
            if pod is not None and not p.is_terminating(pod) and _outdated(pod, facts):
                result.delete.append(pod)
            return
        if _outdated(pod, facts):
            result.delete.append(pod)
            return


def _outdated(pod: Object, facts: _Facts) -> bool:
    return bool((pod["metadata"].get("labels") or {}).get(LABEL) != facts.update.name)


def new_pod(stateful_set: Object, revision: Revision, ordinal: int) -> Object:
    """The pod of an ordinal, from a revision's template."""
    set_name = stateful_set["metadata"]["name"]
    name = f"{set_name}-{ordinal}"
    template_meta = revision.template.get("metadata") or {}
    meta: dict[str, Any] = {
        "name": name,
        # As the name of every pod that a controller makes, though here it is never used.
        "generateName": f"{set_name}-",
        "namespace": stateful_set["metadata"]["namespace"],
        "labels": {
            **(template_meta.get("labels") or {}),
            LABEL: revision.name,
            POD_NAME_LABEL: name,
            POD_INDEX_LABEL: str(ordinal),
        },
        "ownerReferences": [owner_of(stateful_set)],
    }
    if template_meta.get("annotations"):
        meta["annotations"] = dict(template_meta["annotations"])
    claims = [entry["metadata"]["name"] for entry in stateful_set["spec"].get("volumeClaimTemplates") or ()]
    spec = dict(revision.template["spec"])
    volumes = [volume for volume in spec.get("volumes") or () if volume["name"] not in claims]
    volumes += [
        {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in claims
    ]
    spec |= {"hostname": name, "subdomain": stateful_set["spec"].get("serviceName", ""), "volumes": volumes}
    return {"apiVersion": POD.api_version, "kind": POD.kind, "metadata": meta, "spec": spec}


def _missing_claims(facts: _Facts, ordinal: int) -> list[Object]:
    pod = f"{facts.stateful_set['metadata']['name']}-{ordinal}"
    missing = []
    for template in facts.spec.get("volumeClaimTemplates") or ():
        name = f"{template['metadata']['name']}-{pod}"
        if name not in facts.claims:
            missing.append(_new_claim(facts, template, name))
    return missing


def _claims_go(facts: _Facts, ordinal: int) -> bool:
    """Whether a claim that the ordinal's pod needs is being deleted."""
    pod = f"{facts.stateful_set['metadata']['name']}-{ordinal}"
    names = (f"{entry['metadata']['name']}-{pod}" for entry in facts.spec.get("volumeClaimTemplates") or ())
    found = (facts.claims.get(name) for name in names)
    return any(claim is not None and "deletionTimestamp" in claim["metadata"] for claim in found)


def _new_claim(facts: _Facts, template: Mapping[str, Any], name: str) -> Object:
    selected = (facts.spec.get("selector") or {}).get("matchLabels") or {}
    meta: dict[str, Any] = {
        "name": name,
        "namespace": facts.stateful_set["metadata"]["namespace"],
        "labels": {**(template["metadata"].get("labels") or {}), **selected},
    }
    if template["metadata"].get("annotations"):
        meta["annotations"] = dict(template["metadata"]["annotations"])
    if _retention(facts, "whenDeleted") == "Delete":
        meta["ownerReferences"] = [_claim_owner(facts.stateful_set, STATEFUL_SET)]
    return {
        "apiVersion": PVC.api_version,
        "kind": PVC.kind,
        "metadata": meta,
        "spec": dict(template["spec"]),
    }


def _retention(facts: _Facts, when: str) -> str:
    return str((facts.spec.get("persistentVolumeClaimRetentionPolicy") or {}).get(when, "Retain"))


def _claim_owner(owner: Object, resource: Resource) -> dict[str, Any]:
    reference = owner_reference(owner, resource)
    # A claim does not delay the deletion of its owner.
    del reference["blockOwnerDeletion"]
    return reference


def _adopt_claims(facts: _Facts, result: Plan) -> None:
    """Claims follow the retention policy as it is now, not as it was when they were made."""
    own = _claim_owner(facts.stateful_set, STATEFUL_SET)
    for pod in facts.replicas:
        for claim in _claims_of(facts, pod) if pod is not None else ():
            owners = list(claim["metadata"].get("ownerReferences") or ())
            # A pod that was to go with its claim is wanted again.
            kept = [entry for entry in owners if entry["kind"] != "Pod" and entry["uid"] != own["uid"]]
            if _retention(facts, "whenDeleted") == "Delete":
                kept.append(own)
            if kept != owners:
                result.claim_owners.append(_with_owners(claim, kept))


def _handed_to_pod(facts: _Facts, pod: Object) -> list[Object]:
    """Claims that go with a pod that is scaled away."""
    if _retention(facts, "whenScaled") != "Delete":
        return []
    owner = _claim_owner(pod, POD)
    return [_with_owners(claim, [owner]) for claim in _claims_of(facts, pod)]


def _claims_of(facts: _Facts, pod: Object) -> list[Object]:
    names = (
        f"{template['metadata']['name']}-{pod['metadata']['name']}"
        for template in facts.spec.get("volumeClaimTemplates") or ()
    )
    return [facts.claims[name] for name in names if name in facts.claims]


def _with_owners(claim: Object, owners: list[dict[str, Any]]) -> Object:
    return {**claim, "metadata": {**claim["metadata"], "ownerReferences": owners}}


def _status(facts: _Facts, current: str, own: Sequence[Object], now: float) -> dict[str, Any]:
    created = [pod for pod in own if p.phase(pod)]
    ready = [pod for pod in created if p.is_ready(pod)]
    lasting = [pod for pod in created if not p.is_terminating(pod)]
    updated = sum(not _outdated(pod, facts) for pod in lasting)
    unchanged = sum((pod["metadata"].get("labels") or {}).get(LABEL) == current for pod in lasting)
    if facts.rolling and updated == len(created) == len(ready) == wanted(facts.stateful_set):
        # The rolling update is complete: what was to come is what there is.
        current, unchanged = facts.update.name, updated
    return {
        "observedGeneration": facts.stateful_set["metadata"].get("generation", 1),
        "replicas": len(created),
        "readyReplicas": len(ready),
        "availableReplicas": count_available(facts.stateful_set, ready, now),
        "currentReplicas": unchanged,
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": facts.update.name,
        "collisionCount": 0,
    }
