"""NamespaceLifecycle, the admission plugin that comes before all others."""

from __future__ import annotations

from informers.apiserver.errors.refusals import forbidden, not_found
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.kinds.table import NAMESPACE
from informers.apiserver.store import Store
from informers.objects import ObjectKey


def check_namespace(store: Store, type_: ResourceType, namespace: str, name: str) -> None:
    """Refuse new objects where their namespace does not exist or is on its way out.

    :raises StatusError: 404 or 403.
    """
    if not namespace:
        return
    found = store.shelf(("", "namespaces")).get(ObjectKey("", namespace))
    if found is None:
        raise not_found(NAMESPACE, namespace)
    if found.obj["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise forbidden(type_.resource, name, why, [cause])
