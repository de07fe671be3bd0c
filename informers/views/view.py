"""Views: what a cache holds of an object. A small header, and the rest as the bytes it came in.

managedFields and kubectl's last-applied annotation are cut out before anything is stored. Where that can be
done by slicing it is; where the layout leaves any doubt the object is decoded and encoded again.

A hundred thousand views must neither cost much nor be seen by the garbage collector, so nothing in a header
is a container: labels, annotations, finalizers and owners are kept as the JSON they came in, and become
values when they are read. In what has settled down there is one copy for all objects that say the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import force_setattr

from informers.objects import Object, ObjectKey, new_tuple
from informers.views.shared import IN_BODY, Shared, mapping

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
_ANNOTATIONS = Shared(dict[str, str], mapping)
_FINALIZERS = Shared(tuple[str, ...], tuple)
_OWNERS = Shared(tuple[OwnerReference, ...], tuple)


class Codec(Protocol):
    """What made a body smaller, and knows the way back."""

    def unpack(self, packed: bytes) -> bytes:
        """The JSON. Called from any thread."""
        ...


_ABSENT = msgspec.Raw()


class Metadata(msgspec.Struct, gc=False, rename="camel"):
    """What of ``metadata`` a view keeps. A bookmark has nothing but its version.

    No API server stores labels that are not text, and the like; whoever reads such a thing is told.
    """

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    deletion_timestamp: str | None = None
    labels: msgspec.Raw = _ABSENT
    annotations: msgspec.Raw = _ABSENT
    finalizers: msgspec.Raw = _ABSENT
    owner_references: msgspec.Raw = _ABSENT


class View(msgspec.Struct, frozen=True, gc=False, eq=False):
    """An object as of one resource version. Read-only; compared by identity.

    :param metadata: its header.
    :param body: what :attr:`json` is made from: that very JSON, or a zstd frame of it.
    :param codec: what the body went through; ``None`` while nobody has tried to make it smaller.
    :param hot: read or made lately, so that it is left as it is.
    """

    metadata: Metadata
    body: bytes
    codec: Codec | None = None
    hot: bool = True

    @property
    def namespace(self) -> str:
        """ "" for cluster-scoped objects."""
        return self.metadata.namespace or ""

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        meta = self.metadata
        return new_tuple(ObjectKey, (meta.namespace or "", meta.name))

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        return self.metadata.uid

    @property
    def resource_version(self) -> str:
        """``metadata.resourceVersion``."""
        return self.metadata.resource_version

    @property
    def generation(self) -> int:
        """Of the spec; 0 where the server keeps none."""
        return self.metadata.generation or 0

    @property
    def deleting(self) -> bool:
        """Whether a deletion has been asked for."""
        return self.metadata.deletion_timestamp is not None

    @property
    def labels(self) -> Mapping[str, str]:
        """``metadata.labels``; shared, so it cannot be written to.

        :raises msgspec.ValidationError: when they are not all text; as with the three others.
        """
        content = bytes(self.metadata.labels)
        return _LABELS.value(content if content is not IN_BODY else bytes(self._from_body().labels))

    @property
    def annotations(self) -> Mapping[str, str]:
        """``metadata.annotations`` but for the last-applied one; cannot be written to."""
        content = bytes(self.metadata.annotations)
        return _ANNOTATIONS.value(content if content is not IN_BODY else bytes(self._from_body().annotations))

    @property
    def finalizers(self) -> tuple[str, ...]:
        """``metadata.finalizers``."""
        content = bytes(self.metadata.finalizers)
        return _FINALIZERS.value(content if content is not IN_BODY else bytes(self._from_body().finalizers))

    @property
    def owners(self) -> tuple[OwnerReference, ...]:
        """``metadata.ownerReferences``."""
        content = bytes(self.metadata.owner_references)
        return _OWNERS.value(content if content is not IN_BODY else bytes(self._from_body().owner_references))

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
        """The object, decoded again by every call, so that no two callers share it.

        Keep it for the time of one reconcile; read-only by convention all the same.
        """
        decoded: Object = msgspec.json.decode(self.json)
        return decoded

    def decode(self, model: type[T]) -> T:
        """The whole object as a model, made again by every call; see :class:`informers.views.typed.Typed` for
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

    def _from_body(self) -> Metadata:
        """The header again, with what is too large to be kept in one."""
        return _OBJECT.decode(self.json).metadata

    # -- for the cache's own use -------------------------------------------------------------------

    def settle(self) -> None:
        """Share with other objects what they say as well. Until then a header refers to its own body."""
        meta = self.metadata
        if type(meta.labels) is bytes:
            return
        if meta.namespace is not None:
            meta.namespace = _NAMESPACES[meta.namespace]
        # Bytes do as Raw does, where only bytes() is called on it.
        meta.labels = _LABELS[bytes(meta.labels)]  # type: ignore[assignment]
        meta.annotations = _ANNOTATIONS[bytes(meta.annotations)]  # type: ignore[assignment]
        meta.finalizers = _FINALIZERS[bytes(meta.finalizers)]  # type: ignore[assignment]
        meta.owner_references = _OWNERS[bytes(meta.owner_references)]  # type: ignore[assignment]

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


class Header(msgspec.Struct, gc=False, rename="camel"):
    """The decoded part of an object; everything else is skipped without being built."""

    api_version: str = ""
    kind: str = ""
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class _Object(msgspec.Struct, gc=False):
    """The same where kind and version are known to be there."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)


class _Removed(msgspec.Struct, gc=False, rename="camel"):
    """What does not become a part of a view."""

    annotations: msgspec.Raw = _ABSENT
    managed_fields: msgspec.Raw = _ABSENT


class _Pruning(msgspec.Struct, gc=False):
    metadata: _Removed = msgspec.field(default_factory=_Removed)


class _CreationMetadata(msgspec.Struct, gc=False, rename="camel"):
    creation_timestamp: str | None = None


class _Creation(msgspec.Struct, gc=False):
    metadata: _CreationMetadata


_HEADER = msgspec.json.Decoder(Header)
_OBJECT = msgspec.json.Decoder(_Object)
_PRUNING = msgspec.json.Decoder(_Pruning)
_CREATION = msgspec.json.Decoder(_Creation)
_COMMA, _BACKSLASH = b",\\"
_MANAGED_FIELDS = b'"managedFields":'
_MANAGED_LIST = b'"managedFields":['
_BEFORE_F = _MANAGED_LIST.index(b"F")
_AFTER_IT = b'],"name":"'
_VERSION = b'"resourceVersion":'
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
    body = content = bytes(content)
    header = _HEADER.decode(content)
    if not header.metadata.name:
        return None
    removed = _PRUNING.decode(content).metadata
    annotations = bytes(removed.annotations)
    # Names may be escaped; then only decoding tells.
    doubtful = _BACKSLASH in annotations or annotations.find(_MARK) >= 0
    last_applied = doubtful and _has_last(annotations)
    if removed.managed_fields is not _ABSENT or last_applied:
        body = _pruned(content, removed.managed_fields, annotations if last_applied else b"")
    if not header.kind and prefix:
        body = prefix + body.lstrip()[1:]
    # A header refers to what it was decoded from.
    return View(header.metadata if body is content else _OBJECT.decode(body).metadata, body)


def view_of_object(obj: Object) -> View | None:
    """The view of a decoded object, such as the answer to a write."""
    return view_of_bytes(msgspec.json.encode(obj))


def view_within(content: bytes, begin: int, end: int) -> View | None:
    """The view of an object that is a part of ``content`` and begins with its kind, its version and its
    metadata, whose fields are in order: as servers write it.

    managedFields are cut out before anything is decoded. What comes between their beginning and the name,
    which follows them, is theirs: nothing in them is a list. That they are those of the metadata is clear
    from the version, which follows as well. A cut in any other place leaves what is no JSON.

    :returns: ``None`` for what takes a closer look; :func:`view_of_bytes` does.
    :raises msgspec.DecodeError: for what is no JSON, at least after the cut.
    """
    # Looking for a rare character is several times faster than looking for a word, and mostly enough.
    start = content.find(b"F", begin, end) - _BEFORE_F
    if not content.startswith(_MANAGED_LIST, start):
        start = content.find(_MANAGED_LIST, begin, end)
    if start >= 0:
        rest = content.find(b"]", start, end)
        if not content.startswith(_AFTER_IT, rest):
            rest = content.find(_AFTER_IT, start, end)
        if rest < 0 or content.find(_VERSION, begin, start) >= 0:
            return None
        body = content[begin:start] + content[rest + 2 : end]
    elif content.find(_MANAGED_FIELDS, begin, end) < 0:
        body = content[begin:end]
    else:
        return None
    meta = _OBJECT.decode(body).metadata
    if not meta.name or not meta.resource_version:
        return None
    if meta.annotations is not _ABSENT:
        annotations = bytes(meta.annotations)
        if _BACKSLASH in annotations or annotations.find(_MARK) >= 0:
            return None
    return View(meta, body)


def _has_last(annotations: bytes) -> bool:
    return LAST_APPLIED in (msgspec.json.decode(annotations, type=dict[str, Any] | None) or {})


def _pruned(content: bytes, managed_fields: msgspec.Raw, annotations: bytes) -> bytes:
    """``content`` without managedFields and last-applied annotation.

    :param annotations: those with a last-applied one among them, else b"".
    """
    if len(managed_fields):
        sliced = _without_managed_fields(content, managed_fields)
        if sliced is None:
            return _pruned_by_decoding(content)
        content = sliced
    if annotations:
        sliced = _without_last_applied(content, annotations)
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


def _without_last_applied(content: bytes, annotations: bytes) -> bytes | None:
    start = content.find(_LAST_APPLIED)
    # Escaped or spaced out here, so that the one found is someone else's; or there are several.
    if annotations.find(_LAST_APPLIED) < 0 or content.find(_LAST_APPLIED, start + 1) >= 0:
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
    annotations = meta.get("annotations")
    if isinstance(annotations, dict):
        annotations.pop(LAST_APPLIED, None)
    return msgspec.json.encode(obj)


def type_prefix(api_version: str, kind: str) -> bytes:
    """The ``prefix`` of :func:`view_of_bytes` for one kind."""
    encoded = msgspec.json.encode({"apiVersion": api_version, "kind": kind})
    return encoded[:-1] + b","
