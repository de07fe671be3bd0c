"""The stub: lists in pages and as streams, watches, server-side apply, and a door for the benchmark.

The door: ``POST /bench/objects`` sets how many objects there are and whether lists may stream, and drops open
watches; ``POST /bench/events`` starts a run of events; ``GET /bench/counts`` counts the requests of clients.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import Counter
from typing import Any

from benchmarks.stub.http import Connection, Request, chunk
from benchmarks.stub.objects import FIRST_VERSION, Kind, kinds

_BATCH = 64
"""Events that go out in one write when they go out flat out; each is a chunk of its own."""
_SPIN = 0.0015
"""Seconds before an event is due in which the stub does not sleep: timers are a millisecond coarse."""
_INITIAL_END = "k8s.io/initial-events-end"


class Stub:
    """Answers as an API server would, from templates."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(kinds(), 0)
        self._streaming_lists = True
        self._version = FIRST_VERSION
        self._watches: dict[str, set[Connection]] = {plural: set() for plural in kinds()}
        self._requests: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()

    async def serve(self, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen on the loopback address; returns the port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._connect, "127.0.0.1", port, ssl=context, backlog=64)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop serving, and drop every connection."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for connection in self._connections:
            connection.abort()
        for server in self._servers:
            server.close()
            await server.wait_closed()

    def _connect(self) -> Connection:
        self._connections = {one for one in self._connections if not one.closed}
        connection = Connection(self._respond)
        self._connections.add(connection)
        return connection

    # -- routing -----------------------------------------------------------------------------------

    def _respond(self, connection: Connection, request: Request) -> None:
        if request.path.startswith("/bench/"):
            connection.answer(json.dumps(self._control(request)).encode())
            return
        document = discovery(request.path)
        if document is not None:
            connection.answer(json.dumps(document).encode())
            return
        for kind in kinds().values():
            if request.path.startswith(kind.root + "/"):
                rest = request.path.removeprefix(kind.root + "/").split("/")
                name = _object_name(kind, rest)
                if name is not None:
                    self._resource(connection, request, kind, name)
                    return
        if request.method == "GET":
            self._requests["empty"] += 1
            self._empty(connection, request)
        else:
            self._requests["unknown"] += 1
            connection.answer(_status(404, "NotFound", f"nothing at {request.path}"), 404)

    def _empty(self, connection: Connection, request: Request) -> None:
        """A collection without objects: whatever else an operator watches."""
        if request.query.get("watch") in ("true", "1"):
            connection.begin_stream()
            connection.send(chunk(_bookmark("Nothing", "bench/v1", self._version)))
        else:
            empty = b'{"kind":"NothingList","apiVersion":"bench/v1","metadata":{"resourceVersion":"%b"},'
            connection.answer(empty % (b"%d" % self._version) + b'"items":[]}')

    def _resource(self, connection: Connection, request: Request, kind: Kind, name: str) -> None:
        if request.query.get("watch") in ("true", "1"):
            if "sendInitialEvents" in request.query and not self._streaming_lists:
                connection.answer(_status(422, "Invalid", "sendInitialEvents is not supported"), 422)
                return
            self._requests["watch"] += 1
            self._spawn(self._watch(connection, request, kind))
            return
        self._requests[request.method.lower() if name else "list"] += 1
        if not name:
            connection.answer(self._page(kind, request.query))
        elif request.method in ("GET", "PATCH", "PUT"):
            if request.method != "GET":
                self._version += 1
            index = int(name.rpartition("-")[2])
            connection.answer(kind.render(index, self._version))
        else:
            connection.answer(_status(405, "MethodNotAllowed", "not here"), 405)

    # -- lists and watches -------------------------------------------------------------------------

    def _page(self, kind: Kind, query: dict[str, str]) -> bytes:
        count = self._counts[kind.plural]
        first = int(query.get("continue") or 0)
        limit = int(query.get("limit") or 0) or count
        last = min(first + limit, count)
        items = b",".join(
            kind.item(kind.render(index, FIRST_VERSION + index)) for index in range(first, last)
        )
        token = f'"continue":"{last}","remainingItemCount":{count - last},' if last < count else ""
        head = f'{{"apiVersion":"{kind.api_version}","kind":"{kind.kind}List","metadata":{{{token}'
        return head.encode() + b'"resourceVersion":"%d"},"items":[%b]}\n' % (self._version, items)

    async def _watch(self, connection: Connection, request: Request, kind: Kind) -> None:
        connection.begin_stream()
        if request.query.get("sendInitialEvents") == "true":
            for first in range(0, self._counts[kind.plural], _BATCH):
                last = min(first + _BATCH, self._counts[kind.plural])
                connection.send(
                    b"".join(
                        chunk(b'{"type":"ADDED","object":%b}\n' % kind.render(index, FIRST_VERSION + index))
                        for index in range(first, last)
                    )
                )
                await connection.drained()
            connection.send(chunk(_bookmark(kind.kind, kind.api_version, self._version)))
        self._watches[kind.plural].add(connection)

    # -- the benchmark's own door ------------------------------------------------------------------

    def _control(self, request: Request) -> Any:
        if request.path == "/bench/counts":
            return dict(self._requests)
        wanted = json.loads(request.body)
        if request.path == "/bench/objects":
            self._set_objects(wanted)
        else:
            self._spawn(self._emit(kinds()["etlpipelines"], wanted["count"], wanted.get("rate", 0)))
        return {}

    def _set_objects(self, wanted: dict[str, int]) -> None:
        counts = {plural: wanted.get(plural, 0) for plural in kinds()}
        self._streaming_lists = bool(wanted.get("streaming", True))
        for task in self._running:
            task.cancel()
        for connections in self._watches.values():
            for connection in connections:
                if not connection.closed:
                    connection.end_stream()
            connections.clear()
        self._requests.clear()
        self._counts = counts
        self._version = FIRST_VERSION + max(self._counts.values())

    async def _emit(self, kind: Kind, count: int, rate: float) -> None:
        if rate > 0:
            await self._emit_paced(kind, count, rate)
            return
        # Rendered beforehand: on the way out the stub must be faster than any client.
        batches = []
        for first in range(1, count + 1, _BATCH):
            last = min(first + _BATCH, count + 1)
            batches.append(b"".join(self._event(kind, number) for number in range(first, last)))
            await asyncio.sleep(0)
        for batch in batches:
            for connection in list(self._watches[kind.plural]):
                connection.send(batch)
                await connection.drained()

    async def _emit_paced(self, kind: Kind, count: int, rate: float) -> None:
        begin = time.monotonic() + 0.05
        for number in range(1, count + 1):
            due = begin + (number - 1) / rate
            await _until(due)
            event = self._event(kind, number, time.monotonic_ns())
            for connection in self._watches[kind.plural]:
                connection.send(event)

    def _event(self, kind: Kind, number: int, sent: int = 0) -> bytes:
        self._version += 1
        index = (number - 1) % self._counts[kind.plural]
        rendered = kind.render(index, self._version, sequence=number, sent=sent)
        return chunk(b'{"type":"MODIFIED","object":%b}\n' % rendered)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _bookmark(kind: str, api_version: str, version: int) -> bytes:
    """The end of a streamed list."""
    meta = {"resourceVersion": str(version), "annotations": {_INITIAL_END: "true"}}
    obj = {"kind": kind, "apiVersion": api_version, "metadata": meta}
    event = {"type": "BOOKMARK", "object": obj}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


async def _until(due: float) -> None:
    # Turning the loop instead of waiting, at the end: see _SPIN.
    while (ahead := due - time.monotonic()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(max(0.0, ahead - _SPIN))


def _object_name(kind: Kind, path: list[str]) -> str | None:
    """The name in a path below the group version, "" for a collection, ``None`` for another resource."""
    if path[0] == "namespaces" and len(path) > 2:
        path = path[2:]
    if path[0] != kind.plural:
        return None
    return path[1] if len(path) > 1 else ""


def _status(code: int, reason: str, message: str) -> bytes:
    status = {"apiVersion": "v1", "kind": "Status", "status": "Failure"}
    return json.dumps({**status, "code": code, "reason": reason, "message": message}).encode()


def discovery(path: str) -> Any:
    """The discovery document at a path, or ``None``: what clients need to find the two resources."""
    if path == "/version":
        return {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/api/v1":
        # kopf does not begin before it has seen that there are namespaces.
        namespaces = {"name": "namespaces", "singularName": "namespace", "namespaced": False}
        namespaces |= {"kind": "Namespace", "verbs": ["get", "list", "watch"]}
        return {"kind": "APIResourceList", "groupVersion": "v1", "resources": [namespaces]}
    if path == "/apis":
        groups = []
        for kind in {kind.root: kind for kind in kinds().values()}.values():
            version = {"groupVersion": kind.api_version, "version": kind.api_version.rpartition("/")[2]}
            name = kind.api_version.partition("/")[0]
            groups.append({"name": name, "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    found = [kind for kind in kinds().values() if kind.root == path]
    if not found:
        return None
    resources = []
    for kind in found:
        resource = {"name": kind.plural, "singularName": kind.kind.lower(), "namespaced": True}
        resources.append(
            {**resource, "kind": kind.kind, "verbs": ["get", "list", "watch", "patch", "update"]}
        )
    group_version = found[0].api_version
    document = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version}
    return {**document, "resources": resources}
