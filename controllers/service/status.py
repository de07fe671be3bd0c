"""The status of a service, computed from what the keeper knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controllers.status import reasons as r
from controllers.status.conditions import Conditions
from etl_operator.api.fitting import fitted
from etl_operator.api.service import ServiceStatus
from etl_operator.router.registry import Health
from informers.objects import Object


@dataclass(frozen=True, slots=True)
class Registered:
    """Where a service should be and where it is."""

    total: int
    """Members the cluster is to have."""
    addresses: Sequence[str]
    """Ready pods: those that must know the service."""
    done: Sequence[str]
    """Those of them that do."""
    errors: Mapping[str, str]
    mounting: str = ""
    """A Secret for calls to the service that some ready pods do not mount yet."""
    unusable: str = ""
    """Which Secret, or key of one, is missing for calls to the service."""

    @property
    def everywhere(self) -> bool:
        """Registered with every ready pod, and there is one."""
        return bool(self.addresses) and len(self.done) == len(self.addresses)


def conclude(obj: Object, figures: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
    """The whole status: what was known before, the new figures, the conditions."""
    before = {key: value for key, value in (obj.get("status") or {}).items() if key != "conditions"}
    status = {
        **before,
        **figures,
        "observedGeneration": obj["metadata"].get("generation", 0),
        "conditions": conditions.items(),
    }
    return fitted(ServiceStatus, status)


def service_figures(service: str, cluster: str, where: Registered, health: Health | None) -> dict[str, Any]:
    """Everything but the conditions."""
    word = "Unknown" if health is None else "Healthy" if health.healthy else "Unhealthy"
    return {
        "serviceId": service,
        "cluster": cluster,
        "registeredNodes": len(where.done),
        "totalNodes": where.total,
        "health": word,
    }


def judge_service(where: Registered, health: Health | None, probed: bool, conditions: Conditions) -> None:
    """Set ``Registered``, ``EndpointHealthy`` and ``Ready``.

    :param health: of the endpoint, ``None`` when it is not known.
    :param probed: it is to be known.
    """
    _endpoint(health, conditions)
    counted = f"{len(where.done)} of {len(where.addresses)} ready members"
    if not where.addresses:
        message = "the cluster has no ready member yet"
        conditions.set(r.REGISTERED, False, r.DEPENDENCY_NOT_READY, message)
        return conditions.working(r.DEPENDENCY_NOT_READY, message)
    if not where.everywhere:
        first = next((where.errors[a] for a in where.addresses if where.errors.get(a)), "")
        message = f"registered with {counted}" + (f": {first}" if first else "")
        if where.mounting and not first:
            message += f"; members are restarted one at a time to mount Secret {where.mounting}"
        reason = r.RETRYING if first else r.PROGRESSING
        conditions.set(r.REGISTERED, False, reason, message)
        return conditions.working(reason, message)
    conditions.set(r.REGISTERED, True, r.REGISTERED, "registered with every ready member")
    if where.unusable:
        return conditions.working(r.TLS_NOT_READY, where.unusable)
    if health is not None and not health.healthy:
        return conditions.working(r.PROBE_FAILED, health.message)
    if health is None and probed:
        return conditions.working(r.PROGRESSING, "the endpoint has not been probed yet")
    return conditions.ready(r.SUCCEEDED, f"registered with {counted}")


def _endpoint(health: Health | None, conditions: Conditions) -> None:
    if health is None:
        conditions.clear(r.ENDPOINT_HEALTHY)
    elif health.healthy:
        conditions.set(r.ENDPOINT_HEALTHY, True, r.HEALTHY, health.message)
    else:
        conditions.set(r.ENDPOINT_HEALTHY, False, r.PROBE_FAILED, health.message)
