"""What a node says when it refuses reaches a client with default limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc.aio
import pytest

from etl_operator.node.consensus.engine import ConsensusEngine, NotLeader, Role, Status, StorageError
from etl_operator.node.control.services import RouterAdmin, handlers
from etl_operator.node.control.state import Create, RouterState, encode
from etl_operator.node.data.graph import refusal
from etl_operator.node.settings import Node
from etl_operator.router.methods import DELETE_PIPELINE
from etl_operator.router.pb import router_pb2, router_pb2_grpc
from tests.hanging import HANGS
from tests.node.data.made import line


class Failing:
    """An engine whose errors are long."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def propose(self, _: bytes) -> Any:
        raise StorageError(self.text)


class Applying:
    """An engine of one member that applies at once."""

    def __init__(self, pipelines: RouterState, leader: int) -> None:
        self._pipelines = pipelines
        self._leader = leader

    def status(self) -> Status:
        role = Role.LEADER if self._leader == 1 else Role.FOLLOWER
        return Status(1, self._leader, role, 1, 1, 1, (), True)

    async def read_barrier(self) -> None:
        """Nothing is missing."""

    async def propose(self, command: bytes) -> Any:
        if self._leader != 1:
            raise NotLeader
        return self._pipelines.apply(command)


@asynccontextmanager
async def serving(admin: RouterAdmin) -> AsyncIterator[grpc.aio.Channel]:
    """``RouterAdmin`` on a port, and a client with default limits."""
    server = grpc.aio.server()
    described = router_pb2.DESCRIPTOR.services_by_name["RouterAdmin"]
    server.add_generic_rpc_handlers([handlers(described, admin, Node(), lambda _: None)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


@pytest.mark.parametrize("text", ["short", "disk " * 5_000, "ü%" * 20_000, "\N{GRINNING FACE}" * 20_000])
async def test_an_error_of_any_length_arrives_with_its_status(text: str) -> None:
    admin = RouterAdmin(cast(ConsensusEngine, Failing(text)), RouterState(), Node())
    async with serving(admin) as channel:
        call: Any = channel.unary_unary(
            DELETE_PIPELINE.path(Node().package_prefix),
            request_serializer=router_pb2.DeletePipelineRequest.SerializeToString,
            response_deserializer=router_pb2.DeletePipelineResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(router_pb2.DeletePipelineRequest(pipeline_id="a/b"), timeout=HANGS)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert text.startswith(caught.value.details() or "nothing")


def stored(config: router_pb2.PipelineConfig) -> RouterState:
    """What an earlier version stored without a check."""
    pipelines = RouterState()
    pipelines.apply(encode(Create(config.id, config.SerializeToString(), 1.0)))
    return pipelines


async def test_a_stored_pipeline_that_cannot_run_is_not_enabled_until_it_is_updated() -> None:
    broken = line()
    broken.edges.add(from_stage="out", to_stage="nowhere")
    pipelines = stored(broken)
    admin = RouterAdmin(cast(ConsensusEngine, Applying(pipelines, 1)), pipelines, Node(), refusal)
    async with serving(admin) as channel:
        stub = router_pb2_grpc.RouterAdminStub(channel)  # type: ignore[no-untyped-call]
        enable = router_pb2.EnablePipelineRequest(pipeline_id="ns/p")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EnablePipeline(enable, timeout=HANGS)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (caught.value.details() or "").startswith("pipeline ns/p cannot run: config.edges[1].")
        found = pipelines.get("ns/p")
        assert found is not None
        assert not found.enabled
        update = router_pb2.UpdatePipelineRequest(pipeline_id="ns/p", config=line())
        assert (await stub.UpdatePipeline(update, timeout=HANGS)).success
        assert (await stub.EnablePipeline(enable, timeout=HANGS)).success
        unknown = router_pb2.EnablePipelineRequest(pipeline_id="ns/unknown")
        assert (await stub.EnablePipeline(unknown, timeout=HANGS)).success


async def test_a_follower_does_not_judge_what_it_has_stored() -> None:
    broken = line()
    broken.stages[0].id = ""
    pipelines = stored(broken)
    admin = RouterAdmin(cast(ConsensusEngine, Applying(pipelines, 2)), pipelines, Node(), refusal)
    async with serving(admin) as channel:
        stub = router_pb2_grpc.RouterAdminStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            request = router_pb2.EnablePipelineRequest(pipeline_id="ns/p")
            await stub.EnablePipeline(request, timeout=HANGS)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
