"""Two real processes and one lease: the one that was stopped past its lease writes nothing afterwards."""

from __future__ import annotations

from pathlib import Path

from etl_operator.sandbox.http.files.kubeconfig import write_kubeconfig
from tests.informers.manager.contending import Witness, check_stopped_leader
from tests.sandbox.http.serving import serving


async def test_a_stopped_leader_writes_nothing_after_its_lease(tmp_path: Path) -> None:
    async with serving() as server:
        kubeconfig = tmp_path / "kubeconfig"
        write_kubeconfig(kubeconfig, server.admin_kubeconfig())
        witness = Witness(server)
        await check_stopped_leader(kubeconfig, witness, witness.writes)
