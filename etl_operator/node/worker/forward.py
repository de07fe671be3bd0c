"""Forwards calls of the control services to the control process, as bytes.

On the wire a unary call is a stream with one message each way, so that one handler serves every method. A
method that nobody knows is forwarded too: the control process refuses it with its own words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc.aio

Context = grpc.aio.ServicerContext[Any, Any]
_Pairs = tuple[tuple[str, str | bytes], ...]

_OWN = frozenset({"user-agent", "content-type", "te"})
"""Metadata that gRPC adds to each call itself."""
_END: Any = grpc.aio.EOF  # type: ignore[attr-defined]
LARGEST_METADATA = 65_536
"""Bytes of an answer's headers or trailers; gRPC's default would lose a long status."""


def channel_to(target: str, message_bytes: int) -> grpc.aio.Channel:
    """A channel to the control process.

    :param message_bytes: largest message, both ways.
    """
    return grpc.aio.insecure_channel(
        target,
        options=[
            ("grpc.max_receive_message_length", message_bytes),
            ("grpc.max_send_message_length", message_bytes),
            ("grpc.max_metadata_size", LARGEST_METADATA),
            ("grpc.absolute_max_metadata_size", LARGEST_METADATA),
            ("grpc.enable_http_proxy", 0),
            # The control process is there for as long as this one: it is soon reached again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ],
    )


class Forward(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Handles every method that no handler before it does."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.GenericRpcHandler`."""
        stub: Any = self._channel.stream_stream(handler_call_details.method, None, None)

        async def forward(requests: Any, context: Context) -> None:
            await _forward(stub, context)

        return grpc.stream_stream_rpc_method_handler(forward)


async def _forward(stub: Any, context: Context) -> None:
    call = stub(timeout=context.time_remaining(), metadata=_passed_on(context.invocation_metadata()))
    requests = asyncio.create_task(_requests(context, call))
    try:
        await _answers(call, context)
    except grpc.aio.AioRpcError as error:
        trailing = _passed_on(error.trailing_metadata())
        await context.abort(error.code(), error.details() or "", trailing)
    else:
        context.set_trailing_metadata(_passed_on(await call.trailing_metadata()))
    finally:
        # The caller may have gone, or have more to say than the other side wants to hear.
        requests.cancel()
        call.cancel()


async def _requests(context: Context, call: Any) -> None:
    try:
        await call.wait_for_connection()
        while (message := await context.read()) is not _END:
            # What ``call.write`` does, but for one thing: where it meets the end of the call, it replaces the
            # status that the control process gave with INTERNAL.
            await call._cython_call.send_serialized_message(message)
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
        # The call has ended; its status says why.
        return


async def _answers(call: Any, context: Context) -> None:
    initial = _passed_on(await call.initial_metadata())
    if initial:
        await context.send_initial_metadata(initial)
    while (message := await call.read()) is not _END:
        await context.write(message)
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), await call.details(), ""
        )


def _passed_on(pairs: Iterable[Any] | None) -> _Pairs:
    """Metadata without what belongs to one connection."""
    return tuple(
        (str(key), value)
        for key, value in pairs or ()
        if key not in _OWN and not (key.startswith("grpc-") and not key.endswith("-bin"))
    )
