"""An HTTP CONNECT proxy that knows cluster DNS names, so that plain programs can use them.

gRPC honours such a proxy by itself and keeps the DNS name as the authority, so TLS is verified as in a
cluster. It leads to the pods and nowhere else: whoever may write a Service or an endpoint in the cluster must
not reach other servers of this machine or its network through it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from etl_operator.sandbox.loops import pods as p
from etl_operator.sandbox.loops.kinds import ENDPOINT_SLICE, POD, SERVICE
from etl_operator.sandbox.naming import SLICE_INDEX, CachedNames, slices_by_service
from etl_operator.sandbox.resolving import Target, Unresolvable
from informers.cache.informer import Delta, Informer
from informers.client import Client
from informers.clock import Clock, SystemClock
from informers.objects import Object

log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_PIECE = 1 << 16
_HEAD_LIMIT = 1 << 14
_HEAD_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_BROKEN = (OSError, asyncio.IncompleteReadError)


class _Refused(Exception):
    """No tunnel; the HTTP status and the reason go to the client."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True, eq=False)
class _Tunnel:
    """An open connection; ``is_inside`` when a cluster name led to it."""

    is_inside: bool
    address: str
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class NameProxy:
    """Listens on a free port of 127.0.0.1.

    :param client: may list and watch Services, pods and EndpointSlices everywhere.
    :param domain: the cluster domain.
    :param also: addresses and ports that may be reached beside the pods: the API server's.
    :param anywhere: connect to whatever is asked for.
    """

    def __init__(
        self,
        client: Client,
        *,
        domain: str = "cluster.local",
        also: Collection[Target] = (),
        anywhere: bool = False,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        clock = clock or SystemClock()
        rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._services = Informer(client, SERVICE, clock=clock, rng=rng)
        self._pods = Informer(client, POD, clock=clock, rng=rng)
        self._slices = Informer(
            client, ENDPOINT_SLICE, clock=clock, rng=rng, indexes={SLICE_INDEX: slices_by_service}
        )
        self._pods.add_handler(self._on_pod)
        self._names = CachedNames(self._services, self._pods, self._slices, domain).names
        self._also = frozenset(also)
        self._anywhere = anywhere
        self._tunnels: set[_Tunnel] = set()
        self._caches: list[asyncio.Task[None]] = []
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Wait until the cluster's names are known, then listen; returns the proxy's URL."""
        informers = (self._services, self._pods, self._slices)
        self._caches = [asyncio.create_task(informer.run()) for informer in informers]
        await asyncio.gather(*(informer.wait_synced() for informer in informers))
        self._server = await asyncio.start_server(self._accept, _HOST, 0, limit=_PIECE)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://{_HOST}:{port}"

    async def stop(self) -> None:
        """Stop listening and cut every tunnel."""
        if self._server is not None:
            self._server.close()
        for tunnel in list(self._tunnels):
            tunnel.cut()
        tasks = [*self._caches, *self._handlers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _on_pod(self, delta: Delta) -> None:
        """A pod that is gone takes its tunnels along: its address may soon be another's."""
        old, new = delta.old, delta.new
        if old is None or (new is not None and new.uid == old.uid):
            return
        address = p.status_of(old.object()).get("podIP")
        for tunnel in [one for one in self._tunnels if one.is_inside and one.address == address]:
            tunnel.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            # Only stop() cancels; a handler that ends cancelled would be reported as a failure.
            pass
        except _BROKEN as error:
            log.debug("a connection through the name proxy failed: %s", error)
        finally:
            self._handlers.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked, port, namespace = await _asked_for(reader)
            host = self._searched(asked, namespace)
            to_reader, to_writer, address = await _connect(self._targets(host, port))
        except _Refused as refusal:
            reason = str(refusal)
            log.info("name proxy: request refused: %s", reason)
            body = f"{reason}\n".encode()
            # gRPC shows the status line alone, so the reason stands there as well.
            head = f"HTTP/1.1 {refusal.status} {_one_line(reason)}\r\nContent-Type: text/plain\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        tunnel = _Tunnel(self._names.knows(host), address, (writer, to_writer))
        self._tunnels.add(tunnel)
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, to_writer))
                group.create_task(_pump(to_reader, writer))
        except* _BROKEN as errors:
            log.debug("a connection through the name proxy to %s failed: %s", address, errors.exceptions[0])
        finally:
            self._tunnels.discard(tunnel)
            tunnel.cut()

    def _searched(self, host: str, namespace: str) -> str:
        """The full name of a name that is looked up in a namespace, as a pod's search list does it."""
        if namespace and not self._names.knows(host):
            for name in (f"{host}.{namespace}.svc", f"{host}.svc"):
                if self._names.exists(name):
                    return name
        return host

    def _targets(self, host: str, port: int) -> Sequence[Target]:
        """Where to connect."""
        found: Sequence[Target] = [Target(host, port)]
        if self._names.knows(host):
            try:
                found = self._names.resolve(host, port)
            except Unresolvable as error:
                raise _Refused("502", str(error)) from None
        allowed = [one for one in found if self._anywhere or one in self._also or self._is_pod(one)]
        if not allowed:
            refused = found[0]
            where = f"{refused.address}:{refused.port}"
            raise _Refused(
                "403",
                f"{where} is not a pod of this cluster, and the name proxy connects only to pods; "
                "start the sandbox with --proxy-anywhere to reach it",
            )
        return allowed

    def _is_pod(self, target: Target) -> bool:
        """Whether it is a pod's: loopback addresses of their own, or declared ports on the host's network."""
        for view in self._pods.list():
            pod = view.object()
            if p.status_of(pod).get("podIP") != target.address or not target.address.startswith("127."):
                continue
            if target.address != _HOST or target.port in _declared_ports(pod):
                return True
        return False


def _declared_ports(pod: Object) -> set[int]:
    containers = pod["spec"].get("containers") or ()
    return {one["containerPort"] for each in containers for one in each.get("ports") or ()}


async def _asked_for(reader: asyncio.StreamReader) -> tuple[str, int, str]:
    """Host and port of a CONNECT request, and the namespace that it is sent from.

    The namespace is the user in ``http://NAMESPACE@proxy``, "" where there is none. It needs no password: it
    decides what a short name means, and not what may be reached.
    """
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _Refused("431", "the request's head is too large") from None
    except TimeoutError:
        raise _Refused("408", f"no request within {_HEAD_SECONDS:g} s") from None
    if len(head) > _HEAD_LIMIT:
        raise _Refused("431", "the request's head is too large")
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Refused("400", "not an HTTP/1 request")
    method, target, _ = words
    if method != "CONNECT":
        raise _Refused("405", "this proxy supports only CONNECT")
    host, _, port = target.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise _Refused("400", f"{_one_line(target)} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port), _user(head)


def _user(head: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        scheme, _, words = value.strip().partition(" ")
        if name.lower() == "proxy-authorization" and scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                return base64.b64decode(words.strip()).decode("latin-1").partition(":")[0]
    return ""


async def _connect(targets: Sequence[Target]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """The first target that answers."""
    problem = ""
    for target in targets:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                opened = await asyncio.open_connection(target.address, target.port, limit=_PIECE)
        except TimeoutError:
            problem = f"no answer from {target.address}:{target.port} within {_CONNECT_SECONDS:g} s"
        except (OSError, UnicodeError) as error:
            problem = f"cannot connect to {target.address}:{target.port}: {error}"
        else:
            return (*opened, target.address)
    raise _Refused("502", problem)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way. Its end is passed on, and leaves the other way open."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        # Waits while the receiver is slow: what is on its way stays small.
        await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:300]
