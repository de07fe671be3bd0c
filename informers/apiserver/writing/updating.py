"""Update: PUT to an object or a subresource, and every other request that changes an object."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.errors.refusals import conflict, invalid, not_found, precondition_failed
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.store import Stored
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.checking import admitted
from informers.apiserver.writing.committing import committed, gone
from informers.apiserver.writing.creating import create_object
from informers.apiserver.writing.decoding import decoded
from informers.apiserver.writing.deleting import may_go
from informers.apiserver.writing.identity import require_identity
from informers.apiserver.writing.metadata import carried_over
from informers.apiserver.writing.ownership import same, tracked
from informers.apiserver.writing.preparing import counted, defaulted, finished, isolated
from informers.apiserver.writing.write import Write
from informers.objects import Object, ObjectKey


def update(backend: Backend, call: Call) -> ObjectOutcome:
    """PUT to an object or one of its parts."""
    write = Write(backend, call)
    info, type_ = call.info, call.info.type
    sent = decoded(write, require_identity(info, call.body))
    live = write.live()
    if live is None:
        if type_.create_on_update and not info.subresource:
            return create_object(write, _nowhere(type_, sent))
        raise not_found(type_.resource, info.name)
    check_expected(write, sent["metadata"], live, required=not type_.unconditional or type_.custom)
    return update_object(write, sent, live)


def update_object(write: Write, sent: Object, live: Stored, *, applied: bool = False) -> ObjectOutcome:
    """Replace an object by what was sent, as far as this (sub)resource lets it.

    :param applied: ``metadata.managedFields`` is already right.
    :raises StatusError: every refusal.
    """
    old = live.obj
    new = {**sent, "metadata": carried_over(sent["metadata"], old["metadata"])}
    new = isolated(write, new, old)
    new = defaulted(write, new, old, applied=applied)
    new = counted(write, new, old)
    if not applied:
        new = tracked(write, new, old, sent)
    new = admitted(write, new, old)
    new = finished(write, new, old)
    if same(new, old):
        return ObjectOutcome(200, old, live, tuple(write.warnings))
    if may_go(new):
        return gone(write, new)
    return committed(write, new, 200)


def _nowhere(type_: ResourceType, sent: Object) -> Object:
    """The object that an update creates when none exists: its version is dropped, a uid is refused."""
    metadata = {key: value for key, value in sent["metadata"].items() if key != "resourceVersion"}
    if metadata.get("uid"):
        raise precondition_failed(type_.resource, ObjectKey.of(sent), metadata["uid"], "")
    return {**sent, "metadata": metadata}


def version_of(obj: Object) -> Object:
    """What :func:`check_expected` compares for a patch: one that changes the uid is refused as a change."""
    return {"resourceVersion": obj["metadata"].get("resourceVersion")}


def check_expected(write: Write, sent: Any, live: Stored, *, required: bool) -> None:
    """Compare the version and identity a writer has seen with what is there.

    :raises StatusError: 409 when they differ; 422 when a version is required and missing.
    """
    resource, name = write.type.resource, live.key.name
    metadata = live.obj["metadata"]
    version, uid = sent.get("resourceVersion"), sent.get("uid")
    if uid and uid != metadata["uid"]:
        raise precondition_failed(resource, live.key, uid, metadata["uid"])
    if version and version != "0":
        if version != metadata["resourceVersion"]:
            raise conflict(resource, name)
    elif required:
        text = "Invalid value: 0: must be specified for an update"
        cause = Cause("FieldValueInvalid", text, "metadata.resourceVersion")
        # The one refusal of this sort that calls the object by its resource.
        raise invalid(replace(resource, kind=resource.plural), name, [cause])
