"""Settings of the controllers. Every default is the one the operator ships with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Settings shared by all controllers."""

    router_image: str = "etl-router:latest"
    """Image of clusters whose spec names none."""

    cluster_domain: str = "cluster.local"
    """DNS domain of the Kubernetes cluster; router pods are dialled by their stable DNS names."""

    namespaces: tuple[str, ...] = ()
    """Watch only these namespaces; empty means all."""

    poll_interval: float = 5.0
    """Seconds between two polls of a converged cluster's pods."""

    busy_interval: float = 1.0
    """Seconds between two polls while a cluster is not converged, at least. They grow to a tenth of the time
    that its status has not changed, so that an outage is noticed to be over after a tenth of its length."""

    idle_interval: float = 15.0
    """Seconds between two such polls, at most."""

    blocked_after: float = 120.0
    """Seconds a rollout can wait before the next restart until a Warning event reports it."""

    resize_limit: float = 600.0
    """Seconds after which a roll no longer waits for volumes that do not get their size."""

    resize_online: float = 60.0
    """Seconds a node has to grow the file system of a running pod until the pod is restarted for it. A pod
    that is to be restarted for a new template is not held up by this."""

    silence_grace: float = 5.0
    """Seconds for which a member may be silent, and a cluster without a quorum, until that is said; at least
    three times the longest election timeout. A hand-over of the lead takes no longer."""

    join_grace: float = 1.0
    """Seconds a Ready service has to be registered with a member that joins before Ready is withdrawn."""

    drift_interval: float = 30.0
    """Seconds after which a submitted pipeline is compared with the router's again."""

    counter_interval: float = 60.0
    """Seconds between two writes of a pipeline's counters, at least. With other changes they go along."""

    counter_spacing: float = 0.2
    """Seconds between two such writes of any pipelines, at least."""

    retry_base: float = 1.0
    """Seconds before the first retry of a router that did not answer; doubles with every failure."""

    retry_limit: float = 30.0
    """Seconds: the longest pause between two retries of an unreachable router."""

    release_deadline: float = 300.0
    """Seconds this process waits for a router that does not answer before it lets a deleted object go."""

    warn_after: float = 10.0
    """Seconds that a temporary problem has to last until a Warning event reports it: a start, a roll or a
    change of the leader is no reason for an alarm."""

    sweep_interval: float = 300.0
    """Seconds after which a cluster is searched again for pipelines without an object."""

    probes: int = 32
    """Endpoints probed at the same time."""

    workers: int = 4
    """Concurrent reconciles per controller."""
