"""The informer: a resource, watched, stored, indexed, and delivered to handlers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from informers.cache.budget import Budget
from informers.cache.overlay import Entry, Overlay
from informers.cache.packing import Intake, Packer, PackingOptions, total
from informers.cache.store import Delta, IndexFunction, Size, Store
from informers.client.client import Client
from informers.clock import Clock
from informers.errors import Detached
from informers.objects import Object, ObjectKey, Resource
from informers.views.view import View, view_of_object
from informers.watch.events import Apply, Delete, Event, Init, InitApply
from informers.watch.reflector import Reflector, WatchOptions

__all__ = ["Delta", "Handler", "IndexFunction", "Informer"]

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Delta], None]


class Informer:
    """A cache of one resource and its stream of changes.

    Reads come from memory and never wait. They show the answers of our own writes that were handed to
    :meth:`written`, until the stream has caught up with them. Handlers see the stream only.

    :param namespace: watch one namespace; all by default.
    :param namespaces: watch these, one watch each; instead of ``namespace``.
    :param indexes: index name to a pure function from a view to the values it is filed under.
    :param metadata_only: keep metadata only.
    :param read_deadline: seconds without a byte after which a watch is given up; see
        :class:`informers.watch.reflector.WatchOptions`.
    :param budget: bytes this cache may take, alone or with others under the same budget; see
        :mod:`informers.cache.budget` for what happens beyond. No limit by default.
    :param packing: what is compressed, and when.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str = "",
        namespaces: Sequence[str] = (),
        label_selector: str = "",
        field_selector: str = "",
        indexes: Mapping[str, IndexFunction] | None = None,
        metadata_only: bool = False,
        read_deadline: float = 70.0,
        budget: Budget | None = None,
        packing: PackingOptions | None = None,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.resource = resource
        self.on_missing: Callable[[], None] | None = None
        """Called when the server turns out not to serve the resource; the log says so by default."""
        self._stores: list[Store] = []
        self._budget = budget or Budget()
        self._budget.add(self._bytes)
        self._packer = Packer(self._stores, self._budget, str(resource), rng, packing)
        self._handlers: list[Handler] = []
        self._indexes = indexes = dict(indexes or {})
        self._selective = bool(label_selector or field_selector)
        self._read_deadline = read_deadline
        self._all_synced = asyncio.Event()
        self._detached = asyncio.Event()
        self._scopes: dict[str, _Scope] = {}
        for one in dict.fromkeys(namespaces) or [namespace]:
            options = WatchOptions(
                namespace=one,
                label_selector=label_selector,
                field_selector=field_selector,
                metadata_only=metadata_only,
                read_deadline=read_deadline,
            )
            store, overlay = Store(indexes), Overlay(indexes)
            self._stores.append(store)
            intake = self._packer.intake()
            self._scopes[one] = _Scope(
                client, resource, store, overlay, intake, self._handlers, self._on_synced, options, clock, rng
            )
            self._scopes[one].reflector.on_missing = self._is_missing
        self._every_scope: tuple[_Scope, ...] = tuple(self._scopes.values())

    # -- reading -----------------------------------------------------------------------------------

    def get(self, key: ObjectKey) -> View | None:
        """The object, or ``None`` when it does not exist or is not watched."""
        scopes = self._scopes
        scope = scopes.get(key[0]) or scopes.get("")
        if scope is None:
            return None
        return scope.get(key) if scope.overlaid else scope.store.get(key)

    def list(self, namespace: str | None = None) -> Sequence[View]:
        """Every object, or those of one namespace; in no particular order."""
        found: list[View] = []
        for scope in self._scopes_of(namespace):
            found += scope.all(namespace)
        return found

    def by_index(self, name: str, value: str) -> Sequence[View]:
        """Objects filed under a value of an index.

        :raises KeyError: when there is no such index.
        """
        try:
            return [view for scope in self._scopes.values() for view in scope.by_index(name, value)]
        except KeyError:
            if name in self._indexes:
                raise
            known = ", ".join(sorted(self._indexes)) or "none"
            raise KeyError(f"{self.resource} have no index {name!r}; existing indexes: {known}") from None

    @property
    def revision(self) -> int:
        """Moves whenever what readers see may have changed: equal readings mean equal answers."""
        total = 0
        for scope in self._every_scope:
            if scope.overlaid:
                scope.catch_up()
            total += scope.moves
        # What was read of a detached informer has moved.
        return total if self._every_scope else -1

    @property
    def synced(self) -> bool:
        """Whether the first list is complete, in every namespace."""
        return self._all_synced.is_set() and not self._detached.is_set()

    async def wait_synced(self) -> None:
        """Wait until :attr:`synced`.

        :raises informers.errors.Detached: when it never will be.
        """
        await self._all_synced.wait()
        if self._detached.is_set():
            raise _detached(self.resource)

    def __len__(self) -> int:
        return sum(len(store) for store in self._stores)

    def cache_size(self) -> Size:
        """What the cache holds."""
        return total(self._stores)

    # -- writing -----------------------------------------------------------------------------------

    def written(self, obj: Object) -> None:
        """Show the server's answer to a write to every reader from now on.

        Nothing happens when the stream is past it already. An answer that shows an object which nothing
        holds any more counts as its end. With a selector, what is not in the cache yet waits for the stream.
        """
        if self._detached.is_set():
            # The write was not wrong.
            return
        view = view_of_object(obj)
        scope = self._scope(view.key.namespace) if view is not None else None
        if view is None or scope is None:
            return
        if self._selective and scope.get(view.key) is None:
            # Whether the selector covers it is the server's to say.
            return
        scope.written(view, gone=_is_gone(obj))

    # -- handlers ----------------------------------------------------------------------------------

    def add_handler(self, handler: Handler) -> None:
        """Call ``handler`` with every change, in order, starting with the existing objects (``initial``).

        It is called on the event loop and must not block. What it raises is logged and goes no further.
        """
        for scope in self._scopes.values():
            for view in tuple(scope.store.all()):
                _tell((handler,), Delta(None, view, True))
        self._handlers.append(handler)

    def remove_handler(self, handler: Handler) -> None:
        """Stop calling ``handler``. It gets no deletions for the objects it had: they were not deleted.

        :raises ValueError: when it is not one of the handlers.
        """
        if self._detached.is_set():
            return
        # A delivery in progress goes by position, so the place is kept until it has ended.
        self._handlers[self._handlers.index(handler)] = _deaf
        try:
            asyncio.get_running_loop().call_soon(self._forget_deaf)
        except RuntimeError:
            self._forget_deaf()

    def _forget_deaf(self) -> None:
        self._handlers[:] = [one for one in self._handlers if one is not _deaf]

    # -- life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the cache in step with the server until cancelled or detached."""
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(scope.reflector.run()) for scope in self._every_scope]
            work.append(group.create_task(self._packer.run()))
            await self._detached.wait()
            for task in work:
                task.cancel()

    def detach(self) -> None:
        """End the watch permanently: :meth:`run` returns, and its objects are dropped.

        Handlers hear nothing more, and of no deletions: nothing was deleted. For the same reason reading it
        raises :class:`informers.errors.Detached` from now on. Once is enough, twice does no harm.
        """
        if self._detached.is_set():
            return
        self._detached.set()
        self._all_synced.set()
        self._scopes = _NoScopes(self.resource)
        self._handlers.clear()
        self._budget.remove(self._bytes)
        self._stores.clear()
        self._every_scope = ()

    def _bytes(self) -> int:
        return self.cache_size().total

    def last_contact_age(self) -> float:
        """Seconds since the server was last heard, by the watch that has been waiting longest."""
        return max(scope.reflector.last_contact_age() for scope in self._scopes.values())

    @property
    def problem(self) -> str | None:
        """The last failure of a watch, until the server answers as it should."""
        problems = (scope.reflector.problem for scope in self._scopes.values())
        return next((problem for problem in problems if problem is not None), None)

    @property
    def missing(self) -> bool:
        """Whether the server does not serve the resource, as far as is known."""
        return any(scope.reflector.missing for scope in self._scopes.values())

    @property
    def reported(self) -> bool:
        """Whether the log says already why the cache is not filled, of the server as a whole."""
        waiting = [scope.reflector for scope in self._scopes.values() if not scope.synced]
        return bool(waiting) and all(reflector.reported for reflector in waiting)

    def _is_missing(self) -> bool:
        if self.on_missing is not None:
            self.on_missing()
        return self.on_missing is not None

    def health(self) -> str | None:
        """What is wrong, for people, or ``None``: not synced yet, no data received for longer than a read
        deadline, or more in the cache than its budget allows."""
        for scope in self._scopes.values():
            where = f"{self.resource} in {scope.namespace}" if scope.namespace else str(self.resource)
            problem = scope.reflector.problem
            if not scope.synced:
                return f"{where}: not synced: {problem or 'the first list is in progress'}"
            age = scope.reflector.last_contact_age()
            if age > self._read_deadline:
                return f"{where}: no data received for {age:.0f} s: {problem or 'the watch delivers nothing'}"
        return f"{self.resource}: {self._packer.problem}" if self._packer.problem else None

    def _scope(self, namespace: str) -> _Scope | None:
        return self._scopes.get(namespace) or self._scopes.get("")

    def _scopes_of(self, namespace: str | None) -> Iterable[_Scope]:
        if namespace is None:
            return self._scopes.values()
        scope = self._scope(namespace)
        return (scope,) if scope is not None else ()

    def _on_synced(self) -> None:
        if all(scope.synced for scope in self._scopes.values()):
            self._all_synced.set()


class _NoScopes(dict[str, "_Scope"]):
    """The store of a detached informer: every read raises an error."""

    def __init__(self, resource: Resource) -> None:
        super().__init__()
        self._resource = resource

    def get(self, *_: Any) -> Any:
        raise _detached(self._resource)

    def values(self) -> Any:
        raise _detached(self._resource)


def _detached(resource: Resource) -> Detached:
    return Detached(f"the informer of {resource} was detached: its content is outdated")


def _deaf(_: Delta) -> None:
    """In the place of a handler that was removed."""


class _Scope:
    """One watch: its reflector, its store, and the overlay for its stream of versions."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        store: Store,
        overlay: Overlay,
        intake: Intake,
        handlers: Sequence[Handler],
        on_synced: Callable[[], None],
        options: WatchOptions,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.namespace = options.namespace
        self.synced = False
        self.store = store
        self._intake = intake
        self.reflector = Reflector(
            client.transport,
            resource,
            self._take,
            clock=clock,
            rng=rng,
            options=options,
            relieve=intake.relieve,
        )
        self.moves = 0
        """Counts what may change the answers to readers."""
        self._overlay = overlay
        self.overlaid = self._overlay.entries
        self._handlers = handlers
        self._on_synced = on_synced

    # reading: the store, and over it what was written

    def get(self, key: ObjectKey) -> View | None:
        if self.overlaid:
            self.catch_up()
            entry = self.overlaid.get(key)
            if entry is not None:
                return None if entry.gone else entry.view
        return self.store.get(key)

    def all(self, namespace: str | None) -> Iterable[View]:
        stored = self.store.all() if namespace is None else self.store.of(namespace)
        self.catch_up()
        if not self.overlaid:
            return stored
        # By identity: the keys of all there are would cost a hundred times the list.
        hidden = {id(self.store.get(key)) for key in self.overlaid}
        shown = [entry.view for entry in self.overlaid.values() if not entry.gone]
        return [
            *(view for view in stored if id(view) not in hidden),
            *(view for view in shown if namespace is None or view.namespace == namespace),
        ]

    def by_index(self, name: str, value: str) -> Iterator[View]:
        self.catch_up()
        for key in self.store.by_index(name, value):
            if key not in self.overlaid:
                view = self.store.get(key)
                assert view is not None, "an index names only what is stored"
                yield view
        if self.overlaid:
            yield from self._overlay.by_index(name, value)

    def written(self, view: View, *, gone: bool) -> None:
        self.moves += 1
        self._overlay.add(view, gone=gone, stored=self.store.get(view.key))

    def catch_up(self) -> None:
        """Bookmarks do not come as events; the reflector's version has them."""
        if self._overlay and self.synced:
            before = len(self._overlay.entries)
            self._overlay.caught_up(self.reflector.version)
            self.moves += len(self._overlay.entries) != before

    # writing: events of the reflector

    def _take(self, events: Sequence[Event]) -> None:
        # In the order of their frequency: this is where every change passes.
        put, handlers, overlay, overlaid = self.store.put, self._handlers, self._overlay, self.overlaid
        obsolete: Iterable[Entry] = ()
        latest = None
        # Before and after: nobody may take what is read in between for the state of either.
        self.moves += 1
        for event in events:
            if isinstance(event, Apply):
                view = event.view
                # First the store, then the overlay, then who reads both.
                delta = put(view)
                if overlaid:
                    obsolete = overlay.event(view, deleted=False)
                latest = view
                if delta is not None:
                    old = delta[0]
                    if old is None or old.metadata.uid == view.metadata.uid:
                        for handler in handlers:
                            try:
                                handler(delta)
                            except Exception:
                                _complain(delta)
                    else:
                        self._hand_out(delta)
                if obsolete:
                    self._lay_ghosts(obsolete)
                    obsolete = ()
            elif isinstance(event, InitApply):
                view = event.view
                view.settle()
                if self.store.collect(view):
                    self._intake.came(view)
            elif isinstance(event, Delete):
                latest = event.view
                self._delete(latest)
            elif isinstance(event, Init):
                self.store.begin()
                self._intake.begin()
            else:
                self._replace(event.version)
        self.moves += 1
        if latest is not None:
            overlay.latest = latest.resource_version

    def _delete(self, view: View) -> None:
        if self.store.collecting:
            self.store.forget(view.key)
            return
        delta = self.store.remove(view)
        obsolete = self._overlay.event(view, deleted=True)
        if delta is not None:
            self._hand_out(delta)
        self._lay_ghosts(obsolete)

    def _replace(self, version: str) -> None:
        first, self.synced = not self.synced, True
        stored = {key: view.uid for key in self.overlaid if (view := self.store.get(key)) is not None}
        deltas = self.store.commit(initial=first)
        self._intake.complete()
        obsolete = self._overlay.relisted(version, self.store.get)
        # What was stored under the same uid has its end among the changes.
        obsolete = [entry for entry in obsolete if stored.get(entry.view.key) != entry.view.uid]
        for delta in deltas:
            self._hand_out(delta)
        self._lay_ghosts(obsolete)
        if first:
            self._on_synced()

    def _hand_out(self, delta: Delta) -> None:
        old, new, initial = delta
        if old is not None and new is not None and old.uid != new.uid:
            # Deleted and created again in between; two objects, two deltas.
            _tell(self._handlers, Delta(old, None, initial))
            delta = Delta(None, new, initial)
        _tell(self._handlers, delta)

    def _lay_ghosts(self, obsolete: Iterable[Entry]) -> None:
        """What readers saw, and the stream never showed, is gone: nobody else will say so."""
        for entry in obsolete:
            if not entry.gone and self.store.get(entry.view.key) is None:
                _tell(self._handlers, Delta(entry.view, None))


def _is_gone(obj: Object) -> bool:
    """Whether nothing holds a deleted object any more: neither a finalizer nor a grace period."""
    meta = obj["metadata"]
    return (
        "deletionTimestamp" in meta
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
    )


def _tell(handlers: Iterable[Handler], delta: Delta) -> None:
    for handler in handlers:
        try:
            handler(delta)
        except Exception:
            _complain(delta)


def _complain(delta: Delta) -> None:
    """Log what a handler has just raised."""
    view = delta.new or delta.old
    log.exception("a handler failed on %s", view.key if view is not None else "a change")
