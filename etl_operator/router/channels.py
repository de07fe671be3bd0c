"""Connections to router nodes: one channel per address, shared by everything that calls it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc

Fence = Callable[[], None]
"""Lets a write pass, or raises what its author is to see: this process must not write any more."""

OPTIONS: Mapping[str, int] = {
    # A pod that comes back is reached within two seconds: attempts are at most this far apart,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1_500,
    # (which is the time limit of one attempt, for an address that swallows packets)
    "grpc.min_reconnect_backoff_ms": 2_000,
    # and the name is looked up again as often: a restarted pod has a new address.
    "grpc.dns_min_time_between_resolutions_ms": 1_000,
    # A dead peer is noticed by an unanswered ping, while calls are open only: servers refuse idle pings.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.keepalive_permit_without_calls": 0,
    # ListServices has no pages.
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
    # A refusal travels in a header. Beyond these limits (8 and 16 KiB by default) gRPC throws it away, and
    # what is left no longer says which answer it was.
    "grpc.max_metadata_size": 1024 * 1024,
    "grpc.absolute_max_metadata_size": 1024 * 1024,
    # A channel that is made again starts with a clean back-off.
    "grpc.use_local_subchannel_pool": 1,
}
"""Settings of every channel; durations in milliseconds, sizes in bytes. Proxies are honoured as gRPC does by
itself."""

_UNDECIDED = (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING)


class Connection:
    """One channel, with who uses it and since when not."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=list(OPTIONS.items()))
        self.users = 0
        self.unused_since = 0.0
        self.closed = False
        self._stubs: dict[str, Any] = {}

    def unary(self, path: str, serialise: Any, parse: Any) -> Any:
        """The callable of a unary method; made once."""
        stub = self._stubs.get(path)
        if stub is None:
            stub = self.channel.unary_unary(path, request_serializer=serialise, response_deserializer=parse)
            self._stubs[path] = stub
        return stub

    async def settle(self, seconds: float) -> None:
        """Wait until a call would leave or fail at once; so many seconds at most.

        Before a fence is asked: a call that waits for its connection inside gRPC leaves when that stands,
        whatever has happened to this process meanwhile.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.closed:
                    state = self.channel.get_state(try_to_connect=True)
                    if state not in _UNDECIDED:
                        return
                    await self.channel.wait_for_state_change(state)


class Channels:
    """Opens channels when they are needed and closes them when they are not.

    :param limit: channels kept; beyond it the one longest unused goes. Channels in use never go.
    :param idle: seconds after which an unused channel is closed.
    """

    def __init__(self, *, limit: int = 1_000, idle: float = 300.0) -> None:
        self._limit = limit
        self._idle = idle
        self._open: OrderedDict[str, Connection] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def use(self, address: str) -> Iterator[Connection]:
        """The connection of an address, held open meanwhile."""
        connection = self.acquire(address)
        try:
            yield connection
        finally:
            self.release(connection)

    def acquire(self, address: str) -> Connection:
        """Like :meth:`use`, for holders that outlive a block; to be given back to :meth:`release`."""
        connection = self._open.get(address)
        if connection is None:
            connection = self._open[address] = Connection(address)
            self._shrink()
            self._schedule()
        self._open.move_to_end(address)
        connection.users += 1
        return connection

    def release(self, connection: Connection) -> None:
        """One user less."""
        connection.users -= 1
        connection.unused_since = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Close every channel; calls in flight fail. The next call opens channels again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for address in list(self._open):
            self._drop(address)
        await asyncio.gather(*self._closing)

    def _shrink(self) -> None:
        spare = [address for address, one in self._open.items() if not one.users]
        # The newest has no user yet, but is about to.
        for address in spare[:-1]:
            if len(self._open) <= self._limit:
                return
            self._drop(address)

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._idle / 2, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for address, connection in list(self._open.items()):
            if not connection.users and now - connection.unused_since >= self._idle:
                self._drop(address)
        if self._open:
            self._schedule()

    def _drop(self, address: str) -> None:
        connection = self._open.pop(address)
        connection.closed = True
        task = asyncio.get_running_loop().create_task(connection.channel.close(None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
