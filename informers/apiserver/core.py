"""The API server without its sockets: store, rules and the controllers that belong to it.

Everything runs on one event loop. A request is a plain function call
(:func:`informers.apiserver.rest.handle`) and never waits; the controllers of a real server run in
:meth:`ApiServer.run`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator

from informers.apiserver.admission import Admission
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import MAX_STORED
from informers.apiserver.faults import Faults
from informers.apiserver.kinds.definitions import condition_is_true
from informers.apiserver.kinds.registry import Registry
from informers.apiserver.kinds.table import DEFINITION, builtin_types
from informers.apiserver.loops.definitions import DefinitionController
from informers.apiserver.loops.expiry import EventExpiry
from informers.apiserver.loops.garbage import GarbageCollector
from informers.apiserver.loops.namespaces import NamespaceController
from informers.apiserver.reading.watching import Flow
from informers.apiserver.requests.parameters import DeleteOptions, Propagation
from informers.apiserver.store import HISTORY, Change, Store
from informers.apiserver.write_log import WriteLog
from informers.apiserver.writing import loopback
from informers.apiserver.writing.backend import Backend
from informers.clock import Clock
from informers.objects import Object, ObjectKey, Resource


def _check_size(change: Change) -> None:
    if change.stored is not None and len(change.current.encoded) > MAX_STORED:
        raise StatusError(500, "", "etcdserver: request is too large")


class ApiServer:
    """One API server.

    :param clock: for timestamps; waiting goes through the running loop.
    :param rng: for names, uids and delays; pass a seeded one for runs that can be repeated.
    :param history: events remembered per resource; watches from before them get 410.
    :param admission: the plugins that are asked. Without the one for service accounts by default: it refuses
        pods until someone has made their namespace's account ``default``, and nothing here does.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        rng: random.Random | None = None,
        history: int = HISTORY,
        admission: Admission | None = None,
    ) -> None:
        self.clock = clock
        self.rng = rng or random.Random()  # noqa: S311 (names and delays, nothing secret)
        self.registry = Registry()
        self.store = Store(history=history)
        self.store.listeners.append(_check_size)
        self.backend = Backend(
            clock, self.rng, self.registry, self.store, admission or Admission(disabled=("ServiceAccount",))
        )
        """What reads and writes need of this server."""
        self.flow = Flow()
        self.faults = Faults(self.rng)
        self.journal = WriteLog()
        self._definitions = DefinitionController(self.backend, rng=self.rng)
        for (group, plural), types in builtin_types().items():
            self.registry.replace((group, plural), types)

    async def run(self) -> None:
        """Establish definitions, collect garbage, empty namespaces, expire events. Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._definitions.run(), name="definitions")
            tasks.create_task(GarbageCollector(self.backend, rng=self.rng).run(), name="garbage collector")
            tasks.create_task(NamespaceController(self.backend, rng=self.rng).run(), name="namespaces")
            tasks.create_task(EventExpiry(self.backend).run(), name="event expiry")

    @property
    def listeners(self) -> list[Callable[[Change], None]]:
        """Called with every change before it becomes visible; what they raise fails the write."""
        return self.store.listeners

    def subscribe(self, follower: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``follower`` with every change once it is visible; the result ends that."""
        return self.store.subscribe(follower)

    def now(self) -> str:
        """The time as it stands in objects: RFC 3339, seconds."""
        return self.backend.now()

    def find(self, resource: Resource, key: ObjectKey) -> Object | None:
        """An object in the version of ``resource``; ``None`` when it or its resource is not there."""
        return self.backend.find(resource, key)

    def all(self, resource: Resource) -> Iterator[Object]:
        """Every object of a resource, in the order of lists."""
        return self.backend.all(resource)

    def revision_of(self, *plurals: str) -> int:
        """The revision of the last change to any resource with one of these plurals."""
        shelves = self.store.shelves()
        return max((shelf.revision for storage, shelf in shelves if storage[1] in plurals), default=0)

    def create(self, obj: Object) -> Object:
        """Create an object through all rules, as a client with every right would.

        :raises StatusError: what the client would see; 404 for a kind that is not served, 405 without a
            namespace where there must be one.
        """
        return loopback.create(self.backend, obj)

    def edit(
        self,
        resource: Resource,
        key: ObjectKey,
        change: Callable[[Object], Object],
        *,
        subresource: str = "",
        user: str = loopback.SYSTEM,
        manager: str = "kube-controller-manager",
    ) -> Object:
        """Read, change and update an object, as a controller with every right would.

        :param change: gets a copy it may work on, and returns what to write.
        :raises StatusError: what the client would see; 404 when it is not there.
        """
        return loopback.edit(
            self.backend, resource, key, change, subresource=subresource, user=user, manager=manager
        )

    def delete(
        self,
        resource: Resource,
        key: ObjectKey,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation | None = None,
        grace_period: int | None = None,
    ) -> None:
        """Delete an object, or begin to.

        :raises StatusError: 404 when it is not there; 409 when a precondition does not hold.
        """
        options = DeleteOptions(False, grace_period, propagation, uid, resource_version)
        loopback.delete(self.backend, resource, key, options)

    def restore(self, objects: Iterable[Object], revision: int) -> None:
        """Take objects back as they were stored; before anything else happens to this server.

        :param objects: complete, with their ``resourceVersion``; those of kinds nobody defines any more are
            left out.
        :param revision: the highest one ever given.
        """
        self.store.revision = self.store.floor = max(revision, self.store.revision)
        waiting = []
        for obj in objects:
            if (obj["apiVersion"], obj["kind"]) == (DEFINITION.api_version, DEFINITION.kind):
                self._put_back(obj)
                # Served from then on, and so may have objects, before it is established.
                if condition_is_true(obj, "NamesAccepted"):
                    self._definitions.serve(obj)
            else:
                waiting.append(obj)
        for obj in waiting:
            self._put_back(obj)

    def _put_back(self, obj: Object) -> None:
        type_ = self.registry.of_kind(obj["apiVersion"], obj["kind"])
        if type_ is not None:
            self.store.put_back(type_.storage, obj)
