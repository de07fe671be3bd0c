"""``python -m benchmarks.servers``: the sandbox's API server beside a real kube-apiserver.

Both are started the same way, one after the other, and asked the same over HTTPS by a client that does as
little as HTTP allows, so that it is the servers that are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from benchmarks.processes import ROOT, MeasurementError
from e2e.realserver import Unavailable, programs

CONNECTIONS = 8
WATCHERS = 20
TARGET = 1.5
"""How many times as fast as a real server the sandbox has to be, at the figures in :data:`RATED`."""
RATED = ("creates", "gets", "applies", "patches", "lists", "fan_out")
START_WITHIN = 1.0
"""Seconds in which the sandbox's API server has to be ready."""
_NAMESPACE = "speed"
_MAPS = f"/api/v1/namespaces/{_NAMESPACE}/configmaps"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_DEADLINE = 120.0
_EVENT = b'{"type":"'


class Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time, answers by length or in chunks."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._tail = b""
        self._wanted: tuple[int, int] | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._events: asyncio.Queue[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._events is not None:
            # Whatever chunks put between or into them, every event says once what it is.
            seen = self._tail + data
            found = seen.count(_EVENT)
            self._tail = seen[1 - len(_EVENT) :]
            if found:
                self._events.put_nowait(found)
            return
        self._buffer += data
        if self._wanted is None and not self._head():
            return
        start, length = self._wanted or (0, 0)
        if len(self._buffer) < start + length if length >= 0 else not self._buffer.endswith(b"0\r\n\r\n"):
            return
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.set_result((int(self._buffer[9:12]), bytes(self._buffer[start:])))
        self._buffer.clear()
        self._wanted = None

    def _head(self) -> bool:
        """Read where the body begins and how long it is, -1 for chunks, once the head is whole."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        length = head.find(b"content-length:")
        number = int(head[length + 15 :].split(b"\r\n", 1)[0]) if length >= 0 else -1
        self._wanted = end + 4, number
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(MeasurementError(f"the server hung up: {error}"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of its answer."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def watch(self, request: bytes) -> asyncio.Queue[int]:
        """Send a watch; the queue tells of events, how many at a time."""
        assert self._transport is not None
        self._events = asyncio.Queue()
        self._transport.write(request)
        return self._events

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Server:
    """One control plane under measurement."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._kubeconfig = directory / f"{name}.kubeconfig"
        self._log = directory / f"{name}.log"
        state = directory / name
        state.mkdir()
        module = (sys.executable, "-m", "e2e.conformance.serving", name)
        files = ("--kubeconfig", str(self._kubeconfig), "--state-dir", str(state))
        began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*module, *files], stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT, env=os.environ
            )
        while not self._kubeconfig.exists():
            if self._process.poll() is not None or time.monotonic() - began > _DEADLINE:
                raise MeasurementError(f"{name} did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.005)
        self.start = time.monotonic() - began
        config = yaml.safe_load(self._kubeconfig.read_text(encoding="utf-8"))
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._context = ssl.create_default_context()
        if "certificate-authority" in cluster:
            self._context.load_verify_locations(cafile=cluster["certificate-authority"])
        else:
            import base64

            pem = base64.b64decode(cluster["certificate-authority-data"]).decode()
            self._context.load_verify_locations(cadata=pem)
        self._address = urlsplit(cluster["server"])
        self._token = user["token"]

    def stop(self) -> None:
        """End it and wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    async def connect(self) -> Connection:
        """A new connection."""
        host, port = self._address.hostname, self._address.port
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, host, port, ssl=self._context)
        return made

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> bytes:
        """The bytes of a request."""
        sent = json.dumps(body).encode() if body is not None else b""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"Authorization: Bearer {self._token}\r\n"
            f"User-Agent: bench/1\r\nAccept: application/json\r\nContent-Length: {len(sent)}\r\n"
        )
        if sent:
            head += f"Content-Type: {kind}\r\n"
        return head.encode() + b"\r\n" + sent


def _map(number: int, value: str) -> dict[str, object]:
    metadata = {"name": f"map-{number}", "namespace": _NAMESPACE, "labels": {"app": "speed"}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"value": value, "x": "y" * 200},
    }


async def _rate(server: Server, count: int, request: Callable[[int], bytes], wanted: int) -> float:
    """Requests a second over several connections."""
    connections = [await server.connect() for _ in range(CONNECTIONS)]
    numbers = iter(range(count))

    async def work(connection: Connection) -> None:
        for number in numbers:
            status, body = await connection.ask(request(number))
            if status != wanted:
                raise MeasurementError(f"{server.name} answered {status}: {body[:300]!r}")

    began = time.perf_counter()
    await asyncio.gather(*(work(one) for one in connections))
    seconds = time.perf_counter() - began
    for one in connections:
        one.close()
    return count / seconds


async def _fan_out(server: Server, count: int) -> float:
    """Events a second that reach all watchers together."""
    watch = server.request("GET", f"{_MAPS}?watch=1&resourceVersion={await _version(server)}")
    watchers = [await server.connect() for _ in range(WATCHERS)]
    queues = [one.watch(watch) for one in watchers]

    async def drain(queue: asyncio.Queue[int]) -> None:
        left = count
        async with asyncio.timeout(_DEADLINE):
            while left > 0:
                left -= await queue.get()

    draining = [asyncio.create_task(drain(one)) for one in queues]
    began = time.perf_counter()

    def patch(number: int) -> bytes:
        return server.request("PATCH", f"{_MAPS}/map-{number}", {"data": {"fan": str(began)}}, _MERGE)

    await _rate(server, count, patch, 200)
    await asyncio.gather(*draining)
    seconds = time.perf_counter() - began
    for one in watchers:
        one.close()
    return count * WATCHERS / seconds


async def _version(server: Server) -> str:
    connection = await server.connect()
    _, body = await connection.ask(server.request("GET", f"{_MAPS}?limit=1"))
    connection.close()
    return str(json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["metadata"]["resourceVersion"])


async def _latency(server: Server, count: int) -> tuple[float, float]:
    """From an idle write to its event, milliseconds: the middle, and what 99 of 100 stay below."""
    watcher, writer = await server.connect(), await server.connect()
    queue = watcher.watch(server.request("GET", f"{_MAPS}?watch=1&resourceVersion={await _version(server)}"))
    taken = []
    for number in range(count):
        sent = server.request("PATCH", f"{_MAPS}/map-0", {"data": {"late": str(number)}}, _MERGE)
        began = time.perf_counter()
        answer = asyncio.ensure_future(writer.ask(sent))
        await asyncio.wait_for(queue.get(), _DEADLINE)
        taken.append((time.perf_counter() - began) * 1e3)
        await answer
        await asyncio.sleep(0.005)
    watcher.close()
    writer.close()
    taken.sort()
    return taken[len(taken) // 2], taken[len(taken) * 99 // 100]


async def _measure(server: Server, count: int) -> dict[str, float]:
    connection = await server.connect()
    namespace = {"metadata": {"name": _NAMESPACE}}
    await connection.ask(server.request("POST", "/api/v1/namespaces", namespace))
    connection.close()
    figures = {"start": server.start}
    ask = server.request
    rated: Mapping[str, tuple[int, Callable[[int], bytes], int]] = {
        "creates": (count, lambda number: ask("POST", _MAPS, _map(number, "a")), 201),
        "gets": (2 * count, lambda number: ask("GET", f"{_MAPS}/map-{number % count}"), 200),
        "patches": (
            count,
            lambda number: ask("PATCH", f"{_MAPS}/map-{number}", {"data": {"value": "b"}}, _MERGE),
            200,
        ),
        "applies": (
            count,
            lambda number: ask(
                "PATCH", f"{_MAPS}/map-{number}?fieldManager=bench&force=true", _map(number, "c"), _APPLY
            ),
            200,
        ),
        "lists": (max(count // 50, 10), lambda _: ask("GET", f"{_MAPS}?limit=1000"), 200),
    }
    for name, (times, request, wanted) in rated.items():
        figures[name] = await _rate(server, times, request, wanted)
    figures["fan_out"] = await _fan_out(server, min(count, 500))
    figures["latency_p50_ms"], figures["latency_p99_ms"] = await _latency(server, 200)
    return figures


def measure(count: int, repetitions: int) -> dict[str, dict[str, float]]:
    """Figures by server.

    :param count: objects.
    :param repetitions: the best counts, because whatever else runs on the machine can only add to a cost.
    :raises MeasurementError: when a server fails.
    """
    result: dict[str, dict[str, float]] = {}
    for _ in range(repetitions):
        # In turn, so that a noisy minute of the machine meets both.
        for kind in ("sandbox", "real"):
            with tempfile.TemporaryDirectory(prefix="bench-servers-") as name:
                server = Server(kind, Path(name))
                try:
                    found = asyncio.run(_within(_measure(server, count)))
                finally:
                    server.stop()
            known = result.setdefault(kind, found)
            for figure, value in found.items():
                known[figure] = (max if figure in RATED else min)(value, known[figure])
    return result


async def _within(work: Awaitable[dict[str, float]]) -> dict[str, float]:
    return await asyncio.wait_for(work, 3 * _DEADLINE)


def report(figures: Mapping[str, Mapping[str, float]]) -> tuple[str, list[str]]:
    """A table with ratios, and the targets that do not hold."""
    ours, theirs = figures["sandbox"], figures["real"]
    lines, failed = [f"{'':16}{'sandbox':>12}{'real':>12}{'ratio':>8}"], []
    for name, value in ours.items():
        ratio = value / theirs[name] if name in RATED else theirs[name] / value
        lines.append(f"{name:16}{value:12.2f}{theirs[name]:12.2f}{ratio:8.2f}")
        if name in RATED and ratio < TARGET:
            failed.append(f"{name}: {ratio:.2f} times as fast as a real server, {TARGET} wanted")
    if ours["start"] > START_WITHIN:
        failed.append(f"start: {ours['start']:.2f} s, {START_WITHIN} wanted")
    return "\n".join(lines) + "\n", failed


def main() -> int:
    """Measure and print; 1 when a target fails and ``--check`` was given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target does not hold")
    options = parser.parse_args()
    try:
        programs()
    except Unavailable as error:
        sys.stdout.write(f"skipped: {error}\n")
        return 0
    text, failed = report(measure(options.objects, options.repetitions))
    sys.stdout.write(text + "".join(f"misses: {one}\n" for one in failed))
    return int(bool(options.check and failed))


if __name__ == "__main__":
    sys.exit(main())
