"""The fields that the writer of an object owns afterwards, for ``metadata.managedFields``."""

from __future__ import annotations

from informers.apiserver import fields
from informers.apiserver.builtin.certificates import APPROVAL, REQUEST, unowned
from informers.apiserver.writing.allocated import without_allocated
from informers.apiserver.writing.write import Write
from informers.objects import Object


def tracked(write: Write, new: Object, old: Object | None, sent: Object) -> Object:
    """The object with the ownership this write leads to."""
    entries = new["metadata"].get("managedFields")
    if old is not None and (entries == [{}] or not (entries or old["metadata"].get("managedFields"))):
        # Ownership that was given up is not read again before someone applies.
        metadata = {key: value for key, value in new["metadata"].items() if key != "managedFields"}
        return {**new, "metadata": metadata}
    noted = fields.track(
        old and without_allocated(write.type, old, sent),
        without_allocated(write.type, new, sent),
        write.type.schema,
        write.manager(),
        now=write.now,
        ignore=untouched(write, new),
    )
    metadata = {**new["metadata"], "managedFields": noted["metadata"].get("managedFields")}
    if not metadata["managedFields"]:
        del metadata["managedFields"]
    return {**new, "metadata": metadata}


def untouched(write: Write, obj: Object) -> list[tuple[str, ...]]:
    """The fields that a write to this (sub)resource neither changes nor comes to own."""
    if (write.type.resource.group, write.type.resource.kind) == REQUEST:
        return unowned(write.info.subresource)
    if write.info.subresource in ("status", APPROVAL):
        if write.type.custom:
            return [(key,) for key in obj if key not in ("apiVersion", "kind", "status")]
        return [("spec",)]
    return [("status",)] if write.type.has_status else []


def same(new: Object, old: Object) -> bool:
    """Whether nothing changed but, at most, the times of field ownership."""
    if new == old:
        return True
    return without_ownership(new) == without_ownership(old) and _owners(new) == _owners(old)


def without_ownership(obj: Object) -> Object:
    """The object without ``metadata.managedFields``."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _owners(obj: Object) -> list[Object]:
    entries = obj["metadata"].get("managedFields") or ()
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]
