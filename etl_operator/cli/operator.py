"""Wiring: from settings to a running manager. The only module that uses all parts."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import controllers
from controllers.wiring.metrics import RpcMetrics, build_info
from controllers.wiring.settings import ControllerSettings
from etl_operator import __version__
from etl_operator.router.client import RouterClients
from etl_operator.router.registry import RegistryKeeper
from informers.certificates import ServingCertificate
from informers.client import Client, ClusterAccess, Contact, HttpTransport, Transport, load_default
from informers.clock import Clock, SystemClock
from informers.errors import ConfigError, RuntimeFault
from informers.identity import Identity, claim_identity
from informers.leader import LeaderElector
from informers.manager import Manager
from informers.metrics import MeasuredTransport, Metrics
from informers.signals import run_until_signal
from informers.tracing import TracedTransport, Tracing, open_tracing

log = logging.getLogger(__name__)

LEASE = "etl-operator-leader"
_INSTALL = "etl-operator crds | kubectl apply --server-side -f -"
"""What installs the definitions of this version."""
_MISSING_PATIENCE = 300.0
"""Seconds an operator waits for CRDs that do not exist; an installation of both takes less."""
_POD_UID = "POD_UID"
"""Environment variable with the uid of the pod: a restarted container takes its lease back at once."""
_REVISION = "ETL_OPERATOR_REVISION"
"""Environment variable the image sets to the revision of its source."""
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """The options of ``etl-operator run``; ``--help`` describes each."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    leader_elect: bool | None = None
    leader_election_namespace: str | None = None
    metrics_bind_address: str = ":8080"
    health_probe_bind_address: str = ":8081"
    metrics_cert_dir: Path | None = None
    debug_endpoints: bool = False
    preflight: bool = True
    writes_per_second: int = 0
    tracing: bool = False
    router_image: str = "etl-router:latest"
    router_package: str = ""
    cluster_domain: str = "cluster.local"


async def run_operator(settings: OperatorSettings) -> int:
    """Run until a signal or a failure; returns the exit code.

    0: stopped by SIGINT or SIGTERM, after running reconciles have finished. 1: something failed, or the
    lease was lost. 2: the settings or the kubeconfig cannot be used.
    """
    try:
        access = load_default(
            str(settings.kubeconfig) if settings.kubeconfig else None, context=settings.context
        )
        tracing = open_tracing("etl-operator", __version__) if settings.tracing else None
        certificate = _certificate(settings)
    except ConfigError as error:
        log.error("%s", error)
        return 2
    try:
        await run_until_signal(_run(settings, access, tracing, certificate))
    except (RuntimeFault, OSError) as error:
        log.error("%s", error)
        return 1
    finally:
        if tracing is not None:
            await asyncio.to_thread(tracing.close)
    log.info("stopped")
    return 0


def _certificate(settings: OperatorSettings) -> ServingCertificate | None:
    if settings.metrics_cert_dir is None:
        return None
    directory = settings.metrics_cert_dir
    certificate = ServingCertificate(directory / "tls.crt", directory / "tls.key")
    certificate.load()
    return certificate


async def _run(
    settings: OperatorSettings,
    access: ClusterAccess,
    tracing: Tracing | None,
    certificate: ServingCertificate | None,
) -> None:
    clock = SystemClock()
    metrics = Metrics()
    build_info(metrics, __version__, os.environ.get(_REVISION, ""))
    transport: Transport = MeasuredTransport(HttpTransport(access), metrics, clock)
    transport = Contact(transport, address=access.server, clock=clock)
    if tracing is not None:
        transport = TracedTransport(transport, tracing)
    identity = claim_identity(os.environ.get(_POD_UID, ""))
    # The elector's writes must not be checked by its own fence: it has a separate client.
    elector = _elector(settings, access, Client(transport, clock=clock), clock, identity)
    fence = elector.fence if elector else None
    client = Client(transport, clock=clock, fence=fence, writes_per_second=settings.writes_per_second)
    manager = _manager(settings, client, clock, metrics, elector, certificate, tracing)
    clients = RouterClients(
        observe=_rpc_observer(metrics, tracing), fence=fence, prefix=settings.router_package
    )
    keeper = RegistryKeeper(clients)
    controllers.setup(
        manager,
        ControllerSettings(
            router_image=settings.router_image,
            cluster_domain=settings.cluster_domain,
            namespaces=settings.namespaces,
        ),
        clients,
        keeper,
    )
    manager.add_runnable("registrations", keeper.run)
    log.info("starting etl-operator %s with API server %s", __version__, access.server)
    try:
        await manager.run()
    finally:
        await keeper.close()
        await clients.close()
        await client.close()
        # Last: from here on another process can have the name.
        identity.release()


def _manager(
    settings: OperatorSettings,
    client: Client,
    clock: Clock,
    metrics: Metrics,
    elector: LeaderElector | None,
    certificate: ServingCertificate | None,
    tracing: Tracing | None,
) -> Manager:
    return Manager(
        client,
        clock=clock,
        metrics=metrics,
        leader=elector,
        metrics_address=settings.metrics_bind_address,
        health_address=settings.health_probe_bind_address,
        metrics_certificate=certificate,
        debug=settings.debug_endpoints,
        preflight=settings.preflight,
        tracing=tracing,
        remedy=_INSTALL,
        missing_patience=_MISSING_PATIENCE,
        name="etl-operator",
    )


def _rpc_observer(metrics: Metrics, tracing: Tracing | None) -> Callable[[str, str, str, float], None]:
    measure = RpcMetrics(metrics).observe
    if tracing is None:
        return measure

    def observe(cluster: str, method: str, code: str, seconds: float) -> None:
        measure(cluster, method, code, seconds)
        attributes = {"rpc.system": "grpc", "rpc.method": method, "etl.cluster": cluster, "rpc.code": code}
        tracing.past(f"router {method}", seconds, attributes, failed=code != "OK")

    return observe


def _elector(
    settings: OperatorSettings,
    access: ClusterAccess,
    client: Client,
    clock: SystemClock,
    identity: Identity,
) -> LeaderElector | None:
    in_pod = settings.kubeconfig is None and _POD_NAMESPACE.exists()
    if not (in_pod if settings.leader_elect is None else settings.leader_elect):
        return None
    namespace = settings.leader_election_namespace
    if namespace is None:
        namespace = _POD_NAMESPACE.read_text(encoding="ascii").strip() if in_pod else access.namespace
    return LeaderElector(client, namespace, LEASE, str(identity), clock=clock)
