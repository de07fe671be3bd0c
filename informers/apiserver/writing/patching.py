"""PATCH: the four ways to say what should be different."""

from __future__ import annotations

from typing import Any

from informers.apiserver import fields
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import bad_option, bad_request, conflict, not_found
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.store import Stored
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.identity import require_identity
from informers.apiserver.writing.patch_formats import json_patch, merge_patch, strategic_merge
from informers.apiserver.writing.write import Write, check_expected
from informers.objects import Object

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def patch(backend: Backend, call: Call) -> ObjectOutcome:
    """PATCH an object or one of its parts."""
    write = Write(backend, call)
    if call.content_type == APPLY_PATCH:
        return _apply(write)
    check_not_forced(write)
    live = write.live()
    if live is None:
        raise not_found(call.info.type.resource, call.info.name)
    patched = write.patched = patched_object(write, live.obj)
    sent = _decoded(write, patched)
    check_expected(write, _version_of(sent), live, required=False)
    return write.update(sent, live)


def _decoded(write: Write, patched: Any) -> Object:
    try:
        return write.decoded(require_identity(write.info, patched))
    except StatusError as error:
        if error.code != 400 or write.type.custom or error.message.startswith("the name"):
            raise
        raise write.undecodable(error.message) from None


def check_not_forced(write: Write) -> None:
    """:raises StatusError: 422 for ``force`` on a patch that is not applied."""
    if write.options.force is not None:
        text = "Forbidden: may not be specified for non-apply patch"
        raise bad_option("PatchOptions", "force", "FieldValueForbidden", text)


def patched_object(write: Write, live: Object) -> Any:
    """What a patch other than an applied one makes of an object.

    :raises StatusError: 415 for an encoding this kind does not take; 400 and 422 for patches that make no
        sense.
    """
    content_type, body = write.call.content_type, write.call.body
    if content_type == JSON_PATCH:
        return json_patch(live, body)
    if content_type == MERGE_PATCH:
        _require_map(body)
        return merge_patch(live, body)
    if content_type == STRATEGIC_MERGE_PATCH and not write.type.custom:
        _require_map(body)
        schema = write.type.schema
        return strategic_merge(live, body, schema.root if schema is not None else None)
    if content_type != STRATEGIC_MERGE_PATCH:
        raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    accepted = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    raise StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted),
    )


def _require_map(body: Any) -> None:
    if not isinstance(body, dict):
        raise bad_request("the patch is not an object")


def _apply(write: Write) -> ObjectOutcome:
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
        check_expected(write, _version_of(intent), live, required=False)
    merged = fields.apply(
        live.obj if live is not None else None,
        intent,
        write.type.schema,
        write.manager(applies=True),
        force=bool(options.force),
        now=write.now,
        ignore=write.untouched(intent),
    )
    if live is None:
        merged = {**merged, "metadata": {**merged["metadata"], "resourceVersion": ""}}
        return write.create(merged, applied=True)
    return _updated(write, merged, live)


def _version_of(obj: Object) -> Object:
    # A patch that changes the uid is not about another object, but wrong about this one.
    return {"resourceVersion": obj["metadata"].get("resourceVersion")}


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
    return write.update(merged, live, applied=True)


def _refuse_absent(write: Write, metadata: Object) -> None:
    """An applied object that says which one it means cannot mean one that does not exist."""
    resource, name = write.type.resource, write.info.name
    if metadata.get("uid"):
        why = (
            f"uid mismatch: the provided object specified uid {metadata['uid']}, "
            "and no existing object was found"
        )
        raise conflict(resource, name, why)
