"""The service registry of one node: in memory, shared with nobody, forgotten at exit.

The behaviour is the published router's, oddities included, because clients must cope with it:

* Register replaces by id, but adds the id once more to the list of its name, so that endpoints show up once
  per registration. Registering under another name leaves the id in the old name's list too.
* Nothing is ever removed by time. Expiry only hides entries from `endpoints`.
* Filters, load and lease ids of the wire are not looked at. Health, weights, limits and TLS are kept for the
  data plane, and are not in the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

SOURCE, TRANSFORM, SINK = 1, 2, 3
"""Service types of the wire. Every other value is stored as SOURCE."""


@dataclass(slots=True)
class Service:
    """One registered service."""

    service_id: str
    service_type: int
    name: str
    host: str
    port: int
    group_id: str
    labels: Mapping[str, str]
    renewed: float
    """Monotonic seconds of the last registration or heartbeat."""
    use_tls: bool = False
    weight: int = 0
    most_calls: int = 0
    """Calls at the same time; 0 for any number."""
    healthy: bool = True
    """False after a heartbeat said UNHEALTHY."""


class Registry:
    """Services by id and by name.

    :param clock: monotonic seconds.
    :param lease: seconds a registration or heartbeat lasts.
    """

    def __init__(self, clock: Callable[[], float], lease: float = 30.0) -> None:
        self.lease = lease
        self._clock = clock
        self._services: dict[str, Service] = {}
        self._by_name: dict[str, list[str]] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called after a service came, changed or went; not when a lease runs out."""

    def __len__(self) -> int:
        return len(self._services)

    def __iter__(self) -> Iterator[Service]:
        """All services by id, expired ones too."""
        return iter(sorted(self._services.values(), key=lambda service: service.service_id))

    def register(
        self,
        service_id: str,
        service_type: int,
        name: str,
        host: str,
        port: int,
        *,
        group_id: str = "",
        labels: Mapping[str, str] | None = None,
        use_tls: bool = False,
        weight: int = 0,
        most_calls: int = 0,
    ) -> None:
        """Store or replace a service and start its lease. Nothing is validated."""
        # Kept as one string and split at its first colon, so that a literal IPv6 host comes back broken.
        host, _, rest = f"{host}:{port}".partition(":")
        self._services[service_id] = Service(
            service_id,
            service_type if service_type in (SOURCE, TRANSFORM, SINK) else SOURCE,
            name,
            host,
            int(rest) if rest.isdigit() else 0,
            group_id,
            dict(labels or {}),
            self._clock(),
            use_tls,
            weight,
            most_calls,
        )
        self._by_name.setdefault(name, []).append(service_id)
        self.on_change()

    def deregister(self, service_id: str) -> None:
        """Forget a service, under its present name. An unknown id is fine."""
        service = self._services.pop(service_id, None)
        if service is not None:
            left = [other for other in self._by_name.get(service.name, []) if other != service_id]
            self._by_name[service.name] = left
            self.on_change()

    def heartbeat(self, service_id: str, *, healthy: bool = True) -> bool:
        """Renew a lease, also one that has run out. False: the id is not known, register again."""
        service = self._services.get(service_id)
        if service is None:
            return False
        changed = service.healthy is not healthy or not self.lives(service)
        service.renewed, service.healthy = self._clock(), healthy
        if changed:
            self.on_change()
        return True

    def lives(self, service: Service) -> bool:
        """Its lease lasts."""
        return self._clock() - service.renewed <= self.lease

    def endpoints(self, name: str) -> list[Service]:
        """Services registered under a name whose lease lasts, once per registration."""
        found = (self._services.get(service_id) for service_id in self._by_name.get(name, ()))
        return [service for service in found if service is not None and self.lives(service)]
