"""The object as it would be stored: what was sent, completed by schemas and by the rules of its kind."""

from __future__ import annotations

from informers.apiserver.builtin import lifecycle, rules
from informers.apiserver.builtin.certificates import APPROVAL
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import bad_request
from informers.apiserver.kinds import definitions
from informers.apiserver.kinds.table import DEFINITION
from informers.apiserver.writing.write import Write
from informers.objects import Object


def isolated(write: Write, new: Object, old: Object) -> Object:
    """The new object with only those parts changed that a write to this (sub)resource may change.

    :raises StatusError: 400 for a ``finalize`` without a spec to take the finalizers from.
    """
    subresource = write.info.subresource
    if subresource == "finalize":
        sent = new.get("spec") or {}
        if not isinstance(sent, dict):
            raise bad_request("spec of a Namespace must be an object")
        return {**old, "spec": {**old.get("spec", {}), "finalizers": sent.get("finalizers") or []}}
    if subresource not in ("status", APPROVAL):
        if not write.type.has_status:
            return new
        new = {key: value for key, value in new.items() if key != "status"}
        return {**new, "status": old["status"]} if "status" in old else new
    if not write.type.custom:
        return lifecycle.isolate_status(new, old, write.type.resource)
    result = {key: value for key, value in old.items() if key != "status"}
    metadata = dict(old["metadata"])
    if "managedFields" in new["metadata"]:
        metadata["managedFields"] = new["metadata"]["managedFields"]
    result["metadata"] = metadata
    return {**result, "status": new["status"]} if "status" in new else result


def defaulted(write: Write, new: Object, old: Object | None, *, applied: bool) -> Object:
    """The object with the defaults of its schema and of its kind, and with what is allocated to it.

    :param old: the object it replaces.
    :param applied: it is the result of a server-side apply.
    :raises StatusError: 400 for a value its Go type could not take.
    """
    if write.type.schema is not None:
        # An applied null of a built-in kind still passes through its Go type.
        custom = write.type.custom
        # Go types take 2.0 for a whole number only where it has been through plain values before.
        whole = custom or applied or write.patched is not None or write.type.resource == DEFINITION
        new = write.type.schema.defaulted(new, keep_nulls=applied and custom, whole=whole)
    if write.type.resource == DEFINITION:
        return definitions.prepared(new, old)
    if write.type.custom:
        return new
    if old is None:
        return rules.prepare_create(new, write.context)
    try:
        return rules.prepare_update(new, old, write.context)
    except StatusError as error:
        if write.patched is None or error.code != 400:
            raise
        raise write.undecodable(error.message) from None


def counted(write: Write, new: Object, old: Object) -> Object:
    """The object with the next ``metadata.generation`` if what the generation counts has changed."""
    if not write.type.generation or not _spec_changed(write, new, old):
        return new
    count = int(old["metadata"].get("generation", 0)) + 1
    return {**new, "metadata": {**new["metadata"], "generation": count}}


def _spec_changed(write: Write, new: Object, old: Object) -> bool:
    if not write.type.custom:
        return lifecycle.spec_changed(new, old, write.type.resource)
    apart = {"metadata", "status"} if write.type.has_status else {"metadata"}
    return any(new.get(key) != old.get(key) for key in (new.keys() | old.keys()) - apart)


def finished(write: Write, new: Object, old: Object | None) -> Object:
    """What is changed after ownership has been noted and everything checked."""
    if write.type.resource == DEFINITION:
        return definitions.finished(new)
    return new if write.type.custom else rules.finish(new, old, write.context)
