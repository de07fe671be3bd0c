"""Prometheus metrics of a node. Loaded only where they are served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from etl_operator.node.bridge.workers import Figures
from etl_operator.node.consensus.engine import ConsensusEngine
from etl_operator.node.control.registry import Registry
from etl_operator.node.control.state import RouterState
from etl_operator.node.data.view import Report
from etl_operator.probes import Page, Route

MOST_STAGES = 5000
"""Stages with series of their own; those of further pipelines are left out."""


class NodeCollector(Collector):
    """Reads everything when scraped.

    :param calls: gRPC calls so far by ``Service/Method``.
    :param flushes: disk flushes of the journal so far.
    :param report: what the data plane of this node holds.
    :param worker_calls: gRPC calls that workers served.
    :param workers: figures of each worker.
    """

    def __init__(
        self,
        engine: ConsensusEngine,
        pipelines: RouterState,
        registry: Registry,
        calls: Mapping[str, int],
        flushes: Callable[[], int],
        report: Callable[[], Awaitable[Report]],
        worker_calls: Callable[[], Mapping[str, int]],
        workers: Callable[[], Sequence[Figures]],
    ) -> None:
        self._engine = engine
        self._pipelines = pipelines
        self._registry = registry
        self._calls = calls
        self._flushes = flushes
        self._report = report
        self._worker_calls = worker_calls
        self._workers = workers
        self._reported = Report(0)

    async def gather(self) -> None:
        """Ask the data plane, for the next `collect`."""
        self._reported = await self._report()

    def collect(self) -> Iterator[Metric]:
        """Called by the metrics library."""
        status = self._engine.status()
        enabled = sum(pipeline.enabled for pipeline in self._pipelines)
        healthy = sum(member.healthy for member in status.members)
        plain = {
            "etl_router_raft_term": ("Current Raft term.", status.term),
            "etl_router_raft_is_leader": (
                "1 if this node is the leader, otherwise 0.",
                status.leader_id == status.node_id,
            ),
            "etl_router_raft_has_leader": (
                "1 if this node knows a leader, otherwise 0.",
                status.leader_id is not None,
            ),
            "etl_router_raft_commit_index": ("Index of the last committed log entry.", status.commit_index),
            "etl_router_raft_applied_index": ("Index of the last applied log entry.", status.applied_index),
            "etl_router_raft_members": ("Members in the Raft configuration.", len(status.members)),
            "etl_router_raft_members_healthy": (
                "Members that answered this node recently, itself included.",
                healthy,
            ),
            "etl_router_registered_services": ("Services registered with this node.", len(self._registry)),
        }
        for name, (text, value) in plain.items():
            yield GaugeMetricFamily(name, text, value=float(value))
        pipelines = GaugeMetricFamily(
            "etl_router_pipelines", "Pipelines in the cluster, by enabled.", labels=["enabled"]
        )
        pipelines.add_metric(["true"], enabled)
        pipelines.add_metric(["false"], len(self._pipelines) - enabled)
        yield pipelines
        yield CounterMetricFamily(
            "etl_router_journal_flushes",
            "Writes to disk for proposals: flushes of the journal, or transactions of etcd.",
            value=self._flushes(),
        )
        calls = CounterMetricFamily(
            "etl_router_grpc_calls", "gRPC calls that this node received, by method.", labels=["method"]
        )
        for method, count in sorted((Counter(self._calls) + Counter(self._worker_calls())).items()):
            calls.add_metric([method], count)
        yield calls
        yield from data_metrics(self._reported)
        yield from _worker_metrics(self._workers())


def data_metrics(report: Report) -> Iterator[Metric]:
    """Records, by pipeline and stage. A series ends with its pipeline; at most `MOST_STAGES` have one."""
    yield from _stage_metrics(report)
    yield from _pipeline_metrics(report)
    plain = {
        "etl_router_credits_granted": (
            "Credits granted to sources and not used, in records.",
            report.credits,
        ),
        "etl_router_pending_bytes": (
            "Bytes of the buffer that records in progress take.",
            report.pending_bytes,
        ),
        "etl_router_streams": ("Open streams from sources.", report.streams),
    }
    for name, (text, value) in plain.items():
        yield GaugeMetricFamily(name, text, value=float(value))


def _stage_metrics(report: Report) -> Iterator[Metric]:
    labels = ["pipeline", "stage"]
    gauges = {
        "records_buffered": GaugeMetricFamily(
            "etl_router_stage_records_buffered",
            "Records that wait for a call of the stage or are in one.",
            labels=labels,
        ),
        "broken": GaugeMetricFamily(
            "etl_router_stage_broken",
            "1 after a service of the stage answered UNIMPLEMENTED, PERMISSION_DENIED, UNAUTHENTICATED or an "
            "invalid result, until a call succeeds; otherwise 0. Unreachable services do not count.",
            labels=labels,
        ),
    }
    counters = {
        name: CounterMetricFamily(f"etl_router_stage_{name}", text, labels=labels)
        for name, text in (
            ("records", "Records that the stage processed, filtered records included."),
            ("record_errors", "Records that failed in the stage and are not tried again."),
            ("unanswered_calls", "Calls of the stage that failed without a decision about their records."),
        )
    }
    seconds = SummaryMetricFamily(
        "etl_router_stage_call_seconds",
        "Duration of the answered calls of the stage, in seconds.",
        labels=labels,
    )
    stages = (
        ([pipeline_id, stage_id], stage)
        for pipeline_id, pipeline in sorted(report.pipelines.items())
        for stage_id, stage in pipeline.stages.items()
    )
    for where, stage in islice(stages, MOST_STAGES):
        gauges["records_buffered"].add_metric(where, stage.buffered)
        gauges["broken"].add_metric(where, float(bool(stage.broken)))
        counters["records"].add_metric(where, stage.processed)
        counters["record_errors"].add_metric(where, stage.errors)
        counters["unanswered_calls"].add_metric(where, stage.unanswered)
        seconds.add_metric(where, stage.calls, stage.call_seconds)
    yield from (*gauges.values(), *counters.values(), seconds)


def _pipeline_metrics(report: Report) -> Iterator[Metric]:
    pending = GaugeMetricFamily(
        "etl_router_pipeline_pending_records",
        "Records that were received and are not acknowledged.",
        labels=["pipeline"],
    )
    parked = GaugeMetricFamily(
        "etl_router_pipeline_parked_records",
        "Failed records that are kept in memory because the pipeline has no dead-letter sink.",
        labels=["pipeline"],
    )
    stored = GaugeMetricFamily(
        "etl_router_pipeline_stored_records",
        "Records in the durable buffer, which all members share; computed from the number of messages.",
        labels=["pipeline"],
    )
    available = GaugeMetricFamily(
        "etl_router_pipeline_buffer_available",
        "0 if the durable buffer of the pipeline has a problem, otherwise 1; without a durable buffer 1.",
        labels=["pipeline"],
    )
    letters = CounterMetricFamily(
        "etl_router_pipeline_dead_letters", "Records written to the dead-letter sink.", labels=["pipeline"]
    )
    rejected = CounterMetricFamily(
        "etl_router_pipeline_rejected_records",
        "Failed records that were rejected, because dead letters are disabled or their sink refused them.",
        labels=["pipeline"],
    )
    for pipeline_id, pipeline in islice(sorted(report.pipelines.items()), MOST_STAGES):
        pending.add_metric([pipeline_id], pipeline.pending)
        parked.add_metric([pipeline_id], pipeline.parked)
        stored.add_metric([pipeline_id], pipeline.stored)
        available.add_metric([pipeline_id], float(not pipeline.buffer))
        letters.add_metric([pipeline_id], pipeline.dead_letters)
        rejected.add_metric([pipeline_id], pipeline.rejected)
    yield from (pending, parked, stored, available, letters, rejected)


def _worker_metrics(workers: Sequence[Figures]) -> Iterator[Metric]:
    labels = ["worker"]
    serving = GaugeMetricFamily(
        "etl_router_worker_serving", "1 if the worker is serving, otherwise 0.", labels=labels
    )
    restarts = CounterMetricFamily(
        "etl_router_worker_restarts", "Restarts of the worker after it ended.", labels=labels
    )
    cpu = CounterMetricFamily(
        "etl_router_worker_cpu_seconds", "User and system CPU time of the worker, in seconds.", labels=labels
    )
    memory = GaugeMetricFamily(
        "etl_router_worker_resident_memory_bytes", "Resident memory of the worker, in bytes.", labels=labels
    )
    for worker in workers:
        where = [str(worker.number)]
        serving.add_metric(where, float(worker.serving))
        restarts.add_metric(where, worker.restarts)
        cpu.add_metric(where, worker.cpu_seconds)
        memory.add_metric(where, worker.resident_bytes)
    yield from (serving, restarts, cpu, memory)


def metrics_routes(collector: NodeCollector) -> Mapping[str, Route]:
    """``/metrics`` in the text format."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)

    async def page() -> Page:
        await collector.gather()
        return Page(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", generate_latest(registry))

    return {"/metrics": page}
