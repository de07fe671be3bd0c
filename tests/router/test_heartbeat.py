"""How long a stream of heartbeats may be silent, in virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from etl_operator.router.errors import TimedOut
from etl_operator.router.heartbeat import HeartbeatStream
from etl_operator.router.pb import registry_pb2
from etl_operator.router.registration import Beat
from informers.testing.clock import run_virtual

PATIENCE = 5.0


class Call:
    """A call that is answered after so many seconds, each time."""

    def __init__(self, pause: float) -> None:
        self._pause = pause

    async def write(self, _: Any) -> None:
        """Taken at once."""

    async def read(self) -> registry_pb2.HeartbeatResponse:
        await asyncio.sleep(self._pause)
        return registry_pb2.HeartbeatResponse(acknowledged=True)

    def add_done_callback(self, _: Any) -> None:
        """It does not end."""

    def cancel(self) -> None:
        """Nothing is open."""


def stream(pause: float) -> HeartbeatStream:
    async def settle(_: float) -> None:
        """It is connected."""

    channel = SimpleNamespace(stream_stream=lambda *_, **__: lambda: Call(pause))
    connection = SimpleNamespace(settle=settle, closed=False, channel=channel)
    return HeartbeatStream(cast(Any, connection), "/path", "a:1", PATIENCE, lambda: None, lambda: None)


def test_a_slow_node_is_no_silent_one() -> None:
    async def main() -> None:
        services = [Beat(f"etl/s{number}", "id") for number in range(20)]
        assert await stream(pause=1.0).beat(services) == [True] * 20
        assert asyncio.get_running_loop().time() == pytest.approx(20)

    run_virtual(main())


def test_silence_ends_a_stream() -> None:
    async def main() -> None:
        with pytest.raises(TimedOut, match="heartbeats are not answered"):
            await stream(pause=PATIENCE + 1).beat([Beat("etl/s", "id")])
        assert asyncio.get_running_loop().time() == pytest.approx(PATIENCE)

    run_virtual(main())
