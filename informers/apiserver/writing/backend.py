"""The part of the server that reads, writes and controllers depend on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from informers.apiserver.admission import Admission
from informers.apiserver.builtin.context import Authorizer, Context, always
from informers.apiserver.kinds.registry import Registry, ResourceType
from informers.apiserver.reading.selection import shown
from informers.apiserver.store import Store, Stored
from informers.clock import Clock, timestamp
from informers.objects import Object, ObjectKey, Resource


@dataclass(slots=True)
class Backend:
    """The store, and what decides how it may change.

    :param clock: for timestamps.
    :param rng: for names and uids.
    :param registry: the resources served.
    :param admission: the plugins that are asked.
    :param authorizer: asked by plugins about rights other than those to the request itself.
    """

    clock: Clock
    rng: random.Random
    registry: Registry
    store: Store
    admission: Admission
    authorizer: Authorizer = always
    _now: tuple[int, str] = field(default=(0, ""), init=False, repr=False)

    def now(self) -> str:
        """The time as it stands in objects: RFC 3339, seconds."""
        second = int(self.clock.time())
        if second != self._now[0]:
            self._now = second, timestamp(second)
        return self._now[1]

    def context(
        self,
        type_: ResourceType,
        subresource: str,
        user: Mapping[str, Any] | None = None,
        warnings: list[str] | None = None,
    ) -> Context:
        """What rules may know during a write that begins now.

        :param user: who writes, in the ``UserInfo`` shape; nobody is the server itself, who may do all.
        :param warnings: rules add to it.
        """
        return Context(
            type_,
            self.now(),
            subresource,
            self._stored,
            self._all_stored,
            self.rng,
            user or {},
            self.authorizer if user else always,
            warnings if warnings is not None else [],
        )

    def _stored(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        found = self.store.shelf((group, plural)).get(ObjectKey(namespace, name))
        return found.obj if found is not None else None

    def _all_stored(self, group: str, plural: str) -> Iterator[Object]:
        return (one.obj for one in self.store.shelf((group, plural)).items())

    def find(self, resource: Resource, key: ObjectKey) -> Object | None:
        """An object in the version of ``resource``; ``None`` when it or its resource is not there."""
        type_ = self.registry.of(resource)
        found = self.store.shelf(type_.storage).get(key) if type_ is not None else None
        return shown(type_, found).obj if type_ is not None and found is not None else None

    def all(self, resource: Resource) -> Iterator[Object]:
        """Every object of a resource, in the order of lists."""
        type_ = self.registry.of(resource)
        if type_ is not None:
            for stored in self.store.shelf(type_.storage).items():
                yield shown(type_, stored).obj

    def put(self, type_: ResourceType, obj: Object) -> Stored:
        """Store a finished object. Nothing is checked but what the store's listeners check."""
        return self.store.put(type_.stored_as, type_.storage, obj)

    def remove(self, type_: ResourceType, key: ObjectKey) -> Stored:
        """Take an object out of the store."""
        return self.store.remove(type_.stored_as, type_.storage, key)
