"""Loops: objects that are written over and over, and by whom, and which fields never come to rest.

Two kinds are worth a person's attention:

* *conflict*: one of our own field managers and another one change a field back and forth;
* *hot loop*: our own writes change an object again and again, and its event causes the next write.

Counting is all that happens in quiet times, in a table whose slots a few objects may share. An object that
changed more than ``limit`` times in ``window`` seconds is followed by a watch of its own for a few versions,
complete with their managed fields, and judged by how they differ and what our writes were caused by. Whoever
shared a slot with a restless one, fast objects of others (a rollout, a lease), fields that others write in
turn (the status of a disruption budget), and what we write because something else changed fast, pass that
judgement unnoticed. So does a loop over two objects, each of which causes the write of the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import msgspec

from informers.cache.informer import Delta, Informer
from informers.client import Client, HttpRequest, HttpResponse, HttpStream, Transport, requests
from informers.clock import Clock
from informers.controller.current import current
from informers.controller.versions import Path, changes, owners, text
from informers.errors import TransportError
from informers.events import EventRecorder
from informers.metrics import Metrics
from informers.objects import Object, ObjectKey, Resource

log = logging.getLogger(__name__)

LIMIT = 15
"""Changes of one object within a window that are nobody's business."""

WINDOW = 300.0
"""Seconds."""

REST = 900.0
"""Seconds during which an object that was judged is not judged again."""

VERSIONS = 8
"""Versions an object is judged by."""

PATIENCE = 120.0
"""Seconds to wait for them; what is quiet for so long has come to rest."""

_SLOTS = 2**15
"""Counters per resource, of a byte each; few enough to stay where the processor finds them at once."""
_LAST_SLOT = _SLOTS - 1

_LEAST = 3
"""Changes of one field that may be called a habit."""

_WAITING = 64
"""Suspected objects to examine; more are ignored."""

_SHOWN = 4
"""Fields a finding names before it counts the rest."""


class Kind(StrEnum):
    """What is wrong: the reason of events."""

    CONFLICT = "FieldConflict"
    HOT_LOOP = "HotLoop"


@dataclass(frozen=True, slots=True)
class Finding:
    """The judgement of one object."""

    kind: Kind
    fields: tuple[str, ...]
    managers: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.fields[:_SHOWN])
        if len(self.fields) > _SHOWN:
            shown += f" and {len(self.fields) - _SHOWN} more"
        if self.kind is Kind.CONFLICT:
            return f"{' and '.join(self.managers)} change {shown} back and forth"
        return f"{', '.join(self.managers) or 'this operator'} never stops changing {shown}"


def judge(versions: Sequence[Object], is_ours: Callable[[str], bool], *, loops: bool) -> Finding | None:
    """What a run of consecutive versions of an object shows, or ``None``. Pure.

    :param is_ours: whether a field manager is one of our own.
    :param loops: whether our writes to it were caused by its own changes.
    """
    values: dict[Path, list[str]] = {}
    managers: dict[Path, set[str]] = {}
    for old, new in pairwise(versions):
        for path, value in changes(old, new).items():
            values.setdefault(path, []).append(value)
            managers.setdefault(path, set()).update(owners(new, path))
    least = max(_LEAST, (len(versions) - 1) // 2)
    restless = {path: seen for path, seen in values.items() if len(seen) >= least}
    # What others do to each other's fields is not ours to report.
    torn = [
        path
        for path, seen in restless.items()
        if _returns(seen) and len(managers[path]) > 1 and any(map(is_ours, managers[path]))
    ]
    if torn:
        return _finding(Kind.CONFLICT, torn, managers)
    # Where nobody is said to own anything, our writes speak for themselves.
    ours = [path for path in restless if all(map(is_ours, managers[path]))]
    return _finding(Kind.HOT_LOOP, ours, managers) if ours and loops else None


def _returns(values: Sequence[str]) -> bool:
    """Whether a field keeps coming back to values it had."""
    return len(values) - len(set(values)) >= max(1, len(values) // 3)


def _finding(kind: Kind, paths: Sequence[Path], managers: dict[Path, set[str]]) -> Finding:
    involved = sorted(set().union(*(managers[path] for path in paths)))
    return Finding(kind, tuple(sorted(map(text, paths))), tuple(involved))


@dataclass(frozen=True, slots=True)
class _Suspect:
    resource: Resource
    key: ObjectKey
    version: str
    uid: str
    count: int
    seconds: float

    @property
    def path(self) -> str:
        return self.resource.path(*self.key)

    @property
    def causes(self) -> tuple[str, str]:
        """How a change of it reaches other controllers that watch it, and its own."""
        kind = self.resource.kind
        return f"{kind} {self.key} changed", f"{kind} changed"


class _Writes:
    """What caused our writes to one object."""

    def __init__(self, suspect: _Suspect) -> None:
        self._path = suspect.path
        self._key = suspect.key
        self._causes = suspect.causes
        self._all = self._own = 0

    def sent(self, request: HttpRequest) -> None:
        """A request has been answered."""
        path = request.path
        if request.method == "GET" or not (path == self._path or path.startswith(f"{self._path}/")):
            return
        reconcile = current()
        self._all += 1
        if reconcile is not None:
            elsewhere, own = self._causes
            known = {elsewhere, own} if reconcile.key == self._key else {elsewhere}
            causes = set(reconcile.causes)
            self._own += bool(causes & known) and causes <= known | {"requeue", "retry"}

    @property
    def loops(self) -> bool:
        """Whether most of them were caused by the object itself."""
        return self._own >= _LEAST and 2 * self._own > self._all


class LoopDetector:
    """Watches informers for objects that do not come to rest; :meth:`run` judges and tells.

    :param own: the field managers of this operator are this name, and what begins with it and a slash.
    :param limit: changes of an object in ``window`` seconds above which it is looked at; under 255.
    """

    def __init__(
        self,
        client: Client,
        *,
        own: str,
        clock: Clock,
        metrics: Metrics,
        limit: int = LIMIT,
        window: float = WINDOW,
    ) -> None:
        self._transport = client.transport
        self._own = own
        self._clock = clock
        self.events: EventRecorder | None = None
        """Records findings as events about the object; without it they are only logged and counted."""
        self._writes: _Writes | None = None
        if not 0 < limit < 255:
            raise ValueError(f"a limit of {limit} does not fit into a byte")
        self._limit = limit
        self._window = window
        self._counts: dict[Informer, bytearray] = {}
        self._began: float | None = None
        self._suspects: deque[_Suspect] = deque()
        self._resting: dict[tuple[Resource, ObjectKey], float] = {}
        self._poke = asyncio.Event()
        self._found = metrics.counter(
            "controller_loops_detected_total",
            "Objects that are written repeatedly, by type: FieldConflict or HotLoop.",
            ("resource", "reason"),
        )

    def observed(self, transport: Transport) -> Transport:
        """The transport our controllers must write through, for hot loops to be told from busy work."""
        return _Observed(transport, self)

    def sent(self, request: HttpRequest) -> None:
        """A request has been answered."""
        if self._writes is not None:
            self._writes.sent(request)

    def watch(self, informer: Informer) -> None:
        """Count the changes of a resource, while :meth:`run` runs."""
        counts = self._counts[informer] = bytearray(_SLOTS)
        resource, limit = informer.resource, self._limit

        def count(delta: Delta) -> None:
            new = delta[1]
            if new is None or delta[0] is None:
                return
            slot = hash(new.metadata.uid) & _LAST_SLOT
            counts[slot] = changed = counts[slot] + 1
            if changed > limit:
                self._suspect(resource, delta, changed)
                counts[slot] = 0

        informer.add_handler(count)

    def forget(self, informer: Informer) -> None:
        """Let go of what was counted of an informer that is being detached."""
        del self._counts[informer]

    async def run(self) -> None:
        """Judge suspects, one at a time, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._turn_windows())
                while True:
                    await self._poke.wait()
                    self._poke.clear()
                    while self._suspects:
                        await self._look_at(self._suspects.popleft())
        finally:
            self._began = None

    async def _turn_windows(self) -> None:
        while True:
            self._began = now = self._clock.monotonic()
            for counts in self._counts.values():
                counts[:] = bytes(_SLOTS)
            self._resting = {one: until for one, until in self._resting.items() if until > now}
            await asyncio.sleep(self._window)

    def _suspect(self, resource: Resource, delta: Delta, count: int) -> None:
        view, now = delta.new, self._clock.monotonic()
        assert view is not None, "only what is there is counted"
        if self._began is None:
            return
        if self._resting.get((resource, view.key), now) > now or len(self._suspects) >= _WAITING:
            return
        self._resting[resource, view.key] = now + REST
        seconds = now - self._began
        self._suspects.append(_Suspect(resource, view.key, view.resource_version, view.uid, count, seconds))
        self._poke.set()

    async def _look_at(self, suspect: _Suspect) -> None:
        self._writes = writes = _Writes(suspect)
        try:
            versions = await self._follow(suspect)
        except (TransportError, ValueError, RecursionError) as error:
            log.debug("%s %s could not be followed: %s", suspect.resource, suspect.key, error)
            return
        finally:
            self._writes = None
        if len(versions) > _LEAST:
            finding = judge(versions, self._is_ours, loops=writes.loops)
            if finding is not None:
                self._tell(suspect, finding, versions[-1])

    def _is_ours(self, manager: str) -> bool:
        return manager == self._own or manager.startswith(f"{self._own}/")

    async def _follow(self, suspect: _Suspect) -> list[Object]:
        """The next versions of an object, as the server sends them."""
        request = requests.watch(
            suspect.resource,
            namespace=suspect.key.namespace,
            field_selector=f"metadata.name={suspect.key.name}",
            resource_version=suspect.version,
            server_timeout=int(PATIENCE),
            read_deadline=PATIENCE,
        )
        versions: list[Object] = []
        try:
            async with asyncio.timeout(PATIENCE), self._transport.stream(request) as stream:
                if stream.status != 200:
                    raise TransportError(f"watch refused with {stream.status}")
                async with aclosing(_events(stream.chunks())) as events:
                    async for event in events:
                        if event.get("type") != "MODIFIED":
                            if event.get("type") != "BOOKMARK":
                                break
                            continue
                        versions.append(event["object"])
                        if len(versions) > VERSIONS:
                            break
        except TimeoutError:
            pass
        return versions

    def _tell(self, suspect: _Suspect, finding: Finding, obj: Object) -> None:
        kind, note = suspect.resource.kind, str(finding)
        self._found.inc(str(suspect.resource), finding.kind.value)
        log.warning(
            "%s %s: %s",
            kind,
            suspect.key,
            note,
            extra={
                "reason": finding.kind.value,
                "fields": ", ".join(finding.fields),
                "managers": ", ".join(finding.managers),
                "changes": suspect.count,
                "seconds": round(suspect.seconds, 1),
            },
        )
        if self.events is not None:
            # The versions of a watch know their kind; no matter which, it is the same object.
            note = f"{note}: {suspect.count} changes in {suspect.seconds:.0f} s"
            self.events.event(obj, type="Warning", reason=finding.kind, action="Write", note=note)


class _Observed:
    """A transport that reports requests to the detector."""

    def __init__(self, transport: Transport, detector: LoopDetector) -> None:
        self._transport = transport
        self._detector = detector

    async def request(self, request: HttpRequest) -> HttpResponse:
        """Send and read the whole answer."""
        response = await self._transport.request(request)
        self._detector.sent(request)
        return response

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        """Send and hand out the body as a stream."""
        return self._transport.stream(request)

    async def close(self) -> None:
        """Close pooled connections."""
        await self._transport.close()


async def _events(chunks: Any) -> Any:
    """The lines of a watch, decoded."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield msgspec.json.decode(line)
