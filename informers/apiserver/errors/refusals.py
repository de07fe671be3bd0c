"""The errors that several requests share, with the messages of a real server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from informers.apiserver.errors.status import Cause, StatusError
from informers.objects import ObjectKey, Resource

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
"""Why a write with an old resourceVersion is a conflict."""

_SHELVES = {
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "nodes": "minions",
    "ingresses.networking.k8s.io": "ingress",
}
"""Where a real server keeps kinds it does not keep under their plural."""


def _details(resource: Resource, name: str, **more: Any) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    return {**details, "kind": resource.plural, **more}


def not_found(resource: Resource, name: str) -> StatusError:
    """404: no such object."""
    return StatusError(404, "NotFound", f'{resource} "{name}" not found', _details(resource, name))


def no_such_path() -> StatusError:
    """404: no such resource."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> StatusError:
    """405: the resource is there, the verb is not."""
    text = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", text, {})


def already_exists(resource: Resource, name: str) -> StatusError:
    """409: the name is taken."""
    text = f'{resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", text, _details(resource, name))


def conflict(resource: Resource, name: str, why: str = MODIFIED) -> StatusError:
    """409: the object is not the one the writer has seen."""
    text = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return StatusError(409, "Conflict", text, _details(resource, name))


def precondition_failed(resource: Resource, key: ObjectKey, wanted: str, found: str) -> StatusError:
    """409: an update names another object by its uid than there is."""
    why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    return _not_in_storage(resource, key, why)


def still_readable(resource: Resource, key: ObjectKey) -> StatusError:
    """409: the deletion of what cannot be read is asked for, and it can be read."""
    why = "unsafe deletion is not allowed because the object is decodable from storage"
    return _not_in_storage(resource, key, why)


def _not_in_storage(resource: Resource, key: ObjectKey, why: str) -> StatusError:
    place = _SHELVES.get(str(resource), resource.plural)
    path = "/".join(filter(None, ("/registry", place, key.namespace, key.name)))
    said = (
        f"StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: {why}"
    )
    return conflict(resource, key.name, said)


def not_the_one_to_delete(resource: Resource, name: str, field: str, wanted: str, found: str) -> StatusError:
    """409: a precondition (``UID`` or ``ResourceVersion``) of a deletion does not hold."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    happened = "deleted and then recreated" if field == "UID" else "modified"
    text = (
        f'Operation cannot be fulfilled on {kind} "{name}": the {field} in the precondition ({wanted}) does '
        f"not match the {field} in record ({found}). The object might have been {happened}"
    )
    details = {**_details(resource, name), "kind": resource.kind}
    return StatusError(409, "Conflict", text, details)


def bad_option(options: str, field: str, reason: str, text: str) -> StatusError:
    """422 about a parameter.

    :param options: the kind of the parameters, such as ``ListOptions``.
    """
    return bad_options(options, [Cause(reason, text, field)])


def bad_options(options: str, causes: Sequence[Cause]) -> StatusError:
    """422 about parameters."""
    return invalid(Resource("meta.k8s.io", "v1", options.lower(), options), "", causes)


def forbidden(
    resource: Resource, name: str, why: str, causes: Sequence[Mapping[str, Any]] = ()
) -> StatusError:
    """403 by a rule, not by missing permission."""
    details = _details(resource, name)
    if causes:
        details["causes"] = list(causes)
    return StatusError(403, "Forbidden", f'{resource} "{name}" is forbidden: {why}', details)


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def wrong_name(sent: str, addressed: str) -> StatusError:
    """400: the object is called something else than its path says."""
    text = f"the name of the object ({sent}) does not match the name on the URL ({addressed})"
    return bad_request(text)


def not_implemented(message: str) -> StatusError:
    """501: a real server does this, this one does not."""
    return StatusError(501, "NotImplemented", message)


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> StatusError:
    """422 with everything that is wrong."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    problems = [f"{cause.field}: {cause.message}" for cause in causes]
    listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    details: dict[str, Any] = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {listed}', details)


def undecodable_patch(patched: Any, why: str) -> StatusError:
    """422: what a patch makes of an object is no object of that kind."""
    shown = json.dumps(json.dumps(patched, separators=(",", ":"), sort_keys=True))
    cause = {"reason": "FieldValueInvalid", "message": f"Invalid value: {shown}: {why}", "field": "patch"}
    return StatusError(422, "Invalid", f' "" is invalid: patch: {cause["message"]}', {"causes": [cause]})


def expired(message: str, token: str = "") -> StatusError:
    """410: what was asked for is no longer known.

    :param token: continues the list that expired, with what is there now.
    """
    return StatusError(410, "Expired", message, metadata={"continue": token} if token else None)


def too_old(requested: int, oldest: int) -> StatusError:
    """410: events since ``requested`` are no longer known."""
    return expired(f"too old resource version: {requested} ({oldest})")


def from_the_future(requested: int, current: int) -> StatusError:
    """504: no such resourceVersion yet."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {requested}, current: {current}",
        {"causes": causes, "retryAfterSeconds": 1},
    )
