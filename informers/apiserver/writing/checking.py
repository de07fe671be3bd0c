"""Whether a prepared object may be written: metadata, schema, rules of its kind, admission plugins."""

from __future__ import annotations

from dataclasses import replace

from informers.apiserver.builtin import rules
from informers.apiserver.errors import Cause
from informers.apiserver.errors.refusals import invalid
from informers.apiserver.kinds import definitions
from informers.apiserver.kinds.table import DEFINITION
from informers.apiserver.writing.metadata import check_metadata, finalizer_warnings
from informers.apiserver.writing.ownership import without_ownership
from informers.apiserver.writing.unenforced import refuse_unenforced, warning_of
from informers.apiserver.writing.write import Write
from informers.objects import Object


def admitted(write: Write, new: Object, old: Object | None) -> Object:
    """The object as the admission plugins complete it, once it is valid and they admit it.

    :raises StatusError: 422 for what is not valid, 403 by a plugin.
    """
    if write.type.custom:
        _check(write, new, old)
        return new
    context = write.context
    new = write.backend.admission.mutate(new, old, context)
    _check(write, new, old)
    write.backend.admission.validate(new, old, context)
    return new


def _check(write: Write, new: Object, old: Object | None) -> None:
    if not write.type.custom:
        refuse_unenforced(write.type.resource, new)
        if (warning := warning_of(write.type.resource)) is not None:
            write.warnings.append(warning)
    causes = list(check_metadata(new, old, write.type))
    if write.type.schema is not None:
        # Ownership is the server's own work, and the larger part of a small object.
        found = write.type.schema.validate(without_ownership(new), old and without_ownership(old))
        if not write.type.custom:
            _check_types(write, found)
        elif write.info.subresource == "status":
            found = [_of_status(cause) for cause in found]
        causes.extend(found)
    if write.type.resource == DEFINITION:
        causes.extend(definitions.check(new, old))
    elif not write.type.custom:
        causes.extend(rules.validate(new, old, write.context))
    if causes:
        resource = write.type.resource
        if resource.group == "events.k8s.io":
            # Both forms of events share their rules, and the core group's name.
            resource = replace(resource, group="")
        raise invalid(resource, new["metadata"]["name"], _once(causes))
    if old is None or old["metadata"].get("finalizers") != new["metadata"].get("finalizers"):
        write.warnings.extend(finalizer_warnings(new["metadata"]))


def _check_types(write: Write, causes: list[Cause]) -> None:
    """A built-in kind is decoded into typed fields: what does not fit is no object at all."""
    wrong = [cause for cause in causes if cause.reason == "FieldValueTypeInvalid"]
    if wrong:
        raise write.undecodable(f"json: cannot unmarshal: {wrong[0].message}")


def _of_status(cause: Cause) -> Cause:
    """A finding of a write to ``/status``: it is checked on its own, and its fields are called from there."""
    below = cause.field.removeprefix("status").removeprefix(".")
    return cause._replace(message=cause.message.replace(f"{cause.field} in body", f"{below} in body"))


def _once(causes: list[Cause]) -> list[Cause]:
    """Every finding once: that a field is missing is found by the schema and by rules."""
    found: dict[tuple[str, str], Cause] = {}
    for cause in causes:
        identity = "" if cause.reason == "FieldValueRequired" else cause.message
        found.setdefault((cause.field, identity), cause)
    return list(found.values())
