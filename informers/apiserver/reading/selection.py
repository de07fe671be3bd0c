"""The objects that a list, a watch or a deletecollection selects, in the version of the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from informers.apiserver.kinds.conversion import converted
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.reading.selectors import (
    FieldSelector,
    LabelSelector,
    field_selector,
    parse_label_selector,
)
from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.store import Store, Stored
from informers.objects import ObjectKey


@dataclass(frozen=True, slots=True)
class Selection:
    """Objects of one type by namespace, labels and fields.

    :param namespace: "" for all of them.
    """

    type: ResourceType
    namespace: str = ""
    labels: LabelSelector = LabelSelector()  # noqa: RUF009 (frozen)
    fields: FieldSelector = FieldSelector()  # noqa: RUF009 (frozen)

    @property
    def selective(self) -> bool:
        """Whether anything but the namespace decides."""
        return bool(self.labels) or bool(self.fields)

    def matches(self, stored: Stored) -> bool:
        """Whether an object belongs to the selection."""
        if self.namespace and stored.key.namespace != self.namespace:
            return False
        if self.labels and not self.labels.selects(stored.obj):
            return False
        return not self.fields or self.fields.selects(stored.obj)

    def show(self, stored: Stored) -> Stored:
        """An object in the version that was asked for."""
        return shown(self.type, stored)


def shown(type_: ResourceType, stored: Stored) -> Stored:
    """A stored object in the version of ``type_``."""
    if stored.obj["apiVersion"] == type_.resource.api_version:
        return stored
    return stored.view(type_.resource.api_version, lambda obj: converted(obj, type_))


def stored_of(store: Store, info: RequestInfo) -> Stored | None:
    """The object a request is about, as stored."""
    return store.shelf(info.type.storage).get(ObjectKey(info.namespace, info.name))


def listed(type_: ResourceType, items: Sequence[Stored]) -> Sequence[Stored]:
    """Objects as they stand in a list: those of built-in kinds do not repeat kind and version there."""
    return items if type_.custom else [one.untyped() for one in items]


def selection(type_: ResourceType, namespace: str, labels: str, fields: str) -> Selection:
    """Compile selectors.

    :raises StatusError: 400 for a selector that is malformed or asks for a field that cannot be selected by.
    """
    selectable = type_.selectable if type_.custom else None
    return Selection(
        type_, namespace, parse_label_selector(labels), field_selector(fields, type_.resource, selectable)
    )
