"""The built-in resources the controllers read and write."""

from __future__ import annotations

from informers.objects import Resource

CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
DEFINITION = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
EVENT = Resource("", "v1", "events", "Event")
"""As people and kubelets have it; the operator's own events go to ``events.k8s.io``."""
NAMESPACE = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
POD = Resource("", "v1", "pods", "Pod")
PVC = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SECRET = Resource("", "v1", "secrets", "Secret")
"""Read by name, where a Role allows it; never listed or watched."""
SERVICE = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
DISRUPTION_BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
STORAGE_CLASS = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
