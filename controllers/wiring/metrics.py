"""The metrics of the product itself; the runtime's own are in :mod:`informers.metrics`.

Whatever is about one object has its ``namespace`` and its ``name`` for labels, and goes with it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

from controllers.members.facts import Consensus
from informers.metrics import Metrics
from informers.objects import ObjectKey

_CLUSTER = ("namespace", "name")
_PIPELINE = _CLUSTER

_RPC_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0)
"""Bucket bounds of a call to a router, in seconds; its deadline is 5 s."""


class ControllerMetrics:
    """Every series the controllers write. Series of a deleted object go with it."""

    def __init__(self, metrics: Metrics) -> None:
        self._ready = metrics.gauge(
            "etl_operator_resource_ready",
            "Whether the object's Ready condition is True.",
            ("kind", "namespace", "name"),
        )
        self._drift = metrics.counter(
            "etl_operator_drift_corrected_total",
            "Number of times the operator reverted a change made in a router.",
            ("kind", "namespace", "name"),
        )
        self._endpoint = metrics.gauge(
            "etl_operator_endpoint_healthy",
            "Whether the endpoint of a service that is probed is healthy.",
            ("kind", "namespace", "name"),
        )
        self._members = metrics.gauge("etl_router_cluster_members", "Members of the Raft cluster.", _CLUSTER)
        self._healthy = metrics.gauge(
            "etl_router_cluster_healthy_members", "Members that answer and follow the leader.", _CLUSTER
        )
        self._term = metrics.gauge("etl_router_cluster_term", "Raft term.", _CLUSTER)
        self._commit = metrics.gauge("etl_router_cluster_commit_index", "Raft commit index.", _CLUSTER)
        self._lag = metrics.gauge(
            "etl_router_cluster_follower_lag", "Log entries that the slowest member is behind.", _CLUSTER
        )
        self._split = metrics.gauge(
            "etl_router_cluster_split_brain",
            "1 while two members report that they lead in the same term.",
            _CLUSTER,
        )
        self._unmanaged = metrics.gauge(
            "etl_router_cluster_unmanaged_pipelines",
            "Pipelines in the router that belong to no EtlPipeline and are not changed.",
            _CLUSTER,
        )
        self._changes = metrics.counter(
            "etl_router_cluster_leader_changes_total", "Leader changes that the operator observed.", _CLUSTER
        )
        self._pipelines = _PipelineSeries(metrics)

    def records(self, key: ObjectKey, *, entered: int, failed: int, dead_letters: int, pending: int) -> None:
        """Add what was counted since the last look at a pipeline in the router."""
        self._pipelines.add(key, entered, failed, dead_letters, pending)

    def forget_records(self, key: ObjectKey) -> None:
        """Drop the series about a deleted pipeline's records."""
        self._pipelines.forget(key)

    def ready(self, kind: str, key: ObjectKey, ready: bool) -> None:
        """Record whether an object is Ready."""
        self._ready.set(float(ready), kind, key.namespace, key.name)

    def drift(self, kind: str, key: ObjectKey) -> None:
        """Count one corrected drift."""
        self._drift.inc(kind, key.namespace, key.name)

    def endpoint(self, kind: str, key: ObjectKey, healthy: bool) -> None:
        """Record the health of a service's endpoint."""
        self._endpoint.set(float(healthy), kind, key.namespace, key.name)

    def forget_endpoint(self, kind: str, key: ObjectKey) -> None:
        """Drop the series of an endpoint that is not probed any more."""
        self._endpoint.remove(kind, key.namespace, key.name)

    def leader_changed(self, key: ObjectKey) -> None:
        """Count one leader change."""
        self._changes.inc(key.namespace, key.name)

    def consensus(self, key: ObjectKey, consensus: Consensus) -> None:
        """Record what a poll found."""
        labels = (key.namespace, key.name)
        self._members.set(float(consensus.members), *labels)
        self._healthy.set(float(len(consensus.following)), *labels)
        self._term.set(float(consensus.term), *labels)
        self._commit.set(float(consensus.commit_index), *labels)
        slowest = min(consensus.match.values(), default=consensus.commit_index)
        self._lag.set(float(max(0, consensus.commit_index - slowest)), *labels)
        self._split.set(float(bool(consensus.split)), *labels)

    def unmanaged(self, key: ObjectKey, pipelines: int) -> None:
        """Record how many pipelines in the router are nobody's business here."""
        self._unmanaged.set(float(pipelines), key.namespace, key.name)

    def forget_pipelines(self, key: ObjectKey) -> None:
        """Drop the series about a cluster's pipelines."""
        self._unmanaged.remove(key.namespace, key.name)

    def forget(self, kind: str, key: ObjectKey) -> None:
        """Drop the series of a deleted object."""
        for series in (self._ready, self._drift):
            series.remove(kind, key.namespace, key.name)

    def forget_cluster(self, key: ObjectKey) -> None:
        """Drop the series of a deleted cluster."""
        for gauge in (self._members, self._healthy, self._term, self._commit, self._lag, self._split):
            gauge.remove(key.namespace, key.name)
        self._changes.remove(key.namespace, key.name)


class _PipelineSeries:
    """The series about the records of pipelines."""

    def __init__(self, metrics: Metrics) -> None:
        self._records = metrics.counter(
            "etl_operator_pipeline_records_total",
            "Records that entered the pipeline, as far as this process has seen the router count them.",
            _PIPELINE,
        )
        self._errors = metrics.counter(
            "etl_operator_pipeline_record_errors_total",
            "Records that failed in a stage of the pipeline after all retries, counted likewise.",
            _PIPELINE,
        )
        self._letters = metrics.counter(
            "etl_operator_pipeline_dead_letters_total",
            "Failed records that were written to the dead-letter sink, or that the router keeps.",
            _PIPELINE,
        )
        self._pending = metrics.gauge(
            "etl_operator_pipeline_pending_records", "Records in the stages of the pipeline.", _PIPELINE
        )

    def add(self, key: ObjectKey, entered: int, failed: int, dead_letters: int, pending: int) -> None:
        labels = (key.namespace, key.name)
        self._records.inc(*labels, amount=entered)
        self._errors.inc(*labels, amount=failed)
        self._letters.inc(*labels, amount=dead_letters)
        self._pending.set(float(pending), *labels)

    def forget(self, key: ObjectKey) -> None:
        for series in (self._records, self._errors, self._letters, self._pending):
            series.remove(key.namespace, key.name)


class RpcMetrics:
    """Calls to routers: how many to each cluster, and how long they take by method.

    Times are not kept by cluster: a histogram for every cluster, method and code is more than all the rest.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._calls = metrics.counter(
            "etl_operator_router_rpcs_total",
            "Calls to the routers of a cluster, by gRPC code.",
            (*_CLUSTER, "method", "code"),
        )
        self._seconds = metrics.histogram(
            "etl_operator_router_rpc_seconds", "Seconds a call to a router took.", ("method",), _RPC_SECONDS
        )

    def observe(self, cluster: str, method: str, code: str, elapsed: float) -> None:
        """For ``RouterClients(observe=...)``: count a call.

        :param cluster: ``namespace/name``.
        """
        namespace, _, name = cluster.rpartition("/")
        self._calls.inc(namespace, name, method, code)
        self._seconds.observe(elapsed, method)

    def keep(self, exists: Callable[[ObjectKey], bool]) -> None:
        """Drop the series of clusters that do not exist: a call may end after its cluster."""
        self._calls.keep(lambda labels: exists(ObjectKey(labels[0], labels[1])))


def build_info(metrics: Metrics, version: str, revision: str) -> None:
    """What runs here, as a gauge that is always 1.

    :param revision: of the source, or "" when it is not known.
    """
    metrics.gauge(
        "etl_operator_build_info",
        "1, with the version of the operator, the revision it was built from and that of Python.",
        ("version", "revision", "python"),
    ).set(1.0, version, revision or "unknown", platform.python_version())
