"""Questions to another member beside Raft: each has a connection of its own, and none delays a heartbeat.

A member of an earlier version closes such a connection; Raft's own are not touched by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from etl_operator.node.consensus import wire
from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import Unanswered
from etl_operator.tls.peers import PeerTls

log = logging.getLogger(__name__)

Handler = Callable[[int, bytes], Awaitable[bytes]]
"""Answers a member's question. What it raises travels as text."""


async def read(reader: asyncio.StreamReader, limit: int) -> wire.Message:
    """The next message of a connection.

    :param limit: bytes it may have.
    :raises WireError: it has more, or is none.
    :raises IncompleteReadError: the connection ended.
    """
    length = wire.frame_length(await reader.readexactly(4), limit=limit)
    return wire.decode(await reader.readexactly(length))


async def connect(address: Address, tls: PeerTls | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to another member.

    :raises OSError: there is none, or the member is not who it should be.
    """
    if tls is not None:
        try:
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=tls.dialling, server_hostname=address.host
            )
        except OSError as error:
            if not tls.plaintext:
                raise
            log.debug("no TLS with the member at %s: %s", address, error)
        else:
            if problem := tls.stranger(writer, address.host):
                writer.transport.abort()
                raise ConnectionRefusedError(problem)
            return reader, writer
    return await asyncio.open_connection(address.host, address.port)


async def ask(address: Address, question: wire.Ask, body: bytes, tls: PeerTls | None, within: float) -> bytes:
    """The answer of the member at ``address``.

    :param within: seconds for all of it.
    :raises Unanswered: it cannot be reached, does not know the question, or cannot answer it.
    """
    where = f"node {question.receiver} at {address}"
    try:
        async with asyncio.timeout(within):
            reader, writer = await connect(address, tls)
            try:
                return await _exchange(reader, writer, question, body)
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError, TimeoutError, wire.WireError) as error:
        raise Unanswered(f"{where}: {error or type(error).__name__}") from error


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: wire.Ask, body: bytes
) -> bytes:
    writer.write(wire.encode(question))
    welcome = await read(reader, wire.MAX_FIRST_FRAME)
    if not isinstance(welcome, wire.Welcome):
        raise wire.WireError("it does not speak this protocol")
    if welcome.problem:
        raise wire.WireError(welcome.problem)
    writer.write(wire.encode(wire.Body(data=body)))
    await writer.drain()
    answer = await read(reader, wire.MAX_FRAME)
    if not isinstance(answer, wire.Body):
        raise wire.WireError("it does not answer the question")
    if answer.problem:
        raise wire.WireError(answer.problem)
    return answer.data


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sender: int, handler: Handler
) -> None:
    """Answer a question whose greeting has been accepted."""
    question = await read(reader, wire.MAX_FRAME)
    if not isinstance(question, wire.Body):
        raise wire.WireError("it asks nothing")
    work = asyncio.ensure_future(_said(handler, sender, question.data))
    gone = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            writer.write(wire.encode(work.result()))
            await writer.drain()
    finally:
        # Nobody waits for the answer any more, or it has been given.
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _said(handler: Handler, sender: int, question: bytes) -> wire.Body:
    try:
        return wire.Body(data=await handler(sender, question))
    except Exception as error:
        log.debug("a question of node %d cannot be answered: %s", sender, error)
        return wire.Body(data=b"", problem=str(error)[:1000] or type(error).__name__)
