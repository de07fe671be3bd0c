"""Defaults of the built-in kinds other than pods. The functions fill in drafts in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from informers.apiserver.builtin import passive_defaults
from informers.apiserver.builtin.pod_defaults import default_pod, default_template
from informers.objects import Object

Filler: TypeAlias = Callable[[Object], None]

_RBAC = "rbac.authorization.k8s.io"


def fill(draft: Object, group: str, kind: str) -> None:
    """The defaults of one kind, into an object that is nobody else's.

    :param group: as in :func:`informers.apiserver.kinds.table.shape_of`.
    """
    filler = FILLERS.get((group, kind))
    if filler is not None:
        filler(draft)


def _set(target: Object, **values: Any) -> None:
    for key, value in values.items():
        target.setdefault(key, value)


def _stateful_set(draft: Object) -> None:
    spec = draft["spec"]
    strategy = spec["updateStrategy"]
    if "type" not in strategy:
        strategy["type"] = "RollingUpdate"
        strategy.setdefault("rollingUpdate", {})
    if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
        _set(strategy["rollingUpdate"], partition=0, maxUnavailable=1)
    _set(
        spec.setdefault("persistentVolumeClaimRetentionPolicy", {}), whenDeleted="Retain", whenScaled="Retain"
    )
    _set(spec, podManagementPolicy="OrderedReady", replicas=1, revisionHistoryLimit=10)
    default_template(spec["template"])
    for claim in spec.get("volumeClaimTemplates") or ():
        _set(claim, apiVersion="v1", kind="PersistentVolumeClaim")
        _claim(claim)


def _deployment(draft: Object) -> None:
    spec = draft["spec"]
    strategy = spec["strategy"]
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    default_template(spec["template"])


def _daemon_set(draft: Object) -> None:
    spec = draft["spec"]
    strategy = spec["updateStrategy"]
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        _set(strategy.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)
    spec.setdefault("revisionHistoryLimit", 10)
    default_template(spec["template"])


def _replica_set(draft: Object) -> None:
    draft["spec"].setdefault("replicas", 1)
    default_template(draft["spec"]["template"])


def _replication_controller(draft: Object) -> None:
    spec = draft["spec"]
    spec.setdefault("replicas", 1)
    template = spec.get("template")
    if not template:
        return
    default_template(template)
    labels = (template.get("metadata") or {}).get("labels")
    if labels:
        spec.setdefault("selector", dict(labels))
        draft["metadata"].setdefault("labels", dict(labels))


def _job(draft: Object) -> None:
    _job_spec(draft["spec"])
    labels = draft["spec"]["template"]["metadata"].get("labels")
    if labels:
        draft["metadata"].setdefault("labels", dict(labels))


def _job_spec(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 2**31 - 1 if "backoffLimitPerIndex" in spec else 6)
    replacement = "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed"
    _set(spec, completionMode="NonIndexed", suspend=False, podReplacementPolicy=replacement)
    spec.setdefault("manualSelector", False)
    default_template(spec["template"])


def _cron_job(draft: Object) -> None:
    spec = draft["spec"]
    _set(spec, concurrencyPolicy="Allow", suspend=False)
    _set(spec, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    # The job's own defaults are applied when the job is made; the template's pods get theirs now.
    default_template(spec["jobTemplate"]["spec"]["template"])


def _service(draft: Object) -> None:
    spec = draft["spec"]
    _set(spec, sessionAffinity="None", type="ClusterIP")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        affinity = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        affinity.setdefault("timeoutSeconds", 10800)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    outside = spec["type"] in ("NodePort", "LoadBalancer") or spec.get("externalIPs")
    if outside:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in (draft["status"].get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _secret(draft: Object) -> None:
    draft.setdefault("type", "Opaque")


def _claim(draft: Object) -> None:
    draft["spec"].setdefault("volumeMode", "Filesystem")
    draft["status"].setdefault("phase", "Pending")


def _volume(draft: Object) -> None:
    _set(draft["spec"], persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    draft["status"].setdefault("phase", "Pending")


def _storage_class(draft: Object) -> None:
    _set(draft, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def _event(draft: Object) -> None:
    _set(draft, reportingComponent="", reportingInstance="")


def _endpoints(draft: Object) -> None:
    for subset in draft.get("subsets") or ():
        _ports(subset.get("ports") or ())


def _ports(ports: Iterable[Object]) -> None:
    for port in ports:
        port.setdefault("protocol", "TCP")


def _endpoint_slice(draft: Object) -> None:
    for port in draft.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _namespace(draft: Object) -> None:
    draft["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = draft["metadata"]["name"]
    draft["status"].setdefault("phase", "Active")


def _node(draft: Object) -> None:
    status = draft["status"]
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


def _binding(draft: Object) -> None:
    draft["roleRef"].setdefault("apiGroup", _RBAC)
    for subject in draft.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", _RBAC)


def _network_policy(draft: Object) -> None:
    spec = draft["spec"]
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        _ports(rule.get("ports") or ())


def _ingress_class(draft: Object) -> None:
    if "parameters" in draft["spec"]:
        draft["spec"]["parameters"].setdefault("scope", "Cluster")


def _priority_class(draft: Object) -> None:
    draft.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _autoscaler(draft: Object) -> None:
    spec = draft["spec"]
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = [
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]
        down = [{"type": "Percent", "value": 100, "periodSeconds": 15}]
        scale_up = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": up}
        behavior["scaleUp"] = scale_up | behavior.get("scaleUp", {})
        behavior["scaleDown"] = {"selectPolicy": "Max", "policies": down} | behavior.get("scaleDown", {})


def _custom_resource_definition(draft: Object) -> None:
    names = draft["spec"]["names"]
    if names.get("kind"):
        _set(names, singular=names["kind"].lower(), listKind=names["kind"] + "List")
    draft["spec"].setdefault("conversion", {"strategy": "None"})


FILLERS: Mapping[tuple[str, str], Filler] = {
    **passive_defaults.FILLERS,
    ("", "Pod"): default_pod,
    ("", "Service"): _service,
    ("", "Secret"): _secret,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("", "Endpoints"): _endpoints,
    ("", "Event"): _event,
    ("", "Namespace"): _namespace,
    ("", "Node"): _node,
    ("", "PodTemplate"): lambda draft: default_template(draft["template"]),
    ("", "ReplicationController"): _replication_controller,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    (_RBAC, "RoleBinding"): _binding,
    (_RBAC, "ClusterRoleBinding"): _binding,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("networking.k8s.io", "IngressClass"): _ingress_class,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_resource_definition,
}
"""How each kind is filled in, by group and kind."""
