"""Who a node is, and which consensus engine it runs on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.embedded import EmbeddedEngine
from etl_operator.node.consensus.engine import ConsensusEngine
from etl_operator.node.consensus.settings import Timing
from etl_operator.node.control.state import RouterState
from etl_operator.node.settings import Node, Settings
from etl_operator.tls.files import TlsFiles, read
from etl_operator.tls.peers import PeerTls

log = logging.getLogger(__name__)


class StartError(Exception):
    """The node cannot start; the text says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the node is, where it listens, whom it knows, and where its data is."""

    node_id: int
    listen: Address
    raft: Address
    http: Address
    metrics: Address | None
    peers: Mapping[int, Address]
    data_dir: Path
    tls: TlsFiles | None = None
    """Of the Raft port: all nodes have a certificate of its authority."""
    tls_name: str = ""
    """``*.DOMAIN``, what these are valid for; by default, each for its host in ``peers``."""


def choose(identity: Identity, settings: Settings, machine: RouterState) -> ConsensusEngine:
    """The engine that the settings name.

    :raises StartError: it cannot be used.
    """
    cluster = settings.cluster
    try:
        timing = Timing(
            cluster.election_timeout_min_ms / 1000,
            cluster.election_timeout_max_ms / 1000,
            cluster.heartbeat_interval_ms / 1000,
        )
    except ValueError as error:
        raise StartError(f"cluster: {error}") from error
    node = settings.node
    if open_ports := _open_ports(identity, node):
        log.warning(
            "without TLS, connections are neither encrypted nor authenticated: restrict access to %s",
            " and ".join(open_ports),
        )
    plaintext = node.tls_plaintext == "allow"
    common: dict[str, Any] = {
        "timing": timing,
        "snapshot_every": cluster.snapshot_interval,
        "cluster": lambda: machine.cluster_id,
        "tls": PeerTls(identity.tls, name=identity.tls_name, plaintext=plaintext) if identity.tls else None,
    }
    embedded, etcd = (identity.data_dir / f"{name}-{identity.node_id}" for name in ("raft", "etcd"))
    where = (identity.node_id, identity.raft, identity.peers)
    if not _on_etcd(node, embedded, etcd):
        return EmbeddedEngine(*where, embedded, machine, **common)
    from etl_operator.node.consensus.etcd.engine import EtcdEngine

    return EtcdEngine(*where, etcd, machine, store=_store(identity, node, embedded), **common)


def _open_ports(identity: Identity, node: Node) -> list[str]:
    """Which ports accept connections without TLS."""
    ports = [] if node.tls_cert and node.tls_plaintext == "deny" else [f"port {identity.listen.port} (gRPC)"]
    if identity.peers and (identity.tls is None or node.tls_plaintext == "allow"):
        ports.append(f"port {identity.raft.port} (Raft)")
    return ports


def _on_etcd(node: Node, embedded: Path, etcd: Path) -> bool:
    if node.engine != "auto":
        return node.engine == "etcd"
    if node.etcd_endpoints or (etcd / "member").exists():
        return True
    from etl_operator.node.consensus.etcd import program

    return not embedded.exists() and program.find(node.etcd_binary) is not None


def _store(identity: Identity, node: Node, embedded: Path) -> Any:
    from etl_operator.node.consensus.etcd import program
    from etl_operator.node.consensus.etcd.engine import Outside, Own

    if node.etcd_endpoints:
        return Outside(*_targets(node.etcd_endpoints, identity.tls), prefix=node.etcd_prefix)
    found = program.find(node.etcd_binary)
    if found is None:
        name = node.etcd_binary or "etcd on PATH"
        raise StartError(
            f"there is no program {name}: install etcd 3.5.14 or newer, or use --engine embedded"
        )
    return Own(
        found,
        quota=node.etcd_quota_bytes or None,
        tls=identity.tls,
        # A node that finds the others on the embedded engine starts with it the next time.
        otherwise=embedded if node.engine == "auto" else None,
    )


def _targets(endpoints: str, tls: TlsFiles | None) -> tuple[list[str], grpc.ChannelCredentials | None]:
    """gRPC targets, and TLS if the URLs ask for it."""
    urls = [urlsplit(url.strip()) for url in endpoints.split(",")]
    schemes = {url.scheme for url in urls}
    if schemes not in ({"http"}, {"https"}) or not all(url.netloc for url in urls):
        raise StartError(f"etcd_endpoints: {endpoints!r} is no list of http:// or https:// URLs of one kind")
    targets = [url.netloc for url in urls]
    if schemes == {"http"}:
        return targets, None
    if tls is None:
        return targets, grpc.ssl_channel_credentials()
    authority = read(tls.authority) if tls.authority else None
    return targets, grpc.ssl_channel_credentials(authority, read(tls.key), read(tls.certificate))
