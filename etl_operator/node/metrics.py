"""Prometheus metrics of a node. Loaded only where they are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from etl_operator.node.consensus.engine import ConsensusEngine
from etl_operator.node.control.registry import Registry
from etl_operator.node.control.state import RouterState
from etl_operator.probes import Page, Route


class NodeCollector(Collector):
    """Reads everything when scraped.

    :param calls: gRPC calls so far by ``Service/Method``.
    :param flushes: disk flushes of the journal so far.
    """

    def __init__(
        self,
        engine: ConsensusEngine,
        pipelines: RouterState,
        registry: Registry,
        calls: Mapping[str, int],
        flushes: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._pipelines = pipelines
        self._registry = registry
        self._calls = calls
        self._flushes = flushes

    def collect(self) -> Iterator[Metric]:
        """Called by the metrics library."""
        status = self._engine.status()
        enabled = sum(pipeline.enabled for pipeline in self._pipelines)
        healthy = sum(member.healthy for member in status.members)
        plain = {
            "etl_router_raft_term": ("Raft term.", status.term),
            "etl_router_raft_is_leader": ("1 on the leader.", status.leader_id == status.node_id),
            "etl_router_raft_has_leader": ("1 where a leader is known.", status.leader_id is not None),
            "etl_router_raft_commit_index": ("Last committed log entry.", status.commit_index),
            "etl_router_raft_applied_index": ("Last applied log entry.", status.applied_index),
            "etl_router_raft_members": ("Members by configuration.", len(status.members)),
            "etl_router_raft_members_healthy": ("Members heard of lately.", healthy),
            "etl_router_registered_services": ("Services in this node's registry.", len(self._registry)),
        }
        for name, (text, value) in plain.items():
            yield GaugeMetricFamily(name, text, value=float(value))
        pipelines = GaugeMetricFamily("etl_router_pipelines", "Pipelines.", labels=["enabled"])
        pipelines.add_metric(["true"], enabled)
        pipelines.add_metric(["false"], len(self._pipelines) - enabled)
        yield pipelines
        yield CounterMetricFamily(
            "etl_router_journal_flushes", "Disk flushes of the journal.", value=self._flushes()
        )
        calls = CounterMetricFamily("etl_router_grpc_calls", "gRPC calls.", labels=["method"])
        for method, count in sorted(self._calls.items()):
            calls.add_metric([method], count)
        yield calls


def metrics_routes(collector: NodeCollector) -> Mapping[str, Route]:
    """``/metrics`` in the text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)

    def page() -> Page:
        return Page(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))

    return {"/metrics": page}
