"""Two real processes, one lease and one router: the process that was stopped past its lease changes nothing
in the router afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from etl_operator.router.pb import router_pb2
from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from tests.informers.manager.contending import Witness, check_stopped_leader
from tests.router.fake import Context, FakeRouter, Pipeline
from tests.sandbox.http.serving import serving


class Router(FakeRouter):
    """A router that notes who writes, and who holds the lease at that moment."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness
        self.cluster.pipelines["log"] = Pipeline(router_pb2.PipelineConfig(id="log"))
        self.writes: list[tuple[str, str]] = []

    async def UpdatePipeline(self, request: Any, context: Context) -> router_pb2.UpdatePipelineResponse:
        self.writes.append((request.config.description, self._witness.holder))
        return await super().UpdatePipeline(request, context)


async def test_a_stopped_leader_sends_a_router_nothing_after_its_lease(tmp_path: Path) -> None:
    async with serving() as server:
        kubeconfig = tmp_path / "kubeconfig"
        write_kubeconfig(kubeconfig, server.admin_kubeconfig())
        witness = Witness(server)
        router = Router(witness)
        await router.start()
        await check_stopped_leader(kubeconfig, witness, router.writes, router.address)
        await router.stop()
