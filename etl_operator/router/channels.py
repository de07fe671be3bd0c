"""Connections to router nodes: one channel per address, shared by everything that calls it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc

from etl_operator.tls.credentials import ChannelTls

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

    def __init__(self, address: str, tls: ChannelTls | None = None) -> None:
        options = list(OPTIONS.items())
        self.tls = tls
        if tls is None:
            self.channel = grpc.aio.insecure_channel(address, options=options)
        else:
            self.channel = grpc.aio.secure_channel(address, tls.credentials(), options=options)
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
        self._tls: dict[str, ChannelTls] = {}
        self._decided: set[str] = set()
        self._changed = asyncio.Event()
        self.awaits: Callable[[str], bool] = lambda address: False
        """Whether an address needs certificates that are still being read."""
        self._former: set[Connection] = set()
        """Connections whose certificates were replaced while they were in use."""
        self._open: OrderedDict[str, Connection] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def secure(self, address: str, tls: ChannelTls | None) -> None:
        """Use these certificates for an address from now on; ``None``: no TLS, as before the first call.

        Calls under way continue on the connection that they have.
        """
        if address not in self._decided:
            self._decided.add(address)
            self._changed.set()
            self._changed = asyncio.Event()
        if tls is None:
            self._tls.pop(address, None)
        else:
            self._tls[address] = tls

    def undecided(self, address: str) -> bool:
        """Whether it is not known yet how an address is to be called."""
        return address not in self._decided and self.awaits(address)

    async def decided(self, address: str, seconds: float) -> None:
        """Wait until it is known how an address is to be called; so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.undecided(address):
                    await self._changed.wait()

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
        connection, tls = self._open.get(address), self._tls.get(address)
        if connection is not None and connection.tls != tls:
            if connection.users:
                self._former.add(self._open.pop(address))
            else:
                self._drop(address)
            connection = None
        if connection is None:
            connection = self._open[address] = Connection(address, tls)
            self._shrink()
            self._schedule()
        self._open.move_to_end(address)
        connection.users += 1
        return connection

    def release(self, connection: Connection) -> None:
        """One user less."""
        connection.users -= 1
        if connection in self._former and not connection.users:
            self._former.discard(connection)
            self._close(connection)
        connection.unused_since = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Close every channel; calls in flight fail. The next call opens channels again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for address in list(self._open):
            self._drop(address)
        while self._former:
            self._close(self._former.pop())
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
        self._close(self._open.pop(address))

    def _close(self, connection: Connection) -> None:
        connection.closed = True
        task = asyncio.get_running_loop().create_task(connection.channel.close(None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
