"""What the operator renders for a pod starts this node."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from controllers.cluster.config import ROUTER_FILE, SCRIPT_FILE, config_data
from controllers.members import naming
from etl_operator.api import EtlRouterCluster
from etl_operator.router.pb import router_pb2
from informers.objects import ObjectKey
from tests.node.cluster import HTTP, METRICS, RAFT, RouterCluster, RouterProcess, pipeline
from tests.processes import GRPC

KEY = ObjectKey("ns", "c")


class Pod(RouterProcess):
    """A node started by the operator's script in the operator's environment."""

    def start(self, members: Iterable[int]) -> None:
        directory, ordinal = self._cluster.directory, self.node_id - 1
        names = naming.raft_peers(KEY, len(list(members)), "cluster.local", RAFT)
        for member in members:  # What cluster DNS does.
            host = naming.host(KEY, member - 1, "cluster.local")
            names = names.replace(host, f"{self._cluster.network}.{member}")
        environment = {
            "POD_NAME": f"c-{ordinal}",
            "POD_IP": self.ip,
            "RAFT_PEERS": names,
            "GRPC_PORT": str(GRPC),
            "RAFT_PORT": str(RAFT),
            "HTTP_PORT": str(HTTP),
            "METRICS_PORT": str(METRICS),
            "DATA_DIR": str(directory / f"data-{ordinal}"),
            "ROUTER_CONFIG": str(directory / ROUTER_FILE),
        }
        self.spawn(["/bin/sh", str(directory / SCRIPT_FILE)], environment)


async def test_the_rendered_script_and_configuration_make_a_cluster(tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "image": "etl-router:1",
        "command": [sys.executable, "-m", "etl_operator.node"],
        "raft": {"electionTimeoutMs": 300, "heartbeatIntervalMs": 100},
        "metrics": {"enabled": True},
    }
    wish = EtlRouterCluster.model_validate(
        {
            "apiVersion": "etl.router/v1",
            "kind": "EtlRouterCluster",
            "metadata": {"name": "c", "namespace": "ns"},
            "spec": spec,
        }
    )
    cluster = RouterCluster(tmp_path)
    for name, text in config_data(wish).items():
        (tmp_path / name).write_text(text)
    try:
        for node_id in (1, 2, 3):
            cluster.nodes[node_id] = Pod(cluster, node_id)
            cluster.nodes[node_id].start([1, 2, 3])
        leader = await cluster.leader()
        request = router_pb2.CreatePipelineRequest(config=pipeline("ns/p"))
        assert (await leader.admin.CreatePipeline(request)).success
        assert "defaults are used" not in cluster.logs()
        assert (await leader.get("/metrics", METRICS))[0] == 200
        assert [await node.terminate() for node in cluster.nodes.values()] == [0, 0, 0]
    finally:
        for node in cluster.nodes.values():
            await node.close()
