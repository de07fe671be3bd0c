"""The click commands. Each parses its input and calls one function of another module."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import click

from etl_operator import __version__
from etl_operator.cli import values
from etl_operator.cli.backup.commands import backup, restore
from etl_operator.cli.letters import dlq
from etl_operator.cli.logs import configure_logging
from informers.logs import FORMATS, LEVELS

_PATH = click.Path(path_type=Path)
_SANDBOX_NEEDS = ("cryptography", "cel_expr_python", "jsonpatch", "re2")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ETL_OPERATOR"})
@click.version_option(__version__, message="etl-operator %(version)s")
def main() -> None:
    """Kubernetes operator for ETL Router clusters, pipelines and services."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"etl-operator {__version__}")


@main.command()
@click.option(
    "--output-dir", type=_PATH, help="Directory to write one file per kind to, instead of printing YAML."
)
def crds(output_dir: Path | None) -> None:
    """Print the CustomResourceDefinitions, for `kubectl apply -f -`."""
    from etl_operator.api.crds import render_crds

    rendered = render_crds()
    if output_dir is None:
        click.echo("---\n".join(rendered.values()), nl=False)
        return
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for name, text in rendered.items():
            (output_dir / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write to {output_dir}: {error.strerror}") from error


# Without the name of the command: ETL_OPERATOR_LOG_LEVEL, not ETL_OPERATOR_RUN_LOG_LEVEL.
@main.command(context_settings={"auto_envvar_prefix": "ETL_OPERATOR"})
@click.option(
    "--kubeconfig",
    type=_PATH,
    help="Kubeconfig file. Default: $KUBECONFIG, the pod's own service account, ~/.kube/config.",
)
@click.option("--context", help="Context of the kubeconfig. Default: its current context.")
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    callback=values.namespaces,
    help="Namespace to watch; can be repeated. Default: all namespaces.",
)
@click.option(
    "--leader-elect/--no-leader-elect",
    default=None,
    help="Reconcile only while holding the Lease `etl-operator-leader`. Default: on in a pod, otherwise off.",
)
@click.option(
    "--leader-election-namespace",
    callback=values.namespace,
    help="Namespace of the Lease. Default: the namespace of the pod, otherwise that of the context.",
)
@click.option(
    "--metrics-bind-address",
    callback=values.bind_address,
    default=":8080",
    show_default=True,
    help="HOST:PORT for /metrics; 0 disables it.",
)
@click.option(
    "--health-probe-bind-address",
    callback=values.bind_address,
    default=":8081",
    show_default=True,
    help="HOST:PORT for /healthz and /readyz; 0 disables them.",
)
@click.option(
    "--metrics-cert-dir",
    type=_PATH,
    help="Directory with tls.crt and tls.key. /metrics is then served over TLS, to clients whose token has "
    "permission to `get` it. The files are read again when they change. Needs the ClusterRole "
    "system:auth-delegator. Default: plain HTTP.",
)
@click.option(
    "--debug-endpoints",
    is_flag=True,
    help="Serve /debug/queues beside /metrics: the keys in the work queues and their causes. With TLS it "
    "needs the same permission as /metrics; without, it answers clients on this machine only.",
)
@click.option(
    "--preflight/--no-preflight",
    default=True,
    show_default=True,
    help="Check at the start whether the operator has all permissions it needs; /readyz lists missing ones.",
)
@click.option(
    "--writes-per-second",
    type=click.IntRange(min=0),
    default=0,
    show_default="no limit",
    help="Limit of writes to the API server per second, not counting those of the Lease.",
)
@click.option(
    "--tracing",
    is_flag=True,
    help="Send OpenTelemetry spans over OTLP/HTTP, set up by OTEL_* variables. Needs the extra tracing.",
)
@click.option(
    "--router-image",
    default="etl-router:latest",
    show_default=True,
    help="Image of clusters without spec.image.",
)
@click.option(
    "--router-package",
    default="",
    help="Prefix of the routers' gRPC packages, such as `etl` or `conveyor`. Default: detected per router.",
)
@click.option(
    "--cluster-domain",
    callback=values.domain,
    default="cluster.local",
    show_default=True,
    help="DNS domain of the Kubernetes cluster.",
)
@click.option("--log-format", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def run(
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    leader_elect: bool | None,
    leader_election_namespace: str | None,
    metrics_bind_address: str,
    health_probe_bind_address: str,
    metrics_cert_dir: Path | None,
    debug_endpoints: bool,
    preflight: bool,
    writes_per_second: int,
    tracing: bool,
    router_image: str,
    router_package: str,
    cluster_domain: str,
    log_format: str,
    log_level: str,
) -> None:
    """Run the operator, in a pod or with a kubeconfig.

    Each option can also be set by an environment variable, such as ETL_OPERATOR_LOG_LEVEL for --log-level.
    ETL_OPERATOR_NAMESPACES is a list of namespaces separated by spaces.
    """
    # gRPC's core logs every peer that does not answer; the operator's own messages say more.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from etl_operator.cli.operator import OperatorSettings, run_operator

    configure_logging(log_format, log_level)
    settings = OperatorSettings(
        kubeconfig=kubeconfig,
        context=context,
        namespaces=tuple(dict.fromkeys(namespaces)),
        leader_elect=leader_elect,
        leader_election_namespace=leader_election_namespace,
        metrics_bind_address=metrics_bind_address,
        health_probe_bind_address=health_probe_bind_address,
        metrics_cert_dir=metrics_cert_dir,
        debug_endpoints=debug_endpoints,
        preflight=preflight,
        writes_per_second=writes_per_second,
        tracing=tracing,
        router_image=router_image,
        router_package=router_package,
        cluster_domain=cluster_domain,
    )
    sys.exit(asyncio.run(run_operator(settings)))


@main.command()
@click.option(
    "--kubeconfig",
    type=_PATH,
    help="Kubeconfig file. Default: $KUBECONFIG, the pod's own service account, ~/.kube/config.",
)
@click.option("--context", help="Context of the kubeconfig. Default: its current context.")
@click.option("--crds", is_flag=True, help="Delete the CustomResourceDefinitions too.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds to wait for the operator in each step; after that, finalizers are removed without it.",
)
def uninstall(kubeconfig: Path | None, context: str | None, crds: bool, yes: bool, timeout: float) -> None:
    """Delete all objects of the five kinds, in all namespaces, then the operator.

    The order matters: the operator removes pipelines from routers and then its finalizers, so that no object
    stays in the state Terminating. Volumes are retained unless the deletionPolicy of a cluster is Delete, and
    CustomResourceDefinitions are retained without --crds. The command can be run again, also after objects
    were deleted in another order.
    """
    from etl_operator.cli.uninstall import Incomplete, UninstallSettings, run_uninstall
    from informers.errors import RuntimeFault

    settings = UninstallSettings(kubeconfig, context, crds, yes, timeout)
    try:
        asyncio.run(run_uninstall(settings))
    except (RuntimeFault, Incomplete, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("uninstalled")


@main.command()
@click.option(
    "--manifests",
    multiple=True,
    type=_PATH,
    help="File, directory or kustomization to apply; can be repeated. Default: samples with their services.",
)
@click.option(
    "--until-ready",
    is_flag=True,
    help="Exit with 0 when all applied objects are Ready and the records of the sample services arrived, or "
    "with 1 after --timeout.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=120.0,
    show_default=True,
    help="Seconds to wait with --until-ready.",
)
@click.option(
    "--kubeconfig",
    type=_PATH,
    default=Path("sandbox.kubeconfig"),
    show_default=True,
    help="File to write the administrator's kubeconfig to; removed at the end.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of the API server on 127.0.0.1. Default: a free one.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to keep objects, volumes and logs in. Default: a temporary directory.",
)
@click.option(
    "--engine",
    help="Consensus engine of routers: `embedded` or `etcd`, which must be on PATH. Or a program to run for "
    "the image `etl-router` instead of the reference router node.",
)
@click.option(
    "--no-operator",
    is_flag=True,
    help="Start only the control plane: no operator, and no samples unless --manifests is given.",
)
@click.option(
    "--faults",
    multiple=True,
    metavar="RULE|FILE",
    help="Inject faults into the API server: a rule such as verb=update,resource=leases,status=500,times=3, "
    "or a YAML file with rules; can be repeated.",
)
@click.option(
    "--audit-log",
    type=_PATH,
    help="File to append every authorization decision to: user, verb, resource, allowed or not.",
)
@click.option(
    "--proxy-anywhere",
    is_flag=True,
    help="Allow the name proxy to connect to any address, for services that run outside of the sandbox.",
)
@click.option(
    "--buffer",
    type=click.Choice(["memory", "nats"]),
    default="memory",
    show_default=True,
    help="Buffer of the clusters in the manifests that have no spec.buffer; nats starts a NATS server.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="warning", show_default=True)
def sandbox(
    manifests: tuple[Path, ...],
    until_ready: bool,
    timeout: float,
    kubeconfig: Path,
    port: int,
    state_dir: Path | None,
    engine: str | None,
    no_operator: bool,
    faults: tuple[str, ...],
    audit_log: Path | None,
    proxy_anywhere: bool,
    buffer: str,
    log_level: str,
) -> None:
    """Start a control plane on this machine and run the operator in it."""
    missing = [name for name in _SANDBOX_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"the sandbox needs {', '.join(missing)}; run pip install '.[sandbox]' in a clone of etl-operator"
        )
    if engine == "etcd" and shutil.which("etcd") is None:
        raise click.ClickException("--engine etcd: there is no etcd on PATH")
    from etl_operator.sandbox.run import SandboxSettings, run_sandbox

    configure_logging("text", log_level)
    settings = SandboxSettings(
        manifests=manifests,
        until_ready=until_ready,
        timeout=timeout,
        kubeconfig=kubeconfig,
        port=port,
        state_dir=state_dir,
        engine=engine,
        operator=not no_operator,
        faults=faults,
        audit_log=audit_log,
        proxy_anywhere=proxy_anywhere,
        buffer=buffer,
    )
    sys.exit(asyncio.run(run_sandbox(settings)))


for command in (dlq, backup, restore):
    main.add_command(command)
