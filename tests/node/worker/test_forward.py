"""Calls through a worker are those of the control process: metadata, deadlines, cancellation, statuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from etl_operator.node.worker.forward import Forward, channel_to
from tests.hanging import HANGS

METHOD = "/some.Service/Method"
Behaviour = Callable[[Any, Any], Any]


class Backend(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """One behaviour for every method, on bytes; None: there is no method."""

    def __init__(self, behaviour: Behaviour | None) -> None:
        self._behaviour = behaviour

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._behaviour) if self._behaviour else None


@asynccontextmanager
async def through(directory: Path, behaviour: Behaviour | None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that forwards to another one with this behaviour."""
    target = f"unix:{directory}/s"
    control, public = grpc.aio.server(), grpc.aio.server()
    control.add_generic_rpc_handlers([Backend(behaviour)])
    control.add_insecure_port(target)
    inner = channel_to(target, 64 * 2**20)
    public.add_generic_rpc_handlers([Forward(inner)])
    port = public.add_insecure_port("127.0.0.1:0")
    await control.start()
    await public.start()
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel
    await public.stop(None)
    await inner.close(None)
    await control.stop(None)


async def test_metadata_goes_both_ways(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    async def behaviour(requests: Any, context: Any) -> None:
        seen.update(dict(context.invocation_metadata()))
        await context.send_initial_metadata((("first", "1"), ("raw-bin", b"\0\xff")))
        await context.write(b"answer")
        context.set_trailing_metadata((("last", "2"), ("rest-bin", b"\xfe")))

    async with through(tmp_path, behaviour) as channel:
        call: Any = channel.unary_unary(METHOD)(b"", metadata=(("key", "value"), ("key-bin", b"\1\2")))  # type: ignore[call-arg]
        assert await call == b"answer"
        assert {"first": "1", "raw-bin": b"\0\xff"}.items() <= dict(await call.initial_metadata()).items()
        assert {"last": "2", "rest-bin": b"\xfe"}.items() <= dict(await call.trailing_metadata()).items()
    assert (seen["key"], seen["key-bin"]) == ("value", b"\1\2")


async def test_a_method_that_is_not_there_is_refused_as_such(tmp_path: Path) -> None:
    """The refusal comes while the request is still sent."""
    async with through(tmp_path, None) as channel:

        async def status() -> Any:
            call: Any = channel.stream_stream(METHOD, None, None)(None)
            # The refusal may be there before the connection has been waited for.
            with contextlib.suppress(grpc.aio.AioRpcError, grpc.aio.BaseError):
                await call.wait_for_connection()
                while True:
                    # As `Forward` does: ``call.write`` would hide the status.
                    await call._cython_call.send_serialized_message(b"x")
            return await call.code()

        codes = [await status() for _ in range(50)]
    assert set(codes) == {grpc.StatusCode.UNIMPLEMENTED}


async def test_a_status_comes_back_with_its_details(tmp_path: Path) -> None:
    details = "field: is wrong \N{EURO SIGN} " + "x" * 3000

    async def behaviour(requests: Any, context: Any) -> None:
        await context.abort(
            grpc.StatusCode.FAILED_PRECONDITION, details, (("grpc-status-details-bin", b"\x08\x09"),)
        )

    async with through(tmp_path, behaviour) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(METHOD)(b"")  # type: ignore[call-arg]
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, details)
    trailing: Any = caught.value.trailing_metadata()
    assert dict(trailing)["grpc-status-details-bin"] == b"\x08\x09"


async def test_messages_of_a_stream_go_each_way_as_they_come(tmp_path: Path) -> None:
    async def behaviour(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request + b"!")
        await context.write(b"end")

    async with through(tmp_path, behaviour) as channel:
        call: Any = channel.stream_stream(METHOD)()  # type: ignore[call-arg]
        for message in (b"a", b"", b"x" * 3 * 2**20):
            await call.write(message)
            assert await call.read() == message + b"!"
        await call.done_writing()
        assert await call.read() == b"end"
        assert await call.code() is grpc.StatusCode.OK


async def test_a_call_that_ends_before_its_requests_do(tmp_path: Path) -> None:
    async def behaviour(requests: Any, context: Any) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "enough")

    async with through(tmp_path, behaviour) as channel:
        call: Any = channel.stream_stream(METHOD)()  # type: ignore[call-arg]
        await call.write(b"a")
        assert await call.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_the_deadline_is_the_callers(tmp_path: Path) -> None:
    left: list[float | None] = []
    cancelled = asyncio.Event()

    async def behaviour(requests: Any, context: Any) -> None:
        left.append(context.time_remaining())
        try:
            await asyncio.sleep(HANGS)
        finally:
            cancelled.set()

    async with through(tmp_path, behaviour) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(METHOD)(b"", timeout=2)  # type: ignore[call-arg]
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # It may pass before the call has reached the other side.
        if left:
            assert left[0] is not None
            assert left[0] < HANGS
            await asyncio.wait_for(cancelled.wait(), HANGS)


async def test_without_a_deadline_there_is_none(tmp_path: Path) -> None:
    async def behaviour(requests: Any, context: Any) -> None:
        await context.write(repr(context.time_remaining()).encode())

    async with through(tmp_path, behaviour) as channel:
        assert await channel.unary_unary(METHOD)(b"") == b"None"  # type: ignore[call-arg]


async def test_a_caller_who_goes_ends_the_call_behind(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def behaviour(requests: Any, context: Any) -> None:
        await context.write(b"here")
        try:
            await asyncio.sleep(HANGS)
        finally:
            cancelled.set()

    async with through(tmp_path, behaviour) as channel:
        call: Any = channel.stream_stream(METHOD)()  # type: ignore[call-arg]
        assert await call.read() == b"here"
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), HANGS)
