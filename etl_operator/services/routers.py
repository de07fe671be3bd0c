"""The router nodes of a source: calls are sent to any of them until one answers."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from etl_operator.router.pb import checkpoint_pb2, checkpoint_pb2_grpc, source_pb2_grpc
from etl_operator.services.errors import StartError
from etl_operator.services.service import MAX_MESSAGE
from etl_operator.tls.credentials import ChannelTls, channel_tls
from etl_operator.tls.files import Reloading, TlsError

log = logging.getLogger(__name__)

_FIRST, _LONGEST = 0.1, 5.0
"""Seconds of the first and of the longest back-off, so that a router that starts, or a new pipeline, gets its
records some seconds later. An attempt every few seconds costs a router little, also with many sources."""
_CALL = 10.0
"""Seconds that a call may take."""
_OPTIONS = [
    # A router that restarts is reached within two seconds, also at a new address;
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_500),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # a router that does not close its connections is detected by a ping without an answer.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
]
_NONE = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a source that the router has stored."""

    offsets: dict[int, int] = field(default_factory=dict)
    """By partition: the sequence number up to which all records were delivered. If none was, the partition is
    missing."""
    state: bytes = b""
    """The state that :meth:`Source.save` stored last."""


@dataclass(frozen=True, slots=True)
class RouterTls:
    """PEM files of the connections to routers; when they are replaced, new connections use the new ones."""

    authority: Path | None = None
    """CA of the routers' certificates. ``None``: the CAs that gRPC trusts by default."""
    certificate: Path | None = None
    """Client certificate of the source; needed if the routers require client certificates."""
    key: Path | None = None

    def reloading(self) -> Reloading[ChannelTls]:
        """The contents of the files, always the newest that can be used.

        :raises TlsError: a file cannot be used.
        """
        paths = [one for one in (self.authority, self.certificate, self.key) if one is not None]
        return Reloading(paths, lambda _: channel_tls(self.authority, self.certificate, self.key))

    def check(self) -> None:
        """:raises StartError: a file cannot be used."""
        try:
            self.reloading()
        except TlsError as error:
            raise StartError(f"cannot use the TLS files for the routers: {error}") from error


class Backoff:
    """Exponential back-off: 100 ms, doubled up to 5 s, less a random part of up to a half."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """Start again with the shortest pause."""
        self._failures = 0

    async def wait(self) -> None:
        """Sleep until the next attempt."""
        # The power is bounded too: 2.0 ** 1100 is an error.
        seconds = min(_LONGEST, _FIRST * 2.0 ** min(self._failures, 20))
        self._failures += 1
        # Not for secrets: so that many sources do not come back at once.
        await asyncio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311


class Routers:
    """Nodes of one cluster, tried in turn.

    :param addresses: ``HOST:PORT`` each.
    :param tls: of the connections, or None.
    """

    def __init__(self, addresses: Sequence[str], tls: RouterTls | None = None) -> None:
        self._channels: dict[str, tuple[ChannelTls | None, grpc.aio.Channel]] = {}
        self._tls = tls.reloading() if tls is not None else None
        self._former: list[grpc.aio.Channel] = []
        self._turn = itertools.cycle(addresses)
        self._said = ""
        self._enough = 2 * len(addresses) + 1
        """Maximum attempts of calls that a source can do without."""
        # Sources of one cluster do not all start with the first node.
        for _ in range(random.randrange(len(addresses))):  # noqa: S311
            next(self._turn)
        self.address = next(self._turn)

    def next(self) -> None:
        """Use the next node."""
        self.address = next(self._turn)

    def stream(self, metadata: Sequence[tuple[str, str]]) -> Any:
        """``SourceRouter.PushRecords`` of the current node; the first use connects."""
        stub = source_pb2_grpc.SourceRouterStub(self._channel())  # type: ignore[no-untyped-call]
        return stub.PushRecords(metadata=metadata)

    async def position(self, source_id: str) -> Position:
        """The stored position of a source. Retries until a router answers; empty if it stores none."""
        request = checkpoint_pb2.GetOffsetRequest(source_id=source_id)
        offsets = await self._ask("GetSourceOffset", request)
        asked = checkpoint_pb2.GetCheckpointRequest(service_id=source_id)
        state = await self._ask("GetCheckpoint", asked, self._enough)
        return Position(
            {} if offsets is None else dict(offsets.offsets),
            state.data if state is not None and state.found else b"",
        )

    async def save(self, source_id: str, state: bytes) -> bool:
        """Store the state of a source; returns whether the router has stored it."""
        request = checkpoint_pb2.SaveCheckpointRequest(service_id=source_id, data=state)
        answer = await self._ask("SaveCheckpoint", request, self._enough)
        return answer is not None and bool(answer.success)

    async def close(self) -> None:
        """Close all connections."""
        for _, channel in self._channels.values():
            await channel.close(None)
        for channel in self._former:
            await channel.close(None)

    def trouble(self, error: grpc.aio.AioRpcError, *, worked: bool = False) -> None:
        """Log an error, but an error that repeats only once.

        :param worked: the stream worked until now: routers end streams from time to time.
        """
        code, details = error.code(), (error.details() or "").splitlines()
        text = f"{code.name}: {details[0] if details else 'no reason given'}"
        where = {"router": self.address}
        if worked:
            log.info("the stream ended and is opened again: %s", text, extra=where)
            return
        level = logging.DEBUG if text == self._said else logging.WARNING
        log.log(level, "the router does not accept records: %s", text, extra=where)
        self._said = text

    def works(self) -> None:
        """Log the next error, also if it is the same as the last one."""
        self._said = ""

    async def _ask(self, method: str, request: Any, attempts: int | None = None) -> Any:
        """The response; ``None`` if the router has no such method or object, or after the given attempts."""
        backoff = Backoff()
        for _ in itertools.count() if attempts is None else range(attempts):
            stub = checkpoint_pb2_grpc.CheckpointServiceStub(self._channel())  # type: ignore[no-untyped-call]
            try:
                return await getattr(stub, method)(request, timeout=_CALL)
            except grpc.aio.AioRpcError as error:
                if error.code() in _NONE:
                    return None
                self.trouble(error)
                self.next()
                await backoff.wait()
        return None

    def _channel(self) -> grpc.aio.Channel:
        tls = self._tls.current() if self._tls is not None else None
        before, channel = self._channels.get(self.address, (None, None))
        if channel is not None and before is not tls:
            # The certificates were replaced. Streams under way go on.
            self._former.append(channel)
            channel = None
        if channel is None:
            if tls is None:
                channel = grpc.aio.insecure_channel(self.address, options=_OPTIONS)
            else:
                channel = grpc.aio.secure_channel(self.address, tls.credentials(), options=_OPTIONS)
            self._channels[self.address] = (tls, channel)
        return channel
