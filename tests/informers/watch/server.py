"""A small API server for watch tests: one resource, a log of versions, and faults on request.

It is a :class:`informers.client.transport.Transport` without sockets, for virtual time. What it does not do
(validation, several resources, subresources) the simulated API server does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from informers.client.transport import HttpRequest, HttpResponse, HttpStream
from informers.errors import TransportError
from informers.objects import Object, ObjectKey, Resource

PODS = Resource("", "v1", "pods", "Pod")
BOOKMARK_EVERY = 60.0

Fault: TypeAlias = Callable[[HttpRequest], HttpResponse | TransportError | None]


def status(code: int, reason: str = "", message: str = "", **details: Any) -> HttpResponse:
    """A refusal, as the API server words it."""
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return HttpResponse(code, json.dumps(body).encode())


REFUSED = TransportError("connection refused")


@dataclass
class Seen:
    """A request, and the virtual time it came."""

    at: float
    request: HttpRequest

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query)

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


@dataclass(eq=False)
class _Open:
    cursor: int
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    marked: bool = False
    broken: bool = False
    ended: bool = False


class Server:
    """Objects by key, and what happened to them since the last compaction."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Object] = {}
        self.version = 100
        self.compacted = 0
        self.streaming_lists = True
        self.ignores_streaming = False
        self.silent = False
        self.instant_end = False
        self.released: int | None = None
        """Streams show nothing newer than this version; everything when ``None``."""
        self.seen: list[Seen] = []
        self.fault: Fault | None = None
        self._log: list[tuple[int, str, Object]] = []
        self._streams: list[_Open] = []
        self._pages: dict[str, tuple[list[Object], int]] = {}

    # -- what tests do -----------------------------------------------------------------------------

    def put(self, name: str, /, namespace: str = "a", **fields: Any) -> Object:
        """Create or change an object."""
        key = ObjectKey(namespace, name)
        old = self.objects.get(key)
        self.version += 1
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": old["metadata"]["uid"] if old else f"uid-{self.version}",
            "resourceVersion": str(self.version),
            "managedFields": [{"manager": "test", "fieldsV1": {"f:spec": {}}}],
            **fields.pop("metadata", {}),
        }
        obj: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, **fields}
        self.objects[key] = obj
        self._happen("MODIFIED" if old else "ADDED", obj)
        return obj

    def remove(self, name: str, /, namespace: str = "a") -> None:
        """Delete an object."""
        obj = self.objects.pop(ObjectKey(namespace, name))
        self.version += 1
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self._happen("DELETED", last)

    def compact(self) -> None:
        """Forget the past: every older version is 410 from now on."""
        self.compacted = self.version
        self._log.clear()

    def release(self, version: int | None) -> None:
        """Let streams go on to a version."""
        self.released = version
        for stream in self._streams:
            stream.changed.set()

    def bookmark(self) -> None:
        """Send a bookmark on every stream."""
        for stream in self._streams:
            stream.marked = True
            stream.changed.set()

    def cut(self) -> None:
        """Break every open stream."""
        for stream in self._streams:
            stream.broken = True
            stream.changed.set()

    def end(self) -> None:
        """End every open stream in good order."""
        for stream in self._streams:
            stream.ended = True
            stream.changed.set()

    @contextmanager
    def failing(self, fault: HttpResponse | TransportError) -> Iterator[None]:
        """Every request meets this fault."""
        self.fault = lambda _: fault
        try:
            yield
        finally:
            self.fault = None

    def lists(self) -> list[Seen]:
        """List requests, and streaming lists."""
        return [one for one in self.seen if not one.is_watch or "sendInitialEvents" in one.query]

    def watches(self) -> list[Seen]:
        """Plain watches."""
        return [one for one in self.seen if one.is_watch and "sendInitialEvents" not in one.query]

    # -- the transport -----------------------------------------------------------------------------

    async def request(self, request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0.001)
        if (fault := self._fault(request)) is not None:
            return fault
        query = dict(request.query)
        if token := query.get("continue"):
            if token not in self._pages or self._pages[token][1] < self.compacted:
                return status(410, "Expired")
            items, version = self._pages.pop(token)
        else:
            if (refused := self._refuse_version(query.get("resourceVersion", ""))) is not None:
                return refused
            items, version = self._select(request), self.version
        limit = int(query.get("limit", "0"))
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            token = f"{version}-{len(items)}-{len(self.seen)}"
            self._pages[token] = items[limit:], version
            items, meta["continue"] = items[:limit], token
        # Items of built-in kinds come without their type.
        bare = [{k: v for k, v in item.items() if k not in ("apiVersion", "kind")} for item in items]
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": bare}
        return HttpResponse(200, json.dumps(body, separators=(",", ":")).encode())

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        return self._stream(request)

    async def close(self) -> None:
        self.cut()

    @asynccontextmanager
    async def _stream(self, request: HttpRequest) -> AsyncIterator[HttpStream]:
        await asyncio.sleep(0.001)
        query = dict(request.query)
        refusal = self._fault(request)
        initial = "sendInitialEvents" in query
        if refusal is None and initial and not (self.streaming_lists or self.ignores_streaming):
            refusal = status(422, "Invalid", "sendInitialEvents is forbidden for watch")
        since = query.get("resourceVersion", "")
        if refusal is None and not initial and since and int(since) < self.compacted:
            refusal = status(410, "Expired", "too old resource version")
        if refusal is None and initial:
            refusal = self._refuse_version(since)
        if refusal is not None:
            yield _Refusal(refusal)
            return
        opened = _Open(self.version if initial or not since else int(since))
        self._streams.append(opened)
        try:
            yield _Stream(self._chunks(opened, request, initial, float(query["timeoutSeconds"])))
        finally:
            self._streams.remove(opened)

    async def _chunks(
        self, opened: _Open, request: HttpRequest, initial: bool, lifetime: float
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        until = loop.time() + lifetime
        if self.instant_end:
            return
        if initial:
            version = self.version
            for obj in self._select(request):
                yield _line("ADDED", obj)
            if not self.ignores_streaming:
                yield _bookmark(version, {"k8s.io/initial-events-end": "true"})
        while True:
            opened.changed.clear()
            if opened.broken:
                raise TransportError("connection reset")
            if opened.ended or loop.time() >= until:
                return
            if not self.silent:
                if opened.cursor < self.compacted:
                    # What this stream has yet to show is forgotten.
                    yield _line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired"})
                    return
                lines = self._news(opened, request)
                if opened.marked:
                    opened.marked = False
                    lines.append(_bookmark(opened.cursor))
                if lines:
                    yield b"".join(lines)
                    continue
            try:
                async with asyncio.timeout(min(BOOKMARK_EVERY, until - loop.time())):
                    await opened.changed.wait()
            except TimeoutError:
                if not self.silent and loop.time() < until:
                    yield _bookmark(opened.cursor)

    def _news(self, opened: _Open, request: HttpRequest) -> list[bytes]:
        limit = self.version if self.released is None else self.released
        lines = [
            _line(kind, obj)
            for version, kind, obj in self._log
            if opened.cursor < version <= limit and _covers(request, obj)
        ]
        opened.cursor = max(opened.cursor, limit)
        return lines

    def _fault(self, request: HttpRequest) -> HttpResponse | None:
        self.seen.append(Seen(asyncio.get_running_loop().time(), request))
        fault = self.fault(request) if self.fault is not None else None
        if isinstance(fault, TransportError):
            raise fault
        return fault

    def _refuse_version(self, version: str) -> HttpResponse | None:
        if version and int(version) > self.version:
            causes = [{"reason": "ResourceVersionTooLarge"}]
            return status(504, "Timeout", "Too large resource version", causes=causes)
        return None

    def _select(self, request: HttpRequest) -> list[Object]:
        return [obj for obj in self.objects.values() if _covers(request, obj)]

    def _happen(self, kind: str, obj: Object) -> None:
        self._log.append((self.version, kind, obj))
        for stream in self._streams:
            stream.changed.set()


class _Refusal:
    def __init__(self, response: HttpResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self._response.body

    async def read(self) -> bytes:
        return self._response.body


class _Stream:
    status = 200

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self.headers: Mapping[str, str] = {}
        self._chunks = chunks

    def chunks(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self._chunks])


def _covers(request: HttpRequest, obj: Object) -> bool:
    parts = request.path.split("/")
    return "namespaces" not in parts or parts[parts.index("namespaces") + 1] == obj["metadata"]["namespace"]


def _line(kind: str, obj: Object) -> bytes:
    return json.dumps({"type": kind, "object": obj}, separators=(",", ":")).encode() + b"\n"


def _bookmark(version: int, annotations: dict[str, str] | None = None) -> bytes:
    meta: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
    if annotations:
        meta["annotations"] = annotations
    return _line("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": meta})
