"""What is stored: one version of one object, and the change that made it.

Objects are immutable: a write stores a new one, so that readers, lists and watchers share them and their
encoded bytes without copying.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from informers.objects import Object, ObjectKey, Resource

Kind: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]
StorageKey: TypeAlias = tuple[str, str]
"""Group and plural: all versions of a resource share their objects."""


class Stored:
    """One version of one object. ``obj`` must not be changed by anybody.

    :param revision: the store's revision that made this version; the object's ``resourceVersion``.
    """

    __slots__ = ("_encoded", "_untyped", "_views", "key", "obj", "revision")

    def __init__(self, obj: Object, revision: int, key: ObjectKey) -> None:
        self.obj = obj
        self.revision = revision
        self.key = key
        self._encoded: bytes | None = None
        self._untyped: Stored | None = None
        self._views: dict[str, Stored] | None = None

    @property
    def encoded(self) -> bytes:
        """The object as JSON, encoded once and shared."""
        if self._encoded is None:
            self._encoded = msgspec.json.encode(self.obj)
        return self._encoded

    def untyped(self) -> Stored:
        """The same object without kind and version, as it stands in lists of built-in kinds."""
        if self._untyped is None:
            obj = {key: value for key, value in self.obj.items() if key not in ("apiVersion", "kind")}
            self._untyped = Stored(obj, self.revision, self.key)
            # Both stand first in what the store holds, so the rest need not be encoded again.
            start = msgspec.json.encode({"apiVersion": self.obj["apiVersion"], "kind": self.obj["kind"]})
            self._untyped._encoded = b"{" + self.encoded[len(start) :]
        return self._untyped

    def view(self, api_version: str, convert: Callable[[Object], Object]) -> Stored:
        """The same object as another API version shows it, converted once and shared."""
        if self._views is None:
            self._views = {}
        if api_version not in self._views:
            self._views[api_version] = Stored(typed_first(convert(self.obj)), self.revision, self.key)
        return self._views[api_version]


@dataclass(frozen=True, slots=True)
class Change:
    """One commit.

    :param resource: in its storage version.
    :param current: what the object is now; of a deletion, the last state with the deletion's revision.
    :param previous: what it was before, or ``None`` when it is new.
    """

    resource: Resource
    kind: Kind
    current: Stored
    previous: Stored | None

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return self.current.key

    @property
    def revision(self) -> int:
        """The revision of this commit."""
        return self.current.revision

    @property
    def stored(self) -> Stored | None:
        """What there is to keep: ``None`` after a deletion."""
        return None if self.kind == "DELETED" else self.current


def typed_first(obj: Object) -> Object:
    """The object with kind and version before everything else, as servers encode it."""
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], **obj}
