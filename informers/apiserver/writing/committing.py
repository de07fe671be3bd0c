"""The last step of a write: store or remove the object, unless it is a dry run."""

from __future__ import annotations

from informers.apiserver.kinds.conversion import storable
from informers.apiserver.reading.selection import shown
from informers.apiserver.requests.calls import ObjectOutcome
from informers.apiserver.writing.write import Write
from informers.objects import Object, ObjectKey


def committed(write: Write, new: Object, code: int) -> ObjectOutcome:
    """Store the object, and answer with it.

    :param code: HTTP status code of the answer.
    :raises StatusError: 500 when it is larger than etcd takes.
    """
    if write.options.dry_run:
        return ObjectOutcome(code, new, None, tuple(write.warnings))
    stored = write.backend.put(write.type, _storable(write, new))
    answer = shown(write.type, stored)
    return ObjectOutcome(code, answer.obj, answer, tuple(write.warnings))


def _storable(write: Write, new: Object) -> Object:
    found = storable(new, write.type)
    kept = write.backend.registry.of(write.type.stored_as)
    if found is new or not write.type.custom or kept is None or kept.schema is None:
        return found
    # Another version was sent: the defaults of the stored one are still missing.
    return kept.schema.defaulted(found)


def gone(write: Write, new: Object) -> ObjectOutcome:
    """The last finalizer was removed: the object goes within this very request."""
    if not write.options.dry_run:
        write.backend.remove(write.type, ObjectKey.of(new))
    return ObjectOutcome(200, new, None, tuple(write.warnings))
