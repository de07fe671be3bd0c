"""Events for people (``events.k8s.io/v1``): recorded at once, sent when possible, dropped when not.

Recording never waits, never fails, and may be done in any thread. The same event about the same object within
six minutes becomes a series: one object whose count rises. What does not fit into the queue, or would flood
one object, is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from informers.client import Client
from informers.clock import Clock, micro_time
from informers.errors import (
    AlreadyExists,
    ApiError,
    Fenced,
    NotFound,
    RuntimeFault,
    ServerError,
    TooManyRequests,
    TransportError,
    log_level,
)
from informers.metrics import Metrics
from informers.objects import Object, ObjectKey, Resource

log = logging.getLogger(__name__)

EVENT = Resource("events.k8s.io", "v1", "events", "Event")

SERIES_QUIET = 360.0
"""Seconds without a repetition after which a series is over."""

SERIES_PERIOD = 60.0
"""Seconds between two writes of a running series; the first repetition is written at once."""

BURST = 25
"""Events of one type about one object that are sent without a pause between them."""

REFILL = 300.0
"""Seconds after which one more event of this type about an object is allowed."""

MEMORY = 4096
"""Series and objects remembered; the ones touched longest ago are forgotten first."""

_SHORTEST_WAIT = 0.01
"""Seconds: what is due within it may wait; sums of floats need not meet exactly."""

_TRIES = 5
_FIRST_PAUSE = 1.0
"""Seconds before the second try; doubles with each."""

_DEFAULT_NAMESPACE = "default"
"""Where events about cluster-scoped objects live."""

_LONGEST_NOTE = 1024
_LONGEST_WORD = 128
"""Bytes: what the API server calls characters."""

_LONGEST_NAME = 230
"""Characters of the object's name in the event's; the rest is for the suffix."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*").fullmatch
"""What an event may be called; objects of some kinds, such as roles, are called otherwise."""

_Identity: TypeAlias = tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Series:
    """One event object: what it says, and how often that has happened."""

    body: Object
    about: _Identity
    count: int = 1
    last: float = 0.0
    """When it last happened, on the monotonic clock."""
    last_time: str = ""
    """The same for people."""
    written: float | None = None
    """When it was last written, on the monotonic clock; ``None`` before the first time."""
    written_count: int = 0
    queued: bool = False


class EventRecorder:
    """Records events; :meth:`run` sends them.

    :param controller: ``reportingController`` and field manager: a name like ``example-operator``.
    :param instance: ``reportingInstance``: which process says so.
    :param capacity: events waiting to be sent; 1000 by default. More are dropped.
    """

    def __init__(
        self,
        client: Client,
        *,
        controller: str,
        instance: str,
        clock: Clock,
        rng: random.Random | None = None,
        metrics: Metrics | None = None,
        capacity: int = 1000,
    ) -> None:
        self._client = client
        self._controller = controller
        self._instance = _cut(instance, _LONGEST_WORD)
        self._clock = clock
        # Names need no secrecy.
        self._rng = rng or random.Random()  # noqa: S311
        self._capacity = capacity
        self._queue: deque[_Series] = deque()
        self._series: OrderedDict[_Identity, _Series] = OrderedDict()
        self._tokens: OrderedDict[_Identity, tuple[float, float]] = OrderedDict()
        self._poke = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None
        """Thread and loop of :meth:`run`."""
        self._metrics = metrics or Metrics(process=False)
        self._dropped = self._metrics.counter(
            "event_recorder_dropped_total", "Events that were not sent, by reason.", ("reason",)
        )
        self._sent = self._metrics.counter("event_recorder_sent_total", "Events and event series written.")

    # -- recording --------------------------------------------------------------------------------

    def event(
        self, obj: Object, *, type: Literal["Normal", "Warning"], reason: str, action: str, note: str
    ) -> None:
        """Record that something happened to ``obj``. Never waits, never raises.

        :param reason: why, in one CamelCase word, for machines.
        :param action: what the reporter did or tried, in one CamelCase word.
        :param note: a sentence for people; cut at 1024 bytes.
        """
        try:
            words = _cut(reason, _LONGEST_WORD), _cut(action, _LONGEST_WORD), _cut(note, _LONGEST_NOTE)
            if self._home is None or self._home[0] == threading.get_ident():
                self._record(_regarding(obj), type, *words)
            else:
                self._home[1].call_soon_threadsafe(self._record, _regarding(obj), type, *words)
        except Exception:
            self._dropped.inc("malformed")
            log.exception("an event could not be recorded", extra={"reason": reason})

    def _record(self, regarding: dict[str, str], type_: str, reason: str, action: str, note: str) -> None:
        now = self._clock.monotonic()
        about = tuple(regarding.get(part, "") for part in ("kind", "namespace", "name", "uid"))
        identity = (*about, type_, reason, action, note)
        series = self._series.get(identity)
        if series is not None and now - series.last < SERIES_QUIET:
            series.count += 1
        else:
            # Warnings have an allowance of their own: a busy roll must not silence them.
            if not self._allowed((*about, type_), now):
                self._dropped.inc("spam")
                return
            series = _Series(self._body(regarding, type_, reason, action, note), about)
            self._series[identity] = series
        series.last, series.last_time = now, micro_time(self._clock.time())
        self._series.move_to_end(identity)
        if (series.written is None or series.written_count == 1) and not self._enqueue(series):
            del self._series[identity]
        # Also when nothing is queued: the moment at which the series is due has come nearer.
        self._poke.set()
        while len(self._series) > MEMORY:
            self._series.popitem(last=False)

    def _allowed(self, about: _Identity, now: float) -> bool:
        """Whether one more event about this object is bearable: a bucket of tokens."""
        tokens, since = self._tokens.get(about, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - since) / REFILL)
        allowed = tokens >= 1.0
        self._tokens[about] = (tokens - 1.0 if allowed else tokens, now)
        self._tokens.move_to_end(about)
        while len(self._tokens) > MEMORY:
            self._tokens.popitem(last=False)
        return allowed

    def _enqueue(self, series: _Series) -> bool:
        if series.queued:
            return True
        if len(self._queue) >= self._capacity:
            self._dropped.inc("overflow")
            return False
        series.queued = True
        self._queue.append(series)
        self._idle.clear()
        return True

    def _body(self, regarding: dict[str, str], type_: str, reason: str, action: str, note: str) -> Object:
        suffix = f"{self._rng.getrandbits(64):016x}"
        name = regarding["name"][:_LONGEST_NAME].rstrip(".-")
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {
                "name": f"{name if _SUBDOMAIN(name) else regarding['kind'].lower()}.{suffix}",
                "namespace": regarding.get("namespace") or _DEFAULT_NAMESPACE,
            },
            "eventTime": micro_time(self._clock.time()),
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": regarding,
            "note": note,
            "type": type_,
        }

    # -- sending ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send until cancelled."""
        self._home = threading.get_ident(), asyncio.get_running_loop()
        while True:
            if not self._queue:
                wait = self._sweep()
                if not self._queue:
                    self._idle.set()
                    self._poke.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait):
                            await self._poke.wait()
                    continue
            series = self._queue.popleft()
            series.queued = False
            await self._send(series)

    async def flush(self, grace: float) -> None:
        """Wait until everything recorded is sent, ``grace`` seconds at most. :meth:`run` must be running."""
        for series in self._series.values():
            if series.count > series.written_count:
                self._enqueue(series)
        self._poke.set()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            log.warning("some events were not sent", extra={"events": len(self._queue)})

    def _sweep(self) -> float | None:
        """Queue the series that are due, forget those that are over; seconds until the next is due."""
        now = self._clock.monotonic()
        next_due: float | None = None
        over = []
        for identity, series in self._series.items():
            if series.written is None or series.queued:
                continue
            unsent = series.count > series.written_count
            due = series.last + SERIES_QUIET
            if unsent:
                due = min(due, series.written + SERIES_PERIOD)
            if due <= now and unsent:
                self._enqueue(series)
            elif due <= now:
                over.append(identity)
            elif next_due is None or due < next_due:
                next_due = due
        for identity in over:
            del self._series[identity]
        return None if next_due is None else max(_SHORTEST_WAIT, next_due - now)

    async def _send(self, series: _Series) -> None:
        pause = _FIRST_PAUSE
        for left in reversed(range(_TRIES)):
            try:
                await self._write(series)
            except (TransportError, ServerError, TooManyRequests) as error:
                if not left:
                    return self._give_up(series, "unreachable", error)
                asked = error.retry_after if isinstance(error, ApiError) else None
                await asyncio.sleep(max(asked or 0.0, pause))
                pause *= 2.0
            except Fenced as error:
                return self._give_up(series, "fenced", error)
            except RuntimeFault as error:
                return self._give_up(series, "refused", error)
            except Exception as error:
                # What cannot even be written down. Others have events as well.
                return self._give_up(series, "malformed", error)
            else:
                self._sent.inc()
                return None
        return None

    def _give_up(self, series: _Series, why: str, error: Exception) -> None:
        self._dropped.inc(why)
        # As if written: repetitions are tried again with the series' own patience.
        series.written, series.written_count = self._clock.monotonic(), series.count
        quiet = why == "fenced" or _namespace_ends(error)
        level = logging.DEBUG if quiet else log_level(error, logging.WARNING)
        log.log(level, "event not sent: %s", error, extra={"reason": series.body["reason"], "why": why})

    async def _write(self, series: _Series) -> None:
        count, seen = series.count, series.last_time
        body = series.body
        rising: dict[str, Any] = {"series": {"count": count, "lastObservedTime": seen}} if count > 1 else {}
        known = series.written is not None
        if not known:
            try:
                await self._client.create(EVENT, body | rising, field_manager=self._controller)
            except AlreadyExists:
                # Nobody else takes such a name: it is there, and the answer to an earlier try was lost.
                known = True
        if known and rising:
            try:
                await self._client.patch(EVENT, ObjectKey.of(body), rising, field_manager=self._controller)
            except NotFound:
                # Events expire. Tell again, under the same name.
                await self._client.create(EVENT, body | rising, field_manager=self._controller)
        series.written, series.written_count = self._clock.monotonic(), count


def _cut(text: str, most: int) -> str:
    """A text of so many bytes at most. What UTF-8 cannot express becomes a question mark."""
    content = text.encode(errors="replace")
    if len(content) > most:
        content = content[: most - len("…".encode())].decode(errors="ignore").encode() + "…".encode()
    return content.decode()


def _namespace_ends(error: Exception) -> bool:
    """Whether there is no place left for events. Nobody's fault, and it happens once per object there."""
    return isinstance(error, NotFound) or (isinstance(error, ApiError) and error.namespace_ends)


def _regarding(obj: Object) -> dict[str, str]:
    metadata = obj["metadata"]
    regarding = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "name": metadata["name"]}
    for field in ("namespace", "uid", "resourceVersion"):
        if metadata.get(field):
            regarding[field] = metadata[field]
    return regarding
