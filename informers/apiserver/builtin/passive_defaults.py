"""Defaults of the kinds that no controller of the sandbox acts on: policies, devices, drivers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from informers.apiserver.kinds import autoscalers
from informers.objects import Object

_Filler: TypeAlias = Callable[[Object], None]

_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_RESOURCE = "resource.k8s.io"
_STORAGE = "storage.k8s.io"
_HTTPS = 443


def _set(target: Object, **values: Any) -> None:
    for key, value in values.items():
        target.setdefault(key, value)


def _scopes(rules: Any) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


def _webhooks(draft: Object) -> None:
    for hook in draft.get("webhooks") or ():
        _set(hook, failurePolicy="Fail", matchPolicy="Equivalent", timeoutSeconds=10)
        _set(hook, namespaceSelector={}, objectSelector={})
        _scopes(hook.get("rules"))
        service = (hook.get("clientConfig") or {}).get("service")
        if service:
            service.setdefault("port", _HTTPS)
        if draft["kind"] == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")


def _matched(match: Object | None) -> None:
    if match is None:
        return
    _set(match, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
    _scopes(match.get("resourceRules"))
    _scopes(match.get("excludeResourceRules"))


def _policy(draft: Object) -> None:
    draft["spec"].setdefault("failurePolicy", "Fail")
    _matched(draft["spec"].get("matchConstraints"))


def _policy_binding(draft: Object) -> None:
    _matched(draft["spec"].get("matchResources"))


def _api_service(draft: Object) -> None:
    service = draft["spec"].get("service")
    if service:
        service.setdefault("port", _HTTPS)


def _flow_schema(draft: Object) -> None:
    draft["spec"].setdefault("matchingPrecedence", 1000)


def _priority_level(draft: Object) -> None:
    spec = draft["spec"]
    if "exempt" in spec:
        _set(spec["exempt"], nominalConcurrencyShares=0, lendablePercent=0)
    limited = spec.get("limited")
    if limited is not None:
        _set(limited, nominalConcurrencyShares=30, lendablePercent=0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            _set(queuing, handSize=8, queues=64, queueLengthLimit=50)


def _claim(draft: Object) -> None:
    _devices(draft["spec"])


def _claim_template(draft: Object) -> None:
    _devices(draft["spec"]["spec"])


def _devices(spec: Object) -> None:
    for request in spec["devices"].get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if one is not None:
                one.setdefault("allocationMode", "ExactCount")
                if one["allocationMode"] == "ExactCount":
                    one.setdefault("count", 1)


def _driver(draft: Object) -> None:
    spec = draft["spec"]
    _set(spec, attachRequired=True, podInfoOnMount=False, storageCapacity=False, requiresRepublish=False)
    _set(spec, fsGroupPolicy="ReadWriteOnceWithFSType", seLinuxMount=False)
    spec.setdefault("preventPodSchedulingIfMissing", False)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _migration(draft: Object) -> None:
    _set(draft["spec"]["resource"], group="", resource="")


def _autoscaler_v1(draft: Object) -> None:
    draft["spec"].setdefault("minReplicas", 1)
    if not autoscalers.other_metrics(draft):
        draft["spec"].setdefault("targetCPUUtilizationPercentage", autoscalers.USAGE)


def with_nulls(new: Object) -> Object:
    """An object with nulls for the lists below its spec that are written even when nothing is in them."""
    spec = new.get("spec") or {}
    if new["kind"] == "ResourceClaim" and "requests" not in spec.get("devices", {}):
        return {**new, "spec": {**spec, "devices": {**spec.get("devices", {}), "requests": None}}}
    if new["kind"] == "CSINode":
        drivers = [{"topologyKeys": None, **one} for one in spec.get("drivers") or ()]
        return {**new, "spec": {**spec, "drivers": drivers or None}}
    return new


FILLERS: Mapping[tuple[str, str], _Filler] = {
    (_ADMISSION, "MutatingAdmissionPolicy"): _policy,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _policy_binding,
    (_ADMISSION, "MutatingWebhookConfiguration"): _webhooks,
    (_ADMISSION, "ValidatingAdmissionPolicy"): _policy,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _policy_binding,
    (_ADMISSION, "ValidatingWebhookConfiguration"): _webhooks,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _autoscaler_v1,
    (_FLOW, "FlowSchema"): _flow_schema,
    (_FLOW, "PriorityLevelConfiguration"): _priority_level,
    (_RESOURCE, "ResourceClaim"): _claim,
    (_RESOURCE, "ResourceClaimTemplate"): _claim_template,
    (_STORAGE, "CSIDriver"): _driver,
    ("storagemigration.k8s.io", "StorageVersionMigration"): _migration,
}
"""How each kind is filled in, by group and kind."""
