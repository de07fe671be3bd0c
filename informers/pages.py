"""Which page is on which address, and who may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from informers.certificates import ServingCertificate
from informers.errors import ConfigError
from informers.guard import Guard, from_this_machine
from informers.server import BindAddress, Handler, HttpServer


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages by purpose; an empty one is not served."""

    metrics: Mapping[str, Handler]
    health: Mapping[str, Handler]
    debug: Mapping[str, Handler]


def servers(
    pages: Pages,
    metrics: BindAddress | None,
    health: BindAddress | None,
    *,
    certificate: ServingCertificate | None,
    guard: Guard,
) -> list[HttpServer]:
    """The servers for two addresses, which may be the same; ``None`` is off.

    Health probes are for everybody. With a certificate the metrics go over TLS to whom the guard lets in;
    without they are for everybody. Debug pages are with the metrics, else with the health probes: behind the
    guard where there is TLS, else for this machine only. No token ever travels in the clear.

    :raises ConfigError: when metrics over TLS and health probes are to share an address.
    """
    secure = certificate is not None and metrics is not None
    if secure and metrics == health:
        raise ConfigError("metrics over TLS need a separate address: probes send no token")
    routes: dict[BindAddress, dict[str, Handler]] = {}
    purposes: dict[BindAddress, list[str]] = {}
    if metrics is not None:
        shown = {path: guard.guarded(one) for path, one in pages.metrics.items()} if secure else pages.metrics
        routes.setdefault(metrics, {}).update(shown)
        purposes.setdefault(metrics, []).append("metrics")
    if health is not None:
        routes.setdefault(health, {}).update(pages.health)
        purposes.setdefault(health, []).append("health probes")
    where = metrics or health
    if where is not None:
        protect = guard.guarded if secure else from_this_machine
        routes[where].update({path: protect(one) for path, one in pages.debug.items()})
    return [
        HttpServer(
            address,
            routes[address],
            what=" and ".join(purposes[address]),
            certificate=certificate if secure and address == metrics else None,
        )
        for address in routes
    ]
