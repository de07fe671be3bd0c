"""The registry of the resources that are served, and the properties of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from informers.apiserver.schema import Schema
from informers.apiserver.store import StorageKey
from informers.objects import Resource

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a scalable kind keeps what ``Scale`` shows, as dotted paths.

    :param selector: "" when there is none.
    """

    replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    selector: str = ".spec.selector"


@dataclass(frozen=True, slots=True, eq=False)
class ResourceType:
    """One version of one resource.

    :param columns: ``additionalPrinterColumns`` of a custom resource.
    :param custom: comes from a CustomResourceDefinition.
    :param schema: of this version; ``None`` accepts anything.
    :param storage: group and plural of the resource whose objects these are; Events of both groups share.
    :param storage_version: the version objects are stored in.
    :param generation: whether ``metadata.generation`` counts changes.
    :param create_on_update: whether PUT creates what is not there.
    :param unconditional: whether PUT may come without a resourceVersion.
    :param returns_deleted: whether DELETE answers with the object instead of a ``Status``.
    :param selectable: ``selectableFields`` of a custom resource, such as ``spec.color``.
    :param terminating: its definition is being deleted: nothing new is accepted.
    """

    resource: Resource
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    has_status: bool = False
    scale: ScalePaths | None = None
    columns: Sequence[Mapping[str, Any]] = ()
    custom: bool = False
    schema: Schema | None = None
    storage: StorageKey = ("", "")
    storage_version: Resource | None = None
    generation: bool = False
    create_on_update: bool = False
    unconditional: bool = True
    returns_deleted: bool = False
    selectable: tuple[str, ...] = ()
    subresources: frozenset[str] = frozenset()
    terminating: bool = False

    @property
    def has_scale(self) -> bool:
        """Whether there is a ``scale`` subresource."""
        return self.scale is not None

    @property
    def stored_as(self) -> Resource:
        """The resource in its storage version."""
        return self.storage_version or self.resource


class Registry:
    """The resources served at this moment.

    ``revision`` changes whenever they do, and ``followers`` are called.
    """

    def __init__(self) -> None:
        self.revision = 1
        self.followers: list[Callable[[], None]] = []
        self._types: dict[tuple[str, str, str], ResourceType] = {}
        self._kinds: dict[tuple[str, str], ResourceType] = {}

    def types(self) -> Iterator[ResourceType]:
        """Every version of every resource."""
        yield from tuple(self._types.values())

    def storages(self) -> Iterator[ResourceType]:
        """Every resource once, in its storage version."""
        found: dict[StorageKey, ResourceType] = {}
        for one in self._types.values():
            if one.storage not in found or one.stored_as == one.resource:
                found[one.storage] = one
        yield from found.values()

    def find(self, group: str, version: str, plural: str) -> ResourceType | None:
        """The resource at a path, or ``None`` when it is not served."""
        return self._types.get((group, version, plural))

    def of(self, resource: Resource) -> ResourceType | None:
        """The type of a resource, or ``None`` when it is not served."""
        return self.find(resource.group, resource.version, resource.plural)

    def of_kind(self, api_version: str, kind: str) -> ResourceType | None:
        """The resource an object belongs to, or ``None`` when it is not served."""
        return self._kinds.get((api_version, kind))

    def replace(self, storage: StorageKey, types: Iterable[ResourceType]) -> None:
        """Serve these versions of a resource and no others."""
        for old in [one for one in self._types.values() if one.storage == storage]:
            resource = old.resource
            del self._types[resource.group, resource.version, resource.plural]
            del self._kinds[resource.api_version, resource.kind]
        for new in types:
            resource = new.resource
            self._types[resource.group, resource.version, resource.plural] = new
            self._kinds[resource.api_version, resource.kind] = new
        self.revision += 1
        for follower in self.followers:
            follower()
