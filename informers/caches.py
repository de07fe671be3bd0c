"""The informers of a process: one per question, shared by whoever asks it, shown in metrics and in health.

May grow and shrink while the process runs: a resource whose definition comes and goes, tenants whose
namespaces do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from informers.access import READ, Access
from informers.cache.budget import Budget
from informers.cache.informer import Informer
from informers.cache.packing import PackingOptions
from informers.client import Client
from informers.clock import Clock
from informers.errors import Detached, MissingResources
from informers.health import Checks
from informers.metrics import Metrics, Samples
from informers.objects import Resource
from informers.views.view import View

log = logging.getLogger(__name__)

_SYNC_PATIENCE = 10.0
"""Seconds between two log lines about caches that are not filled yet."""

_GATHER = 1.0
"""Seconds in which all resources that the server does not serve are noticed, to be named together."""

_SHOWN = 3
"""Caches a log line says more about than that they are not filled."""

DEAD_WATCH = 600.0
"""Seconds without a byte after which an informer that claims to be well counts as dead."""


class Kept(NamedTuple):
    """What an informer keeps: whoever asks for the same shares it.

    :param namespaces: sorted; () for all.
    """

    resource: Resource
    namespaces: tuple[str, ...]
    label_selector: str
    field_selector: str
    metadata_only: bool

    @property
    def labels(self) -> tuple[str, str, str]:
        """As metrics and checks name it: the resource, where, and which of its objects."""
        which = (self.label_selector, self.field_selector, "metadata only" if self.metadata_only else "")
        return str(self.resource), ",".join(self.namespaces), " ".join(part for part in which if part)

    @property
    def check(self) -> str:
        """The name of its checks."""
        return "/".join(part for part in ("informer", *self.labels) if part)


class Caches:
    """Informers by what they keep.

    :param limit: bytes all together should take; 0 is no limit.
    :param live: where they say that a restart would help.
    :param ready: where they say that they do not follow.
    :param remedy: a command that installs definitions which are missing; none by default.
    :param patience: seconds after which :meth:`wait_synced` gives up on resources that the server does not
        serve; 0, the default, never does.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random,
        limit: int,
        live: Checks,
        ready: Checks,
        remedy: str = "",
        patience: float = 0.0,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._budget = Budget(limit)
        self._live = live
        self._ready = ready
        self._known: dict[Kept, Informer] = {}
        self._remedy = remedy
        self._patience = patience
        self._gathering = False
        self._named: list[str] = []
        """Resources the log has named as missing."""
        ready.add("definitions", self.missing)
        self._show(metrics)

    def __iter__(self) -> Iterator[Informer]:
        return iter(self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, informer: object) -> bool:
        return any(one is informer for one in self)

    def items(self) -> Iterable[tuple[Kept, Informer]]:
        """What is kept, and by which informer."""
        return self._known.items()

    def find(self, kept: Kept) -> Informer | None:
        """The informer that keeps this."""
        return self._known.get(kept)

    def add(
        self,
        kept: Kept,
        indexes: Mapping[str, Callable[[View], Iterable[str]]],
        packing: PackingOptions | None = None,
    ) -> Informer:
        """Make the informer that keeps this. Someone has to run it."""
        informer = self._known[kept] = Informer(
            self._client,
            kept.resource,
            namespaces=kept.namespaces,
            label_selector=kept.label_selector,
            field_selector=kept.field_selector,
            metadata_only=kept.metadata_only,
            indexes=indexes,
            budget=self._budget,
            packing=packing,
            clock=self._clock,
            # Jitter needs no secrecy.
            rng=random.Random(self._rng.getrandbits(64)),  # noqa: S311
        )
        informer.on_missing = self._note_missing
        self._ready.add(kept.check, informer.health)
        self._live.add(kept.check, lambda: _dead(informer))
        return informer

    def detach(self, informer: Informer) -> None:
        """End an informer and forget it; its checks and series are gone as well.

        :raises ValueError: when it is not one of these.
        """
        kept = next((kept for kept, one in self._known.items() if one is informer), None)
        if kept is None:
            raise ValueError(
                f"the informer of {informer.resource} does not belong to this manager, or was detached"
            )
        del self._known[kept]
        self._ready.remove(kept.check)
        self._live.remove(kept.check)
        informer.detach()

    def accesses(self) -> list[Access]:
        """What they need to be allowed."""
        return [Access(kept.resource, READ, kept.namespaces) for kept in self._known]

    def namespaces(self) -> set[str]:
        """The namespaces they are confined to; empty when one of them is not."""
        scopes = {kept.namespaces for kept in self._known if kept.resource.namespaced}
        return set() if () in scopes else {namespace for scope in scopes for namespace in scope}

    def missing(self) -> str | None:
        """Which resources the server does not serve, and what to do about it, for people."""
        names = self._missing_names()
        if not names:
            return None
        remedy = f": {self._remedy}" if self._remedy else ""
        return f"the API server does not serve {', '.join(names)}; install the CRDs{remedy}"

    async def wait_synced(self) -> None:
        """Wait until all are filled, and say every ten seconds which are not.

        :raises informers.errors.MissingResources: when the server does not serve some, for too long.
        """
        began = self._clock.monotonic()
        while waiting := [informer for informer in self if not informer.synced]:
            tasks = [asyncio.ensure_future(_settled(informer)) for informer in waiting]
            try:
                await asyncio.wait(tasks, timeout=_SYNC_PATIENCE)
            finally:
                for task in tasks:
                    task.cancel()
            late = [informer for informer in waiting if informer in self and not informer.synced]
            # What is wrong with the server as a whole, the log says already.
            _complain([informer for informer in late if not informer.reported])
            missing = self.missing()
            if missing and 0 < self._patience <= self._clock.monotonic() - began:
                raise MissingResources(missing)
        log.info("caches are synced", extra={"informers": len(self)})

    def _missing_names(self) -> list[str]:
        return sorted({str(kept.resource) for kept, informer in self._known.items() if informer.missing})

    def _note_missing(self) -> None:
        if not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_later(_GATHER, self._name_missing)

    def _name_missing(self) -> None:
        self._gathering = False
        names, missing = self._missing_names(), self.missing()
        if missing and names != self._named:
            log.error("%s", missing)
        self._named = names

    def _show(self, metrics: Metrics) -> None:
        def read(value: Callable[[Informer], float]) -> Callable[[], Samples]:
            return lambda: [(kept.labels, float(value(informer))) for kept, informer in self._known.items()]

        labels = ("resource", "namespaces", "selector")
        metrics.sampled(
            "informer_synced", "1 if the cache is synced.", labels, read(lambda one: float(one.synced))
        )
        metrics.sampled("informer_objects", "Objects in the cache.", labels, read(len))
        metrics.sampled(
            "cache_bytes",
            "Bytes of cached objects: raw bodies, compressed bodies, and an estimate of headers.",
            (*labels, "state"),
            lambda: [
                ((*kept.labels, state), float(count))
                for kept, informer in self._known.items()
                for state, count in informer.cache_size().bytes_by_state()
            ],
        )
        if self._budget.limit:
            metrics.gauge("cache_limit_bytes", "Limit of the memory of all caches in bytes.").set(
                self._budget.limit
            )
        metrics.sampled(
            "informer_last_contact_seconds",
            "Seconds since the API server last sent data.",
            labels,
            read(lambda one: one.last_contact_age()),
        )


def kept(
    resource: Resource,
    *,
    namespaces: Sequence[str] = (),
    label_selector: str = "",
    field_selector: str = "",
    metadata_only: bool = False,
) -> Kept:
    """What an informer with these would keep.

    :param namespaces: ignored for cluster-scoped resources.
    :raises TypeError: for one namespace in place of several.
    """
    if isinstance(namespaces, str):
        raise TypeError(f"namespaces must be a list of names, such as [{namespaces!r}]")
    scope = tuple(sorted(set(namespaces))) if resource.namespaced else ()
    return Kept(resource, scope, label_selector, field_selector, metadata_only)


def _complain(late: Sequence[Informer]) -> None:
    if late:
        shown = "; ".join(str(informer.health()) for informer in late[:_SHOWN])
        more = f"; and {len(late) - _SHOWN} more" if len(late) > _SHOWN else ""
        log.warning("caches are not synced yet: %s%s", shown, more)


async def _settled(informer: Informer) -> None:
    """Until it is filled, or detached meanwhile."""
    with suppress(Detached):
        await informer.wait_synced()


def _dead(informer: Informer) -> str | None:
    """An informer that knows of a problem is alive, and a restart would not solve it. One that knows of none
    but receives no data for longer than any watch can be silent, has stopped working."""
    if informer.problem is not None:
        return None
    silent = informer.last_contact_age()
    return f"no data received for {silent:.0f} s, for an unknown reason" if silent > DEAD_WATCH else None
