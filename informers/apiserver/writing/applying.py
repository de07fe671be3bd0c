"""Server-side apply."""

from __future__ import annotations

from typing import Any

from informers.apiserver import fields
from informers.apiserver.errors.refusals import bad_option, bad_request, conflict, not_found
from informers.apiserver.requests.calls import ObjectOutcome
from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.store import Stored
from informers.apiserver.writing.creating import create_object
from informers.apiserver.writing.identity import require_identity
from informers.apiserver.writing.ownership import untouched
from informers.apiserver.writing.updating import check_expected, update_object, version_of
from informers.apiserver.writing.write import Write
from informers.objects import Object


def apply(write: Write) -> ObjectOutcome:
    """PATCH by server-side apply; creates what is not there.

    :raises StatusError: every refusal; 409 for a conflict with other managers.
    """
    info, options = write.info, write.options
    require_manager(write)
    intent = applied_intent(info, write.call.body)
    live = write.live()
    if live is None:
        if info.subresource:
            raise not_found(info.type.resource, info.name)
        if not (write.call.body.get("metadata") or {}).get("name"):
            about = f"the name of the object ({info.name} based on URL)"
            raise bad_request(f"{about} was undeterminable: name must be provided")
        _refuse_absent(write, intent["metadata"])
    else:
        check_expected(write, version_of(intent), live, required=False)
    merged = fields.apply(
        live.obj if live is not None else None,
        intent,
        write.type.schema,
        write.manager(applies=True),
        force=bool(options.force),
        now=write.now,
        ignore=untouched(write, intent),
    )
    if live is None:
        merged = {**merged, "metadata": {**merged["metadata"], "resourceVersion": ""}}
        return create_object(write, merged, applied=True)
    return _updated(write, merged, live)


def require_manager(write: Write) -> None:
    """:raises StatusError: 422 for an applied patch that does not say whose it is."""
    if not write.options.manager:
        text = "Required value: is required for apply patch"
        raise bad_option("PatchOptions", "fieldManager", "FieldValueRequired", text)


def applied_intent(info: RequestInfo, body: Any) -> Object:
    """What is applied, as the object that a path is about.

    :raises StatusError: 400 for a body of another kind, version, name or namespace.
    """
    resource = info.type.resource
    if not isinstance(body, dict):
        raise bad_request("the body of the request is not an object")
    kind, api_version = str(body.get("kind") or ""), str(body.get("apiVersion") or "")
    if (api_version, kind) != (resource.api_version, resource.kind):
        group = api_version if "/" in api_version or not api_version else f"/{api_version}"
        raise bad_request(f"invalid object type: {group or '/'}, Kind={kind}")
    return require_identity(info, body, fill_namespace=False)


def _updated(write: Write, merged: Object, live: Stored) -> ObjectOutcome:
    if merged is live.obj:
        return ObjectOutcome(200, live.obj, live, tuple(write.warnings))
    return update_object(write, merged, live, applied=True)


def _refuse_absent(write: Write, metadata: Object) -> None:
    """An applied object that says which one it means cannot mean one that does not exist."""
    resource, name = write.type.resource, write.info.name
    if metadata.get("uid"):
        why = (
            f"uid mismatch: the provided object specified uid {metadata['uid']}, "
            "and no existing object was found"
        )
        raise conflict(resource, name, why)
