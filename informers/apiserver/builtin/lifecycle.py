"""``metadata.generation``, writes to ``/status`` and graceful deletion of the built-in kinds."""

from __future__ import annotations

from collections.abc import Mapping

from informers.objects import Object, Resource

_SPEC = ("spec",)
# What moves the generation. A kind that is not here has none.
_GENERATED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): _SPEC,
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): _SPEC,
    ("apps", "StatefulSet"): _SPEC,
    ("apps", "Deployment"): _SPEC,
    ("apps", "DaemonSet"): _SPEC,
    ("apps", "ReplicaSet"): _SPEC,
    ("autoscaling", "HorizontalPodAutoscaler"): _SPEC,
    ("batch", "Job"): _SPEC,
    ("batch", "CronJob"): _SPEC,
    ("policy", "PodDisruptionBudget"): _SPEC,
    ("networking.k8s.io", "Ingress"): _SPEC,
    ("networking.k8s.io", "IngressClass"): _SPEC,
    ("networking.k8s.io", "NetworkPolicy"): _SPEC,
    ("scheduling.k8s.io", "PriorityClass"): (),
    ("discovery.k8s.io", "EndpointSlice"): ("addressType", "endpoints", "ports"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _SPEC,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): _SPEC,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): _SPEC,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): ("webhooks",),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): _SPEC,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): _SPEC,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): ("webhooks",),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): _SPEC,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): _SPEC,
    ("resource.k8s.io", "DeviceClass"): _SPEC,
    ("resource.k8s.io", "DeviceTaintRule"): _SPEC,
    ("resource.k8s.io", "ResourceSlice"): _SPEC,
    ("storage.k8s.io", "CSIDriver"): _SPEC,
}
# A slice's labels and annotations say whom it is for, and an annotation carries a deployment's revision.
_METADATA_COUNTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("annotations",),
    ("discovery.k8s.io", "EndpointSlice"): ("labels",),
}
_IDENTITY = ("name", "namespace", "uid", "creationTimestamp", "generation", "ownerReferences")


def owns_generation(resource: Resource) -> bool:
    """Whether objects of a built-in kind have ``metadata.generation``."""
    return (resource.group, resource.kind) in _GENERATED


def spec_changed(new: Object, old: Object, resource: Resource) -> bool:
    """Whether a write moves the generation."""
    kind = (resource.group, resource.kind)
    if any(new.get(field) != old.get(field) for field in _GENERATED.get(kind, ())):
        return True
    before, after = old.get("metadata") or {}, new.get("metadata") or {}
    return any(after.get(field) != before.get(field) for field in _METADATA_COUNTS.get(kind, ()))


def isolate_status(new: Object, old: Object, resource: Resource) -> Object:
    """What a write to ``/status`` leaves: the stored object with the new status.

    Most strategies take only the spec back, so labels, annotations and finalizers may change on the way;
    definitions take all of their metadata back, pods their owners.
    """
    result = {key: value for key, value in old.items() if key not in ("metadata", "status")}
    if "status" in new:
        result["status"] = new["status"]
    before, after = old.get("metadata") or {}, new.get("metadata") or {}
    if resource.kind == "CustomResourceDefinition":
        metadata = dict(before)
        if "managedFields" in after:
            metadata["managedFields"] = after["managedFields"]
    else:
        metadata = dict(after)
        for name in _IDENTITY:
            if name == "ownerReferences" and resource.kind != "Pod":
                continue
            metadata.pop(name, None)
            if name in before:
                metadata[name] = before[name]
    for name in ("apiVersion", "kind"):
        if name in new:
            result[name] = new[name]
    return {**result, "metadata": metadata}


def pod_grace_period(pod: Object, requested: int | None) -> int:
    """Seconds a deleted pod may still run; 0 when there is nothing to wait for."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    seconds = requested if requested is not None else spec.get("terminationGracePeriodSeconds", 30)
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    return max(int(seconds), 1) if seconds < 0 else int(seconds)
