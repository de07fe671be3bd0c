"""Whether a pod may be evicted: a disruption budget decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from informers.apiserver.errors import StatusError
from informers.apiserver.reading.selectors import label_selector_matches
from informers.objects import Object

_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
_BUSY_SECONDS = 10
_CAUSE = "DisruptionBudget"


class EvictionDecision(NamedTuple):
    """What an eviction does.

    :param budget_update: the budget with one disruption fewer, to be stored before the pod is deleted.
    :param refusal: why the pod stays.
    """

    budget_update: Object | None = None
    refusal: StatusError | None = None


def evictable(pod: Object, budgets: Iterable[Object], now: str) -> EvictionDecision:
    """Decide about one pod.

    :param budgets: those of its namespace.
    :param now: RFC 3339 text, noted in the budget.
    """
    metadata, status = pod["metadata"], pod.get("status") or {}
    if status.get("phase") in ("Pending", "Succeeded", "Failed") or metadata.get("deletionTimestamp"):
        return EvictionDecision()
    labels = metadata.get("labels")
    matching = [one for one in budgets if label_selector_matches(one["spec"].get("selector"), labels)]
    if len(matching) > 1:
        return EvictionDecision(refusal=StatusError(500, "InternalError", _SEVERAL))
    if not matching:
        return EvictionDecision()
    return _spend(pod, matching[0], now)


def _spend(pod: Object, budget: Object, now: str) -> EvictionDecision:
    status = budget.get("status") or {}
    name = budget["metadata"]["name"]
    allowed = status.get("disruptionsAllowed", 0)
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    if not _ready(pod):
        always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if always or healthy >= desired > 0:
            return EvictionDecision()
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        why = f"The disruption budget {name} is still being processed by the server."
        return EvictionDecision(refusal=_refusal(why, _BUSY_SECONDS))
    if allowed <= 0:
        why = f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        if healthy > desired:
            why = f"The disruption budget {name} does not allow evicting pods currently"
        return EvictionDecision(refusal=_refusal(why, 0))
    disrupted = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: now}
    spent = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}
    return EvictionDecision(budget_update={**budget, "status": spent})


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _refusal(why: str, retry_after: int) -> StatusError:
    details: Object = {"causes": [{"reason": _CAUSE, "message": why}]}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    return StatusError(429, "TooManyRequests", _REFUSED, details)
