"""Create: POST to a collection, and every other request that makes a new object."""

from __future__ import annotations

from informers.apiserver.admission.namespaces import check_namespace
from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.errors.refusals import already_exists, forbidden, invalid
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.values.names import generated_name
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.checking import admitted
from informers.apiserver.writing.committing import committed
from informers.apiserver.writing.decoding import decoded
from informers.apiserver.writing.identity import require_identity
from informers.apiserver.writing.metadata import born, new_uid
from informers.apiserver.writing.ownership import tracked
from informers.apiserver.writing.preparing import defaulted, finished
from informers.apiserver.writing.write import Write
from informers.objects import Object, ObjectKey

_LONGEST_VERSION = 64
_NAME_ATTEMPTS = 8


def create(backend: Backend, call: Call) -> ObjectOutcome:
    """POST to a collection."""
    write = Write(backend, call)
    return create_object(write, decoded(write, require_identity(call.info, call.body)))


def create_object(write: Write, obj: Object, *, applied: bool = False) -> ObjectOutcome:
    """Make a new object of what was sent, and store it.

    :param applied: ``metadata.managedFields`` is already right.
    :raises StatusError: every refusal; 409 when the name is taken, or every generated one was.
    """
    check_namespace(write.backend.store, write.type, write.info.namespace, obj["metadata"].get("name", ""))
    if write.type.terminating:
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(write.type.resource, obj["metadata"].get("name", ""), why)
    base = obj["metadata"].get("generateName")
    if obj["metadata"].get("name") or not base:
        return _create(write, obj, applied=applied)
    for _ in range(_NAME_ATTEMPTS - 1):
        try:
            return _create(write, _named(write, obj, base), applied=applied)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    return _create(write, _named(write, obj, base), applied=applied)


def _named(write: Write, obj: Object, base: str) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "name": generated_name(base, write.backend.rng)}}


def _create(write: Write, obj: Object, *, applied: bool) -> ObjectOutcome:
    if not obj["metadata"].get("name"):
        text = "Required value: name or generateName is required"
        raise invalid(write.type.resource, "", [Cause("FieldValueRequired", text, "metadata.name")])
    metadata = born(
        obj["metadata"],
        namespace=write.info.namespace,
        uid=new_uid(write.backend.rng),
        now=write.now,
        generation=write.type.generation,
    )
    new = {key: value for key, value in obj.items() if key != "status" or not write.type.has_status}
    new["metadata"] = metadata
    new = defaulted(write, new, None, applied=applied)
    if not applied:
        new = tracked(write, new, None, obj)
    new = admitted(write, new, None)
    new = finished(write, new, None)
    if not write.options.dry_run:
        _check_version(str(obj["metadata"].get("resourceVersion") or "")[:_LONGEST_VERSION])
    if write.backend.store.shelf(write.type.storage).get(ObjectKey.of(new)) is not None:
        raise already_exists(write.type.resource, new["metadata"]["name"])
    return committed(write, new, 201)


def _check_version(version: str) -> None:
    """A new object has no version; what could be none is passed over.

    :raises StatusError: 500, without a reason, for one that some stored object could have.
    """
    # More digits than fit are no version, and Python refuses to read some thousand of them.
    version = version.lstrip("0") if version.isascii() and version.isdigit() else ""
    if version and len(version) <= 20 and int(version) < 2**64:
        raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
