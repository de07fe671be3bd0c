"""What is to be registered, and what became of it: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from etl_operator.router.pb import common_pb2, registry_pb2


@dataclass(frozen=True, slots=True)
class Registration:
    """One service as it is registered. Compared by content."""

    service_id: str
    """``namespace/name``; at most one registration per id and node."""
    type: int
    """``etl.common.ServiceType``: 1 source, 2 transform, 3 sink."""
    name: str
    """What pipeline stages select by."""
    host: str
    """Without brackets, also for IPv6."""
    port: int
    use_tls: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    weight: int = 100
    max_concurrent_requests: int = 0
    """0: the router's own default."""

    def request(self) -> registry_pb2.RegisterRequest:
        """The message on the wire."""
        return registry_pb2.RegisterRequest(
            identity=common_pb2.ServiceIdentity(
                service_id=self.service_id,
                # Enums are open on the wire: an unknown number is the router's to judge.
                service_type=cast(common_pb2.ServiceType, self.type),
                name=self.name,
            ),
            endpoint=common_pb2.Endpoint(host=self.host, port=self.port, use_tls=self.use_tls),
            metadata=registry_pb2.ServiceMetadata(
                labels=self.labels,
                max_concurrent_requests=self.max_concurrent_requests,
                weight=self.weight,
            ),
        )


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a service's health."""

    healthy: bool
    message: str

    def wire(self) -> registry_pb2.ServiceHealth:
        """The message on the wire."""
        word = common_pb2.HEALTH_STATUS_HEALTHY if self.healthy else common_pb2.HEALTH_STATUS_UNHEALTHY
        return registry_pb2.ServiceHealth(status=word, message=self.message)


class Beat(NamedTuple):
    """One heartbeat."""

    service: str
    """Its id."""
    registration: str
    """The registration's id."""
    health: Health | None = None
    """Not sent while nothing is known."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A router's answer to a registration."""

    registration_id: str
    ttl: float
    """Seconds the endpoint stays listed without a heartbeat; :data:`DEFAULT_TTL` when it does not say."""


DEFAULT_TTL = 30.0
"""Seconds; what published routers use."""


@dataclass(frozen=True, slots=True)
class RegistrationState:
    """One service on one node."""

    registered: bool
    """The node has the registration as it is wanted now, and its lease is alive."""
    error: str | None = None
    """Why not, when an attempt has failed."""
