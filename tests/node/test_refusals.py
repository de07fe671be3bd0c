"""What a node says when it refuses reaches a client with default limits."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest

from etl_operator.node.consensus.engine import ConsensusEngine, StorageError
from etl_operator.node.control.services import RouterAdmin, handlers
from etl_operator.node.control.state import RouterState
from etl_operator.node.settings import Node
from etl_operator.router.methods import DELETE_PIPELINE
from etl_operator.router.pb import router_pb2


class Failing:
    """An engine whose errors are long."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def propose(self, _: bytes) -> Any:
        raise StorageError(self.text)


@pytest.mark.parametrize("text", ["short", "disk " * 5_000, "ü%" * 20_000, "\N{GRINNING FACE}" * 20_000])
async def test_an_error_of_any_length_arrives_with_its_status(text: str) -> None:
    admin = RouterAdmin(cast(ConsensusEngine, Failing(text)), RouterState(), Node())
    server = grpc.aio.server()
    described = router_pb2.DESCRIPTOR.services_by_name["RouterAdmin"]
    server.add_generic_rpc_handlers([handlers(described, admin, Node(), lambda _: None)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary(
                DELETE_PIPELINE.path(Node().package_prefix),
                request_serializer=router_pb2.DeletePipelineRequest.SerializeToString,
                response_deserializer=router_pb2.DeletePipelineResponse.FromString,
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(router_pb2.DeletePipelineRequest(pipeline_id="a/b"), timeout=30)
    finally:
        await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert text.startswith(caught.value.details() or "nothing")
