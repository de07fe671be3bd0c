"""What a stream may hold in memory before the node has taken anything of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio

from etl_operator.node.data.credit import Amount, Budget, Limits
from etl_operator.node.limits import server_options
from etl_operator.node.settings import STREAM_BYTES, Grpc

PIECE = 64 * 1024


async def test_grpc_holds_no_more_of_a_stream_that_is_not_read_than_the_budget_counts() -> None:
    read_on = asyncio.Event()
    pieces = 3 * STREAM_BYTES // PIECE
    sent = 0

    async def behaviour(requests: Any, context: Any) -> None:
        await read_on.wait()
        for _ in range(pieces):
            await context.read()

    server = grpc.aio.server(options=server_options(Grpc(), reuse_port=False))
    handler = grpc.stream_stream_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("a.Service", {"Push": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.stream_stream("/a.Service/Push", None, None)(None)

        async def push() -> None:
            nonlocal sent
            for _ in range(pieces):
                await call.write(b"x" * PIECE)
                sent += PIECE

        pushing = asyncio.create_task(push())
        # However long this lasts: the window is full.
        await asyncio.wait([pushing], timeout=2)
        assert not pushing.done()
        # One piece may be under way beside those in the window.
        assert sent <= STREAM_BYTES + 2 * PIECE
        read_on.set()
        await pushing
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    await server.stop(None)


def test_open_streams_count_as_up_to_half_of_all_bytes() -> None:
    budget = Budget(Limits(total=Amount(1000, 8 * STREAM_BYTES)), lambda: 0.0)
    shares = []
    for _ in range(6):
        budget.opened()
        shares.append(budget.share("src", []))
    assert shares == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 4 / 8, 4 / 8]
    for _ in range(6):
        budget.closed()
    assert budget.share("src", []) == 0
