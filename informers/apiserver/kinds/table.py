"""The table of the built-in resources, one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from informers.apiserver.kinds.registry import VERBS, ResourceType, ScalePaths
from informers.apiserver.schema import Schema, compile_schema
from informers.apiserver.schema.bundle import builtin_schemas
from informers.apiserver.store import StorageKey
from informers.objects import Resource

EVENTS = ("", "events")
"""The storage both Event resources share."""

NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
BINDING = Resource("", "v1", "bindings", "Binding")
POD = Resource("", "v1", "pods", "Pod")
DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)

AUTOSCALER = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
"""The version both forms of autoscalers are stored in."""

_SUBRESOURCES: dict[StorageKey, frozenset[str]] = {
    ("", "namespaces"): frozenset({"finalize"}),
    ("", "nodes"): frozenset({"proxy"}),
    ("", "pods"): frozenset(
        {
            "attach",
            "binding",
            "ephemeralcontainers",
            "eviction",
            "exec",
            "log",
            "portforward",
            "proxy",
            "resize",
        }
    ),
    ("", "serviceaccounts"): frozenset({"token"}),
    ("", "services"): frozenset({"proxy"}),
    ("certificates.k8s.io", "certificatesigningrequests"): frozenset({"approval"}),
}


class _Line(NamedTuple):
    """``flags``: cluster-scoped, status, scale, generation, ``all`` and ``api-extensions`` categories, PUT
    creates, PUT needs a version, DELETE returns the object, DELETE of one at a time only, only read, only
    created."""

    group: str
    version: str
    plural: str
    kind: str
    short_names: str
    flags: str


_TABLE = """
|v1|bindings|Binding||posted
|v1|componentstatuses|ComponentStatus|cs|cluster read
|v1|configmaps|ConfigMap|cm|
|v1|endpoints|Endpoints|ep|creates
|v1|events|Event|ev|creates
|v1|limitranges|LimitRange|limits|creates
|v1|namespaces|Namespace|ns|cluster status single
|v1|nodes|Node|no|cluster status
|v1|persistentvolumeclaims|PersistentVolumeClaim|pvc|status returns
|v1|persistentvolumes|PersistentVolume|pv|cluster status returns
|v1|pods|Pod|po|status generation all returns
|v1|podtemplates|PodTemplate||generation returns
|v1|replicationcontrollers|ReplicationController|rc|status scale generation all returns
|v1|resourcequotas|ResourceQuota|quota|status returns
|v1|secrets|Secret||
|v1|serviceaccounts|ServiceAccount|sa|returns
|v1|services|Service|svc|status all creates returns
admissionregistration.k8s.io|v1|mutatingadmissionpolicies|MutatingAdmissionPolicy||cluster \
extends generation conditional
admissionregistration.k8s.io|v1|mutatingadmissionpolicybindings|MutatingAdmissionPolicyBinding||cluster \
extends generation conditional
admissionregistration.k8s.io|v1|mutatingwebhookconfigurations|MutatingWebhookConfiguration||cluster \
extends generation conditional
admissionregistration.k8s.io|v1|validatingadmissionpolicies|ValidatingAdmissionPolicy||cluster \
extends status generation conditional
admissionregistration.k8s.io|v1|validatingadmissionpolicybindings|ValidatingAdmissionPolicyBinding||cluster \
extends generation conditional
admissionregistration.k8s.io|v1|validatingwebhookconfigurations|ValidatingWebhookConfiguration||cluster \
extends generation conditional
apiextensions.k8s.io|v1|customresourcedefinitions|CustomResourceDefinition|crd,crds|cluster \
extends status generation conditional
apiregistration.k8s.io|v1|apiservices|APIService||cluster extends status conditional
apps|v1|controllerrevisions|ControllerRevision||
apps|v1|daemonsets|DaemonSet|ds|status generation all
apps|v1|deployments|Deployment|deploy|status scale generation all
apps|v1|replicasets|ReplicaSet|rs|status scale generation all
apps|v1|statefulsets|StatefulSet|sts|status scale generation all
autoscaling|v1|horizontalpodautoscalers|HorizontalPodAutoscaler|hpa|status generation all
autoscaling|v2|horizontalpodautoscalers|HorizontalPodAutoscaler|hpa|status generation all
batch|v1|cronjobs|CronJob|cj|status generation all
batch|v1|jobs|Job||status generation all
certificates.k8s.io|v1|certificatesigningrequests|CertificateSigningRequest|csr|cluster status
certificates.k8s.io|v1|clustertrustbundles|ClusterTrustBundle||cluster conditional
certificates.k8s.io|v1|podcertificaterequests|PodCertificateRequest||status conditional
coordination.k8s.io|v1|leases|Lease||creates conditional
discovery.k8s.io|v1|endpointslices|EndpointSlice||generation
events.k8s.io|v1|events|Event|ev|creates
flowcontrol.apiserver.k8s.io|v1|flowschemas|FlowSchema||cluster status generation
flowcontrol.apiserver.k8s.io|v1|prioritylevelconfigurations|PriorityLevelConfiguration||cluster status \
generation
networking.k8s.io|v1|ingressclasses|IngressClass||cluster generation
networking.k8s.io|v1|ingresses|Ingress|ing|status generation
networking.k8s.io|v1|networkpolicies|NetworkPolicy|netpol|generation
networking.k8s.io|v1|ipaddresses|IPAddress|ip|cluster
networking.k8s.io|v1|servicecidrs|ServiceCIDR||cluster status
node.k8s.io|v1|runtimeclasses|RuntimeClass||cluster creates conditional
policy|v1|poddisruptionbudgets|PodDisruptionBudget|pdb|status generation conditional
rbac.authorization.k8s.io|v1|clusterrolebindings|ClusterRoleBinding||cluster creates
rbac.authorization.k8s.io|v1|clusterroles|ClusterRole||cluster creates
rbac.authorization.k8s.io|v1|rolebindings|RoleBinding||creates
rbac.authorization.k8s.io|v1|roles|Role||creates
resource.k8s.io|v1|deviceclasses|DeviceClass||cluster generation returns
resource.k8s.io|v1|devicetaintrules|DeviceTaintRule||cluster status generation returns
resource.k8s.io|v1|resourceclaims|ResourceClaim||status returns
resource.k8s.io|v1|resourceclaimtemplates|ResourceClaimTemplate||returns
resource.k8s.io|v1|resourceslices|ResourceSlice||cluster generation returns
scheduling.k8s.io|v1|priorityclasses|PriorityClass|pc|cluster generation
storage.k8s.io|v1|csidrivers|CSIDriver||cluster generation returns conditional
storage.k8s.io|v1|csinodes|CSINode||cluster status returns conditional
storage.k8s.io|v1|csistoragecapacities|CSIStorageCapacity||conditional
storage.k8s.io|v1|storageclasses|StorageClass|sc|cluster returns
storage.k8s.io|v1|volumeattachments|VolumeAttachment||cluster status returns conditional
storage.k8s.io|v1|volumeattributesclasses|VolumeAttributesClass|vac|cluster returns
storagemigration.k8s.io|v1|storageversionmigrations|StorageVersionMigration||cluster status conditional
"""


def shape_of(resource: Resource) -> str:
    """The group by which the Go type, the defaults and the rules of a built-in kind are found.

    It has a version where the versions of a kind have different fields.
    """
    if resource.plural == AUTOSCALER.plural and resource.version == "v1":
        return resource.api_version
    return resource.group


_SCHEMAS: dict[tuple[str, str, str], Schema] = {}


def builtin_types() -> Mapping[tuple[str, str], Sequence[ResourceType]]:
    """The versions of every built-in resource by group and plural; schemas are compiled once per process."""
    found: dict[tuple[str, str], list[ResourceType]] = {}
    for row in _TABLE.strip().splitlines():
        line = _Line(*row.split("|"))
        found.setdefault((line.group, line.plural), []).append(_type(line))
    return found


def _type(line: _Line) -> ResourceType:
    flags = frozenset(line.flags.split())
    gvk = line.group, line.version, line.kind
    if gvk not in _SCHEMAS:
        _SCHEMAS[gvk] = compile_schema(builtin_schemas()[gvk])
    resource = Resource(line.group, line.version, line.plural, line.kind, "cluster" not in flags)
    storage: StorageKey = (line.group, line.plural)
    storage_version = None
    if storage == ("events.k8s.io", "events"):
        storage, storage_version = EVENTS, Resource("", "v1", "events", "Event")
    elif line.plural == AUTOSCALER.plural:
        storage_version = AUTOSCALER
    return ResourceType(
        resource,
        line.kind.lower(),
        short_names=tuple(name for name in line.short_names.split(",") if name),
        categories=_categories(flags),
        verbs=_verbs(flags),
        has_status="status" in flags,
        scale=ScalePaths() if "scale" in flags else None,
        schema=_SCHEMAS[gvk],
        storage=storage,
        storage_version=storage_version,
        generation="generation" in flags,
        create_on_update="creates" in flags,
        unconditional="conditional" not in flags,
        returns_deleted="returns" in flags,
        subresources=_SUBRESOURCES.get(storage, frozenset()),
    )


def _verbs(flags: frozenset[str]) -> tuple[str, ...]:
    if "read" in flags:
        return ("get", "list")
    if "posted" in flags:
        return ("create",)
    return tuple(verb for verb in VERBS if verb != "deletecollection" or "single" not in flags)


def _categories(flags: frozenset[str]) -> tuple[str, ...]:
    if "extends" in flags:
        return ("api-extensions",)
    return ("all",) if "all" in flags else ()
