"""Connections to the other members, as asyncio streams.

Every node dials every other one and uses that connection to send only; what it receives comes over the
connections others dialled. Two connections per pair, and no question which of them counts. A newer connection
of a member replaces its older one, so messages of one member never overtake each other.

A name that does not resolve (yet), a refused connection, a lost one: all are retried, forever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from etl_operator.node.consensus import asking, wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import Unanswered
from etl_operator.tls.peers import PeerTls
from informers.listener import Listener, listening_socket

log = logging.getLogger(__name__)

_FIRST_RETRY = 0.05
_LAST_RETRY = 1.0
_DIAL_TIMEOUT = 5.0
_SEND_LIMIT = 2 * wire.MAX_FRAME
"""Bytes waiting for one peer; a peer that far behind is dropped and starts over."""


@dataclass(slots=True)
class _Link:
    """The way to one peer."""

    address: Address
    writer: asyncio.StreamWriter | None = None
    trouble: str = ""
    incoming: asyncio.StreamWriter | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class PeerTransport:
    """Sends and receives `wire.Message` objects.

    :param node_id: this node.
    :param bind: where to listen.
    :param peers: the other members.
    :param cluster: the cluster's id as known at the moment; empty if not known.
    :param deliver: called with the sender and its message.
    :param connected: called when a peer can be sent to (True) and when no longer (False).
    :param tls: of all these connections, or None.
    """

    def __init__(
        self,
        node_id: int,
        bind: Address,
        peers: Mapping[int, Address],
        *,
        cluster: Callable[[], str],
        deliver: Callable[[int, wire.Message], None],
        connected: Callable[[int, bool], None],
        tls: PeerTls | None = None,
    ) -> None:
        self._node_id = node_id
        self._bind = bind
        self._links = {peer: _Link(address) for peer, address in peers.items()}
        self._cluster = cluster
        self._deliver = deliver
        self._connected = connected
        self._tls = tls
        self._listener: Listener | None = None
        self._listening: asyncio.Task[None] | None = None
        self.handlers: dict[str, asking.Handler] = {}
        """Answers to other members' questions, by topic."""
        self._dropped: set[asyncio.Task[None]] = set()
        """Of links that are ending."""
        self._inbound: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._refused = ""
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def start(self) -> None:
        """Bind, then dial.

        :raises OSError: the address cannot be bound.
        """
        listening = listening_socket(self._bind.host, self._bind.port)
        accepting = self._tls.accepting if self._tls is not None else None
        self._listener = Listener(listening, self._protocol, what="Raft", context=accepting)
        self._listening = asyncio.create_task(self._listener.run(), name="listener for Raft")
        for peer, link in self._links.items():
            self._keep(peer, link)

    def _keep(self, peer: int, link: _Link) -> None:
        link.task = asyncio.create_task(self._keep_dialling(peer, link), name=f"raft link to {peer}")

    def connect(self, peers: Mapping[int, Address]) -> None:
        """Keep connections to these members, and to no others. Call it after `start`."""
        for peer in [peer for peer, link in self._links.items() if peers.get(peer) != link.address]:
            self._drop(self._links.pop(peer))
        for peer, address in peers.items():
            if peer not in self._links:
                link = self._links[peer] = _Link(address)
                self._keep(peer, link)

    def _drop(self, link: _Link) -> None:
        if link.incoming is not None:
            link.incoming.transport.abort()
        if link.task is not None:
            self._dropped.add(link.task)
            link.task.add_done_callback(self._dropped.discard)
            link.task.cancel()

    async def stop(self) -> None:
        """Close everything."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        for writer in list(self._inbound):
            writer.transport.abort()
        tasks = [link.task for link in self._links.values() if link.task] + list(self._dropped)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._quiet.wait()

    def send(self, peer: int, message: wire.Message) -> bool:
        """Queue a message; False if there is no connection."""
        link = self._links.get(peer)
        if link is None or link.writer is None or link.writer.is_closing():
            return False
        if link.writer.transport.get_write_buffer_size() > _SEND_LIMIT:
            link.writer.transport.abort()
            return False
        link.writer.write(wire.encode(message))
        return True

    def broadcast(self, message: wire.Message) -> None:
        """Send to every connected peer."""
        for peer in self._links:
            self.send(peer, message)

    async def _keep_dialling(self, peer: int, link: _Link) -> None:
        delay = _FIRST_RETRY
        while True:
            try:
                await self._dial(peer, link)
                delay = _FIRST_RETRY
            except (OSError, wire.WireError, asyncio.IncompleteReadError, TimeoutError) as error:
                trouble = str(error) or type(error).__name__
                if trouble != link.trouble:
                    log.warning("no connection to node %d at %s: %s; retrying", peer, link.address, trouble)
                link.trouble = trouble
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay = min(delay * 2, _LAST_RETRY)

    async def _dial(self, peer: int, link: _Link) -> None:
        """Connect and stay until the connection is lost."""
        async with asyncio.timeout(_DIAL_TIMEOUT):
            reader, writer = await asking.connect(link.address, self._tls)
        try:
            _tune(writer)
            hello = wire.Hello(sender=self._node_id, receiver=peer, cluster=self._cluster())
            writer.write(wire.encode(hello))
            async with asyncio.timeout(_DIAL_TIMEOUT):
                answer = await asking.read(reader, wire.MAX_FIRST_FRAME)
            if not isinstance(answer, wire.Welcome):
                raise wire.WireError("the peer does not speak this protocol")
            if answer.problem:
                raise wire.WireError(answer.problem)
            log.info("connected to node %d at %s", peer, link.address)
            link.writer, link.trouble = writer, ""
            self._connected(peer, True)
            await reader.read()
        finally:
            if link.writer is writer:
                link.writer = None
                self._connected(peer, False)
                log.info("connection to node %d at %s lost", peer, link.address)
            await _close(writer)

    def _protocol(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._accept)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Called as the connection is made: what `stop` does not know of it could not close."""
        self._quiet.clear()
        self._inbound[writer] = asyncio.create_task(self._serve(reader, writer), name="raft connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._receive(reader, writer)
        except wire.WireError as error:
            # A stranger that keeps trying, such as a new member not known yet, is reported once.
            level = logging.DEBUG if str(error) == self._refused else logging.WARNING
            self._refused = str(error)
            log.log(level, "closing a connection from %s: %s", writer.get_extra_info("peername"), error)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            await _close(writer)
            self._inbound.pop(writer, None)
            if not self._inbound:
                self._quiet.set()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _tune(writer)
        async with asyncio.timeout(_DIAL_TIMEOUT):
            hello = await asking.read(reader, wire.MAX_FIRST_FRAME)
        if not isinstance(hello, wire.Hello | wire.Ask):
            raise wire.WireError("the connection does not start with a greeting")
        problem = self._problem_with(hello) or self._stranger(hello.sender, writer)
        writer.write(wire.encode(wire.Welcome(problem=problem)))
        if problem:
            with contextlib.suppress(OSError):
                await writer.drain()
            raise wire.WireError(problem)
        assert self._listener is not None, "the connection comes from there"
        if isinstance(hello, wire.Ask):
            with self._listener.connections.answering(writer.transport):
                await asking.answer(reader, writer, hello.sender, self._handler(hello.topic))
            return
        link = self._links[hello.sender]
        if link.incoming is not None:
            link.incoming.transport.abort()
        link.incoming = writer
        # A member keeps its place, however many strangers there are and however long it is silent.
        with self._listener.connections.answering(writer.transport):
            while link.incoming is writer:
                message = await asking.read(reader, wire.MAX_FRAME)
                if link.incoming is writer:  # Not replaced meanwhile.
                    self._deliver(hello.sender, message)

    def _handler(self, topic: str) -> asking.Handler:
        async def unknown(sender: int, body: bytes) -> bytes:
            raise LookupError(f"node {self._node_id} does not know the question {topic!r}")

        return self.handlers.get(topic, unknown)

    async def ask(self, peer: int, topic: str, body: bytes, within: float) -> bytes:
        """The answer of a peer's handler for ``topic``.

        :raises Unanswered: there is none.
        """
        question = wire.Ask(sender=self._node_id, receiver=peer, cluster=self._cluster(), topic=topic)
        if peer not in self._links:
            raise Unanswered(f"node {peer} is not in the member list of node {self._node_id}")
        return await asking.ask(self._links[peer].address, question, body, self._tls, within)

    def _stranger(self, sender: int, writer: asyncio.StreamWriter) -> str:
        """Why a connection is not that of the member that it claims to come from, or ""."""
        host = self._links[sender].address.host
        problem = self._tls.stranger(writer, host) if self._tls is not None else ""
        return f"this is not node {sender}: {problem}" if problem else ""

    def _problem_with(self, hello: wire.Hello | wire.Ask) -> str:
        if hello.receiver != self._node_id:
            return f"this is node {self._node_id}, not node {hello.receiver}"
        if hello.sender not in self._links:
            return f"node {hello.sender} is not in the member list of node {self._node_id}"
        own = self._cluster()
        if own and hello.cluster and own != hello.cluster:
            return f"node {self._node_id} belongs to another cluster ({own}, not {hello.cluster})"
        return ""


async def _close(writer: asyncio.StreamWriter) -> None:
    """Drop a connection and wait until its socket is closed."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _tune(writer: asyncio.StreamWriter) -> None:
    """Notice a peer that vanished without a word after about five seconds."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
