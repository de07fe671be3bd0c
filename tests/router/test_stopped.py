"""Two real processes, one lease and one router: the process that was stopped past its lease changes nothing
in the router afterwards."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from etl_operator.router.pb import router_pb2
from etl_operator.sandbox.http.kubeconfig import write_kubeconfig
from tests.informers.manager.test_leader_stopped import Witness, contender, until
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

    @property
    def last(self) -> str:
        return self.writes[-1][0] if self.writes else ""


async def test_a_stopped_leader_sends_a_router_nothing_after_its_lease(tmp_path: Path) -> None:
    async with serving() as server:
        kubeconfig = tmp_path / "kubeconfig"
        write_kubeconfig(kubeconfig, server.admin_kubeconfig())
        router = Router(Witness(server))
        await router.start()
        async with contender(kubeconfig, "one", router.address) as one:
            await until(lambda: router.last == "one", "the first one writes")
            async with contender(kubeconfig, "two", router.address):
                # Right after a write has arrived: the next is not on its way yet.
                count = len(router.writes)
                await until(lambda: len(router.writes) > count, "another write of the first")
                one.send_signal(signal.SIGSTOP)
                await until(lambda: router.last == "two", "the second takes over")
                taken_over = len(router.writes)
                one.send_signal(signal.SIGCONT)
                # The first comes to, and tries fifty times a second, as the second goes on.
                await until(lambda: len(router.writes) > taken_over + 100, "the second goes on")
                assert {writer for writer, _ in router.writes[taken_over:]} == {"two"}
                assert all(writer == holder for writer, holder in router.writes)
            # It was no ghost: when the second goes for good, the first leads again.
            await until(lambda: router.last == "one", "the first leads again")
            assert all(writer == holder for writer, holder in router.writes)
        await router.stop()
