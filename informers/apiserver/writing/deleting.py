"""DELETE of one object or of a collection: at once, after a grace period, or when no finalizer is left."""

from __future__ import annotations

from datetime import UTC, datetime

from informers.apiserver.builtin.lifecycle import pod_grace_period
from informers.apiserver.errors.refusals import (
    bad_option,
    forbidden,
    not_found,
    not_the_one_to_delete,
    still_readable,
)
from informers.apiserver.kinds import definitions
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.kinds.table import DEFINITION, NAMESPACE, POD
from informers.apiserver.reading.listing import list_objects
from informers.apiserver.reading.selection import listed, selection, shown
from informers.apiserver.requests.calls import Call, ListOutcome, ObjectOutcome, success
from informers.apiserver.requests.parameters import UNSAFE, DeleteOptions, delete_options, list_options
from informers.apiserver.store import Stored
from informers.apiserver.writing.backend import Backend
from informers.objects import Object, ObjectKey

FOREGROUND = "foregroundDeletion"
"""The finalizer of an object that waits for its dependents."""

ORPHAN = "orphan"
"""The finalizer of an object whose dependents are to be set free."""

_KEPT_NAMESPACES = frozenset({"default", "kube-public", "kube-system"})


def delete(backend: Backend, call: Call) -> ObjectOutcome:
    """DELETE of one object."""
    info = call.info
    key = ObjectKey(info.namespace, info.name)
    return delete_object(backend, info.type, key, delete_options(info.query, call.body))


def delete_many(backend: Backend, call: Call) -> ListOutcome:
    """DELETE of a collection: whatever its selectors match. Answers with what was there."""
    info = call.info
    options = delete_options(info.query, call.body)
    if options.unsafe:
        why = "Invalid value: true: is not allowed with DELETECOLLECTION, try again after removing the option"
        raise bad_option("DeleteOptions", UNSAFE, "FieldValueInvalid", why)
    wanted = list_options(info.query, watch=False)
    chosen = selection(info.type, info.namespace, wanted.labels, wanted.fields)
    page = list_objects(backend.store, chosen, wanted)
    for stored in page.items:
        delete_object(backend, info.type, stored.key, options)
    return ListOutcome(listed(info.type, page.items), page.metadata)


def delete_object(
    backend: Backend, type_: ResourceType, key: ObjectKey, options: DeleteOptions
) -> ObjectOutcome:
    """Delete one object, or begin to.

    :raises StatusError: 404; 409 for a precondition that does not hold; 403 for a namespace that must stay.
    """
    live = backend.store.shelf(type_.storage).get(key)
    if live is None:
        raise not_found(type_.resource, key.name)
    if options.unsafe:
        raise still_readable(type_.resource, key)
    _check_preconditions(type_, live, options)
    if type_.resource == NAMESPACE and key.name in _KEPT_NAMESPACES:
        raise forbidden(NAMESPACE, key.name, "this namespace may not be deleted")
    marked = _marked(backend, type_, live.obj, options)
    if may_go(marked):
        # Only what is deleted gracefully shows the end of its grace.
        last = Stored(marked, live.revision, key) if type_.resource == POD else live
        return _removed(backend, type_, last, options)
    if marked == live.obj or options.dry_run:
        return _shown(type_, Stored(marked, live.revision, key), dry_run=options.dry_run)
    return _shown(type_, backend.put(type_, marked), dry_run=False)


def may_go(obj: Object) -> bool:
    """Whether an object is being deleted and nothing holds it any more."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if obj["kind"] == "Namespace" and (obj.get("spec") or {}).get("finalizers"):
        return False
    return not metadata.get("deletionGracePeriodSeconds")


def _check_preconditions(type_: ResourceType, live: Stored, options: DeleteOptions) -> None:
    metadata, name = live.obj["metadata"], live.key.name
    if options.uid is not None and options.uid != metadata["uid"]:
        raise not_the_one_to_delete(type_.resource, name, "UID", options.uid, metadata["uid"])
    version = options.resource_version
    if version is not None and version != metadata["resourceVersion"]:
        raise not_the_one_to_delete(
            type_.resource, name, "ResourceVersion", version, metadata["resourceVersion"]
        )


def _marked(backend: Backend, type_: ResourceType, obj: Object, options: DeleteOptions) -> Object:
    """The object as deletion leaves it while something still holds it."""
    metadata = dict(obj["metadata"])
    finalizers = _finalizers(type_, metadata, options)
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers
    grace = pod_grace_period(obj, options.grace_period) if type_.resource == POD else 0
    if not metadata.get("deletionTimestamp"):
        metadata |= _deadline(backend, grace)
        if type_.resource in (DEFINITION, NAMESPACE):
            # Their deletion is begun by the server's own hand, which knows neither.
            del metadata["deletionGracePeriodSeconds"]
        elif metadata.get("generation"):
            metadata["generation"] += 1
    elif grace < (metadata.get("deletionGracePeriodSeconds") or 0):
        # Grace can be cut short, never prolonged.
        metadata |= _deadline(backend, grace)
    marked = {**obj, "metadata": metadata}
    if type_.resource == NAMESPACE:
        return {**marked, "status": {**marked.get("status", {}), "phase": "Terminating"}}
    return definitions.terminating(marked, backend.now()) if type_.resource == DEFINITION else marked


def _deadline(backend: Backend, grace: int) -> Object:
    moment = datetime.fromtimestamp(backend.clock.time() + grace, tz=UTC)
    return {
        "deletionTimestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "deletionGracePeriodSeconds": grace,
    }


def _finalizers(type_: ResourceType, metadata: Object, options: DeleteOptions) -> list[str]:
    present = list(metadata.get("finalizers") or ())
    policy = options.propagation
    if policy is None:
        if ORPHAN in present:
            policy = "Orphan"
        elif FOREGROUND in present:
            policy = "Foreground"
        elif type_.storage == ("batch", "jobs"):
            # The one kind whose dependents have always been orphaned unless someone says otherwise.
            policy = "Orphan"
    wanted = {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(policy or "")
    if metadata.get("deletionTimestamp") and not present:
        # Only its grace period holds it: too late to ask that its dependents be waited for.
        wanted = None
    kept = [name for name in present if name not in (ORPHAN, FOREGROUND) or name == wanted]
    return [*kept, wanted] if wanted and wanted not in kept else kept


def _removed(backend: Backend, type_: ResourceType, gone: Stored, options: DeleteOptions) -> ObjectOutcome:
    if not options.dry_run:
        backend.remove(type_, gone.key)
    if type_.returns_deleted:
        return _shown(type_, gone, dry_run=True)
    resource = type_.resource
    details: Object = {"name": gone.key.name}
    if resource.group:
        details["group"] = resource.group
    return success({**details, "kind": resource.plural, "uid": gone.obj["metadata"]["uid"]})


def _shown(type_: ResourceType, stored: Stored, *, dry_run: bool) -> ObjectOutcome:
    answer = shown(type_, stored)
    return ObjectOutcome(200, answer.obj, None if dry_run else answer)
