"""Views: what a cache holds of an object. A small header, and the rest as the bytes it came in.

managedFields and kubectl's last-applied annotation are cut out before anything is stored. Where that can be
done by slicing it is; where the layout leaves any doubt the object is decoded and encoded again.

A hundred thousand views must neither cost much nor be seen by the garbage collector, so nothing in a header
is a container: labels, annotations, finalizers and owners are kept as the JSON they came in, one copy for
all objects that say the same, and become values when they are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import force_setattr

from informers.cache.shared import Shared, mapping
from informers.objects import Object, ObjectKey, new_tuple

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

T = TypeVar("T")

_PACKED = 0x28
"""First byte of every zstd frame; JSON cannot begin with it."""


class OwnerReference(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One entry of ``metadata.ownerReferences``."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


_LABELS = Shared(dict[str, str], mapping)
# Often different in every object and every version, and read by few: a look at all of them would cost as much
# as a third of the header. No API server stores annotations of another type.
_ANNOTATIONS = Shared(dict[str, str], mapping, checked=False)
_FINALIZERS = Shared(tuple[str, ...], tuple)
_OWNERS = Shared(tuple[OwnerReference, ...], tuple)


class Codec(Protocol):
    """What made a body smaller, and knows the way back."""

    def unpack(self, packed: bytes) -> bytes:
        """The JSON. Called from any thread."""
        ...


class View(msgspec.Struct, frozen=True, gc=False, eq=False):
    """An object as of one resource version. Read-only; compared by identity.

    :param namespace: "" for cluster-scoped objects.
    :param generation: of the wish; 0 where the server keeps none.
    :param deleting: whether a deletion has been asked for.
    :param body: what :attr:`json` is made from: that very JSON, or a zstd frame of it.
    :param codec: what the body went through; ``None`` while nobody has tried to make it smaller.
    :param hot: read or made lately, so that it is left as it is.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    deleting: bool
    labels_json: bytes
    annotations_json: bytes
    finalizers_json: bytes
    owners_json: bytes
    body: bytes
    codec: Codec | None = None
    hot: bool = True

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return new_tuple(ObjectKey, (self.namespace, self.name))

    @property
    def labels(self) -> Mapping[str, str]:
        """``metadata.labels``; shared, so it cannot be written to."""
        return _LABELS.value(self.labels_json)

    @property
    def annotations(self) -> Mapping[str, str]:
        """``metadata.annotations`` but for the last-applied one; cannot be written to.

        :raises msgspec.ValidationError: when they are not all text.
        """
        return _ANNOTATIONS.value(self.annotations_json)

    @property
    def finalizers(self) -> tuple[str, ...]:
        """``metadata.finalizers``."""
        return _FINALIZERS.value(self.finalizers_json)

    @property
    def owners(self) -> tuple[OwnerReference, ...]:
        """``metadata.ownerReferences``."""
        return _OWNERS.value(self.owners_json)

    @property
    def owner_uid(self) -> str | None:
        """The uid of the owner that is its controller, or ``None``."""
        return next((owner.uid for owner in self.owners if owner.controller), None)

    @property
    def creation_timestamp(self) -> str:
        """RFC 3339, UTC; "" without one. Read from the body: seldom wanted, and a string per object."""
        return _CREATION.decode(self.json).metadata.creation_timestamp or ""

    @property
    def json(self) -> bytes:
        """The object, without managedFields and last-applied annotation, with ``apiVersion`` and ``kind``.

        Unpacking costs a microsecond or two and does not change what is stored: whoever walks through a
        whole cache must not blow it up.
        """
        # The body first: it becomes a frame only after the codec is there, and threads read as well.
        body = self.body
        if body[0] == _PACKED:
            codec = self.codec
            assert codec is not None, "a codec comes before what it has packed"
            return codec.unpack(body)
        if not self.hot:
            force_setattr(self, "hot", True)
        return body

    def object(self) -> Object:
        """The object, decoded anew by every call, so that no two callers share it.

        Keep it for the time of one reconcile; read-only by convention all the same.
        """
        decoded: Object = msgspec.json.decode(self.json)
        return decoded

    def decode(self, model: type[T]) -> T:
        """The whole object as a model, made anew by every call; see :class:`informers.cache.typed.Typed` for
        the parts of an object during a reconcile.

        :param model: a pydantic model, or anything msgspec decodes (``Struct``, dataclass, ``TypedDict``).
        :raises ValueError: when the object does not fit; pydantic's and msgspec's errors are.
        """
        made: T = reader(model)(self.json)
        return made

    @property
    def packed(self) -> bool:
        """Whether the body is a frame, and not JSON."""
        return self.body[0] == _PACKED

    # -- for the cache's own use -------------------------------------------------------------------

    def cool(self) -> None:
        """Forget that it was read. Whoever reads it before the next call warms it again."""
        force_setattr(self, "hot", False)

    def replace_body(self, codec: Codec, packed: bytes) -> None:
        """Store the same JSON in another form.

        :param packed: a frame of the codec, or the JSON itself where that is no larger.
        """
        # In this order; see json.
        force_setattr(self, "codec", codec)
        force_setattr(self, "body", packed)


def _reader(model: Any) -> Callable[[bytes], Any]:
    # A decoder of msgspec's is dear to make.
    return getattr(model, "model_validate_json", None) or msgspec.json.Decoder(model).decode


reader: Callable[[Any], Callable[[bytes], Any]] = cache(_reader)
"""What makes a model of JSON, or raises :class:`ValueError` where it does not fit; for pydantic models, and
anything msgspec decodes."""


_ABSENT = msgspec.Raw()


class Metadata(msgspec.Struct, gc=False, rename="camel"):
    """What of ``metadata`` a view keeps. A bookmark has nothing but its version."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    labels: msgspec.Raw = _ABSENT
    annotations: msgspec.Raw = _ABSENT
    finalizers: msgspec.Raw = _ABSENT
    deletion_timestamp: str | None = None
    creation_timestamp: str | None = None
    owner_references: msgspec.Raw = _ABSENT
    managed_fields: msgspec.Raw = _ABSENT


class Header(msgspec.Struct, gc=False, rename="camel"):
    """The decoded part of an object; everything else is skipped without being built."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class _CreationMetadata(msgspec.Struct, gc=False, rename="camel"):
    creation_timestamp: str | None = None


class _Creation(msgspec.Struct, gc=False):
    metadata: _CreationMetadata


_HEADER = msgspec.json.Decoder(Header)
_CREATION = msgspec.json.Decoder(_Creation)
_COMMA, _BACKSLASH = b",\\"
_MANAGED_FIELDS = b'"managedFields":'
_MANAGED_FIELDS_LENGTH = len(_MANAGED_FIELDS)
_MARK = b"last-applied-c"
_LAST_APPLIED = f'"{LAST_APPLIED}":'.encode()
# Neither pattern can match inside a JSON string: there every quote has a backslash before it.
_LAST_APPLIED_ENTRY = re.compile(re.escape(_LAST_APPLIED) + rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

_MOST_NAMESPACES = 4096


class _Namespaces(dict[str, str]):
    """One string per namespace, for all objects in it."""

    def __missing__(self, name: str) -> str:
        if len(self) >= _MOST_NAMESPACES:
            self.clear()
        return self.setdefault(name, name)


_NAMESPACES = _Namespaces()


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
    """The view of an object whose header is decoded already.

    :raises msgspec.ValidationError: when its metadata are not of the Kubernetes kind.
    """
    meta = header.metadata
    if not meta.name:
        return None
    annotations = bytes(meta.annotations)
    rest = _without_last(annotations) if _may_have_last(annotations) else None
    if meta.managed_fields is not _ABSENT or rest is not None:
        content = _pruned(content, meta.managed_fields, rest is not None)
    if not header.kind and prefix:
        content = prefix + content.lstrip()[1:]
    return View(
        _NAMESPACES[meta.namespace or ""],
        meta.name,
        meta.uid,
        meta.resource_version,
        meta.generation or 0,
        meta.deletion_timestamp is not None,
        _LABELS[bytes(meta.labels)],
        _ANNOTATIONS[annotations if rest is None else rest],
        _FINALIZERS[bytes(meta.finalizers)],
        _OWNERS[bytes(meta.owner_references)],
        content,
    )


def view_within(meta: Metadata, content: bytes, begin: int, end: int) -> View | None:
    """The same for an object that is a part of ``content`` and begins with its kind, its version and its
    metadata: what looks like managedFields first is then that of the metadata.

    :returns: ``None`` also for what takes a closer look; :func:`view_of` does.
    :raises msgspec.ValidationError: when its metadata are not of the Kubernetes kind.
    """
    # Everything is spelt out: the way of nearly every change of every object.
    annotations = bytes(meta.annotations)
    doubtful = _BACKSLASH in annotations or annotations.find(_MARK) >= 0
    if not meta.name or (doubtful and annotations not in _ANNOTATIONS):
        return None
    value = meta.managed_fields
    if value is _ABSENT:
        body = content[begin:end]
    else:
        start = content.find(_MANAGED_FIELDS, begin, end)
        value_at = start + _MANAGED_FIELDS_LENGTH
        rest = value_at + len(value)
        # Followed by a comma: names come after it, in the order servers write.
        if start < 0 or not content.startswith(value, value_at) or content[rest] != _COMMA:
            return None
        body = content[begin:start] + content[rest + 1 : end]
    return View(
        _NAMESPACES[meta.namespace or ""],
        meta.name,
        meta.uid,
        meta.resource_version,
        meta.generation or 0,
        meta.deletion_timestamp is not None,
        # Copies, not the Raw values themselves: those refer to the whole page they were found in.
        _LABELS[bytes(meta.labels)],
        _ANNOTATIONS[annotations],
        _FINALIZERS[bytes(meta.finalizers)] if meta.finalizers is not _ABSENT else b"",
        _OWNERS[bytes(meta.owner_references)] if meta.owner_references is not _ABSENT else b"",
        body,
    )


def _may_have_last(annotations: bytes) -> bool:
    # Names may be escaped; then only decoding tells. What is known was looked through before.
    found = _BACKSLASH in annotations or annotations.find(_MARK) >= 0
    return found and annotations not in _ANNOTATIONS


def _without_last(annotations: bytes) -> bytes | None:
    """Annotations without the last-applied one; ``None`` when it is not among them."""
    found = msgspec.json.decode(annotations, type=dict[str, str])
    if found.pop(LAST_APPLIED, None) is None:
        return None
    return msgspec.json.encode(found) if found else b""


def _pruned(content: bytes, managed_fields: msgspec.Raw, last_applied: bool) -> bytes:
    """``content`` without managedFields and last-applied annotation."""
    if len(managed_fields):
        sliced = _without_managed_fields(content, managed_fields)
        if sliced is None:
            return _pruned_by_decoding(content)
        content = sliced
    if last_applied:
        sliced = _without_last_applied(content)
        if sliced is None:
            return _pruned_by_decoding(content)
        content = sliced
    return content


def _without_managed_fields(content: bytes, value: msgspec.Raw) -> bytes | None:
    # One function, without copies to look at: every change of every object comes through here.
    start = content.find(_MANAGED_FIELDS)
    begin = start + len(_MANAGED_FIELDS)
    end = begin + len(value)
    # Not there: spaced out, or a field of that name somewhere else. There twice: no telling which is which.
    if start <= 0 or not content.startswith(value, begin) or content.find(_MANAGED_FIELDS, end) >= 0:
        return None
    if content[end] == _COMMA:
        return content[:start] + content[end + 1 :]
    if content[start - 1] == _COMMA:
        return content[: start - 1] + content[end:]
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
