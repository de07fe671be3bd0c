"""Views: what a cache holds of an object. A decoded header, and the rest as the bytes it came in.

managedFields and kubectl's last-applied annotation are cut out before anything is stored. Where that can be
done by slicing it is; where the layout leaves any doubt the object is decoded and encoded again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from informers.objects import Object, ObjectKey

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One entry of ``metadata.ownerReferences``."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class View(msgspec.Struct, frozen=True, gc=False, eq=False):
    """An object as of one resource version. Read-only; compared by identity.

    The garbage collector does not look into it: it refers to nothing that could refer back.

    :param generation: of the wish; 0 where the server keeps none.
    :param deleting: whether a deletion has been asked for.
    :param creation_timestamp: RFC 3339, UTC.
    :param owner_uid: the uid of the owner that is its controller, or ``None``.
    :param body: JSON of the object, without managedFields and last-applied annotation, with ``apiVersion``
        and ``kind``.
    """

    key: ObjectKey
    uid: str
    resource_version: str
    generation: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...]
    deleting: bool
    creation_timestamp: str
    owners: tuple[OwnerReference, ...]
    owner_uid: str | None
    body: bytes

    def object(self) -> Object:
        """The object, decoded anew by every call, so that no two callers share it.

        Keep it for the time of one reconcile; read-only by convention all the same.
        """
        decoded: Object = msgspec.json.decode(self.body)
        return decoded


class Metadata(msgspec.Struct, gc=False, rename="camel"):
    """What of ``metadata`` a view keeps. A bookmark has nothing but its version."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: tuple[str, ...] | None = None
    deletion_timestamp: str | None = None
    creation_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    managed_fields: msgspec.Raw = msgspec.Raw()


class Header(msgspec.Struct, gc=False, rename="camel"):
    """The decoded part of an object; everything else is skipped without being built."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)


_NOTHING: Mapping[str, str] = MappingProxyType({})
_HEADER = msgspec.json.Decoder(Header)
_MANAGED_FIELDS = b'"managedFields":'
_LAST_APPLIED = f'"{LAST_APPLIED}":'.encode()
# Neither pattern can match inside a JSON string: there every quote has a backslash before it.
_LAST_APPLIED_ENTRY = re.compile(re.escape(_LAST_APPLIED) + rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def view_of_bytes(content: bytes | memoryview, prefix: bytes = b"") -> View | None:
    """The view of an object in JSON.

    :param prefix: ``{"apiVersion":...,"kind":...,``: put in front of objects without these two, which is
        how lists send the items of built-in kinds.
    :returns: ``None`` for what has no name, which is no object.
    :raises msgspec.DecodeError: when it is not JSON, or its metadata are not of the Kubernetes kind.
    """
    return view_of(_HEADER.decode(content), bytes(content), prefix)


def view_of_object(obj: Object) -> View | None:
    """The view of a decoded object, such as the answer to a write."""
    return view_of_bytes(msgspec.json.encode(obj))


def view_of(header: Header, content: bytes, prefix: bytes = b"") -> View | None:
    """The view of an object whose header is decoded already."""
    meta = header.metadata
    if not meta.name:
        return None
    annotations = meta.annotations or _NOTHING
    content = _pruned(content, meta)
    if LAST_APPLIED in annotations:
        annotations = {name: text for name, text in annotations.items() if name != LAST_APPLIED} or _NOTHING
    if not header.kind and prefix:
        content = prefix + content.lstrip()[1:]
    owners = meta.owner_references or ()
    return View(
        ObjectKey(meta.namespace or "", meta.name),
        meta.uid,
        meta.resource_version,
        meta.generation or 0,
        meta.labels or _NOTHING,
        annotations,
        meta.finalizers or (),
        meta.deletion_timestamp is not None,
        meta.creation_timestamp or "",
        owners,
        _controller(owners) if owners else None,
        content,
    )


def _controller(owners: tuple[OwnerReference, ...]) -> str | None:
    return next((owner.uid for owner in owners if owner.controller), None)


def _pruned(content: bytes, meta: Metadata) -> bytes:
    """``content`` without managedFields and last-applied annotation."""
    if len(meta.managed_fields):
        sliced = _without_managed_fields(content, meta.managed_fields)
        if sliced is None:
            return _pruned_by_decoding(content)
        content = sliced
    if meta.annotations and LAST_APPLIED in meta.annotations:
        sliced = _without_last_applied(content)
        if sliced is None:
            return _pruned_by_decoding(content)
        content = sliced
    return content


def _without_managed_fields(content: bytes, value: msgspec.Raw) -> bytes | None:
    start = content.find(_MANAGED_FIELDS)
    end = start + len(_MANAGED_FIELDS) + len(value)
    if start < 0 or not content.startswith(bytes(value), start + len(_MANAGED_FIELDS)):
        # Spaced out, or a field of that name somewhere else.
        return None
    if content.find(_MANAGED_FIELDS, end) >= 0:
        # There is another one, and no telling which is which.
        return None
    return _without(content, start, end)


def _without_last_applied(content: bytes) -> bytes | None:
    start = content.find(_LAST_APPLIED)
    if start < 0 or content.find(_LAST_APPLIED, start + 1) >= 0:
        return None
    entry = _LAST_APPLIED_ENTRY.match(content, start)
    return _without(content, start, entry.end()) if entry is not None else None


def _without(content: bytes, start: int, end: int) -> bytes | None:
    """``content`` without the member at ``start:end`` and one of the commas beside it."""
    if content[end : end + 1] == b",":
        return content[:start] + content[end + 1 :]
    if content[start - 1 : start] == b",":
        return content[: start - 1] + content[end:]
    if content[start - 1 : start] == b"{" and content[end : end + 1] == b"}":
        return content[:start] + content[end:]
    return None


def _pruned_by_decoding(content: bytes) -> bytes:
    obj: dict[str, Any] = msgspec.json.decode(content)
    meta = obj["metadata"]
    meta.pop("managedFields", None)
    if meta.get("annotations"):
        meta["annotations"].pop(LAST_APPLIED, None)
    return msgspec.json.encode(obj)


def type_prefix(api_version: str, kind: str) -> bytes:
    """The ``prefix`` of :func:`view_of_bytes` for one kind."""
    encoded = msgspec.json.encode({"apiVersion": api_version, "kind": kind})
    return encoded[:-1] + b","
