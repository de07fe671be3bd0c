"""PATCH of an object or a subresource."""

from __future__ import annotations

from typing import Any

from informers.apiserver.errors import StatusError
from informers.apiserver.errors.refusals import bad_option, bad_request, not_found
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.writing.applying import apply
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.decoding import decoded
from informers.apiserver.writing.identity import require_identity
from informers.apiserver.writing.patch_formats import json_patch, merge_patch, strategic_merge
from informers.apiserver.writing.updating import check_expected, update_object, version_of
from informers.apiserver.writing.write import Write
from informers.objects import Object

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def patch(backend: Backend, call: Call) -> ObjectOutcome:
    """PATCH an object or one of its parts."""
    write = Write(backend, call)
    if call.content_type == APPLY_PATCH:
        return apply(write)
    check_not_forced(write)
    live = write.live()
    if live is None:
        raise not_found(call.info.type.resource, call.info.name)
    patched = write.patched = patched_object(write, live.obj)
    sent = _decoded(write, patched)
    check_expected(write, version_of(sent), live, required=False)
    return update_object(write, sent, live)


def _decoded(write: Write, patched: Any) -> Object:
    try:
        return decoded(write, require_identity(write.info, patched))
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
