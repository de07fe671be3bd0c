"""The command ``etl-router``: a reference router node.

Exit codes: 0 after SIGTERM or SIGINT, 1 if the node cannot start or its disk failed, 2 for a wrong command
line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from etl_operator import __version__
from etl_operator.node.address import parse_bind, parse_peer
from etl_operator.node.consensus.address import Address


class _Bind(click.ParamType[Address]):
    name = "IP:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return value if isinstance(value, Address) else parse_bind(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Peer(click.ParamType[tuple[int, Address]]):
    name = "ID:HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, Address]:
        try:
            return value if isinstance(value, tuple) else parse_peer(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILE = click.Path(path_type=Path, dir_okay=False)

_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--node-id",
        "-n",
        type=click.IntRange(min=1),
        required=True,
        help="Raft id of this node; must stay the same for the same data.",
    ),
    click.option(
        "--listen-addr",
        "-l",
        type=_Bind(),
        default="127.0.0.1:50051",
        show_default=True,
        help="Address of the gRPC API.",
    ),
    click.option(
        "--raft-addr",
        type=_Bind(),
        default="127.0.0.1:50052",
        show_default=True,
        help="Address for the other nodes.",
    ),
    click.option(
        "--graphql-addr",
        type=_Bind(),
        default="127.0.0.1:8080",
        show_default=True,
        help="HTTP address of /health and /ready. GraphQL is not served.",
    ),
    click.option("--metrics-addr", type=_Bind(), help="HTTP address of /metrics. Default: not served."),
    click.option(
        "--peers", type=_Peer(), multiple=True, help="Another member; repeat for each one, except this node."
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default="./data",
        show_default=True,
        help="Directory for the data of this node.",
    ),
    click.option(
        "--config",
        "-c",
        "config_file",
        type=_FILE,
        default="config/router.yaml",
        show_default=True,
        help="YAML, TOML or JSON file; defaults apply if it does not exist.",
    ),
    click.option("--tls-cert", metavar="FILE", help="TLS of the gRPC API: the certificate."),
    click.option("--tls-key", metavar="FILE", help="Private key of --tls-cert."),
    click.option("--tls-ca", metavar="FILE", help="CA certificate of the clients of the gRPC API."),
    click.option(
        "--tls-client-auth",
        type=click.Choice(["none", "require"]),
        help="require: clients of the gRPC API need a certificate of --tls-ca.  [default: none]",
    ),
    click.option(
        "--tls-plaintext",
        type=click.Choice(["deny", "allow"]),
        help="allow: clients and nodes may also connect without TLS.  [default: deny]",
    ),
    click.option(
        "--engine",
        type=click.Choice(["auto", "embedded", "etcd"]),
        help="Consensus engine. auto: the one that wrote the data directory; if empty, etcd if there is "
        "an etcd program, otherwise embedded.  [default: auto]",
    ),
    click.option("--etcd-binary", help="Program for --engine etcd.  [default: etcd, on PATH]"),
    click.option(
        "--etcd-endpoints",
        metavar="URL,...",
        help="Use an etcd cluster that runs elsewhere, instead of an etcd process of this node.",
    ),
    click.option(
        "--raft-tls-cert", type=_FILE, help="Certificate of this node, for mutual TLS between nodes."
    ),
    click.option("--raft-tls-key", type=_FILE, help="Private key of --raft-tls-cert."),
    click.option("--raft-tls-ca", type=_FILE, help="CA certificate of all nodes."),
    click.option(
        "--raft-tls-name",
        metavar="*.DOMAIN",
        default="",
        help="What the certificates of all nodes are valid for.  [default: for each, its host in --peers]",
    ),
    click.option(
        "--service-tls-dir",
        metavar="DIRECTORY",
        help="Directory with the certificates for calls to services, one directory per Secret.",
    ),
    click.option(
        "--upstream-faithful",
        is_flag=True,
        help="Serve neither RouterAdmin nor grpc.health.v1, like published routers.",
    ),
    click.option(
        "--package-prefix",
        type=click.Choice(["etl", "conveyor", "conveyor_etl"]),
        help="First part of the protobuf package names.",
    ),
    click.option(
        "--follower-answer",
        type=click.Choice(["unavailable", "internal", "response"]),
        help="How a follower rejects a write: status UNAVAILABLE, status INTERNAL, or success=false.",
    ),
    click.option(
        "--strict-ids/--no-strict-ids",
        default=None,
        help="Answer success=false if a pipeline does not exist.",
    ),
    click.option(
        "--data-workers",
        type=click.IntRange(min=0, max=64),
        help="Processes for records; 0: in the process of Raft.  [default: 1]",
    ),
    click.option("--log-format", type=click.Choice(["text", "json"]), help="[default: text]"),
    click.option(
        "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[default: info]"
    ),
    click.option(
        "--reflection/--no-reflection",
        default=None,
        help="Serve gRPC reflection, so that clients such as grpcurl can list services and messages.",
    ),
    click.option("--lease-seconds", type=click.FloatRange(min=0.1), help="Duration of a registration."),
    click.option(
        "--answer-delay-ms", type=click.IntRange(min=0), help="Fault injection: delay every answer."
    ),
    click.option(
        "--drop-heartbeats/--no-drop-heartbeats",
        default=None,
        help="Fault injection: do not answer registry heartbeats.",
    ),
]

_NODE_KEYS = (
    "engine",
    "etcd_binary",
    "etcd_endpoints",
    "package_prefix",
    "follower_answer",
    "strict_ids",
    "data_workers",
    "log_format",
    "log_level",
    "reflection",
    "lease_seconds",
    "answer_delay_ms",
    "drop_heartbeats",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "tls_client_auth",
    "tls_plaintext",
    "service_tls_dir",
)


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="etl-router %(version)s")
@_with_options
def main(**flags: Any) -> None:
    """Run a node of an ETL router cluster: it stores pipelines with Raft, and has a service registry."""
    peers = _peers(flags["node_id"], flags["peers"])
    tls_files = [flags[name] for name in ("raft_tls_cert", "raft_tls_key", "raft_tls_ca")]
    if any(tls_files) and not all(tls_files):
        raise click.UsageError("--raft-tls-cert, --raft-tls-key and --raft-tls-ca must be given together.")
    # A container's first process ignores SIGTERM unless it says otherwise, also while it still loads.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Imported here: a wrong command line should not cost the time to load gRPC.
    from etl_operator.logs import configure_logging
    from etl_operator.node import settings
    from etl_operator.node.consensus.engine import ConsensusError
    from etl_operator.node.engines import Identity, StartError
    from etl_operator.node.process import run
    from etl_operator.tls.files import TlsError, TlsFiles

    try:
        loaded = settings.load(flags["config_file"], os.environ, _node_flags(flags))
        configure_logging(loaded.settings.node.log_format, loaded.settings.node.log_level)
        for warning in loaded.warnings:
            logging.getLogger(__name__).warning("%s", warning)
        identity = Identity(
            node_id=flags["node_id"],
            listen=flags["listen_addr"],
            raft=flags["raft_addr"],
            http=flags["graphql_addr"],
            metrics=flags["metrics_addr"],
            peers=peers,
            data_dir=flags["data_dir"],
            tls=TlsFiles(*tls_files) if all(tls_files) else None,
            tls_name=flags["raft_tls_name"],
        )
        asyncio.new_event_loop().run_until_complete(run(identity, loaded.settings))
    except (settings.SettingsError, StartError, TlsError, ConsensusError) as error:
        raise click.ClickException(str(error)) from error
    # Not by way of the interpreter's own end: that waits for threads, and one may be asking a DNS server that
    # does not answer. Everything of value is on disk.
    logging.shutdown()
    os._exit(0)


def _peers(node_id: int, given: tuple[tuple[int, Address], ...]) -> dict[int, Address]:
    peers = dict(given)
    if len(peers) != len(given):
        raise click.UsageError("--peers names a node twice.")
    if node_id in peers:
        raise click.UsageError(f"--peers must not name node {node_id} itself.")
    return peers


def _node_flags(flags: dict[str, Any]) -> dict[str, Any]:
    given = {key: flags[key] for key in _NODE_KEYS if flags[key] is not None}
    if flags["upstream_faithful"]:
        given |= {"router_admin": False, "health_service": False}
    return given


if __name__ == "__main__":
    main()
