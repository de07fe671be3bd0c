"""The click commands ``etl-operator backup`` and ``etl-operator restore``."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NoReturn

import click

from etl_operator.cli import values
from etl_operator.cli.tls import chosen, tls_options

if TYPE_CHECKING:
    from etl_operator.cli.backup.copying import Target

# gRPC and the object store are imported by the commands that need them: the operator starts faster without.

_NEEDS = "obstore"


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options that both commands have."""
    for option in (
        tls_options,
        click.option(
            "--timeout",
            type=click.FloatRange(min=1),
            default=600.0,
            show_default=True,
            help="Seconds for each call of the router.",
        ),
        click.option(
            "--cluster-domain",
            callback=values.domain,
            default="cluster.local",
            show_default=True,
            help="DNS domain of the Kubernetes cluster, for the default of --router.",
        ),
        click.option(
            "--router",
            metavar="HOST:PORT",
            help="gRPC address of a member of the cluster, such as that of `kubectl port-forward`. "
            "Default: the Service of the cluster, NAME.NAMESPACE.svc.DOMAIN:50051.",
        ),
        click.argument("url"),
        click.argument("cluster", callback=_cluster),
    ):
        command = option(command)
    return command


def _cluster(_: click.Context, __: click.Parameter, value: str) -> str:
    full = value if "/" in value else f"default/{value}"
    if full.count("/") != 1 or not all(full.split("/")):
        raise click.BadParameter(f"{value!r} is not NAMESPACE/NAME or NAME")
    return full


@click.command()
@_options
def backup(url: str, **options: Any) -> None:
    """Back up the pipelines and checkpoints of a router cluster.

    CLUSTER is namespace/name of the EtlRouterCluster, or a name in the namespace default. URL is a directory
    or a place in an object store: s3://bucket/path, gs://bucket/path, az://account/container/path,
    file:///path. Each backup gets a directory of its own in it, whose URL is printed. Credentials and
    endpoints come from the environment, such as AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL or
    GOOGLE_APPLICATION_CREDENTIALS.
    """
    target = _target(**options)
    from etl_operator.cli.backup.copying import save

    _run(save(target, url, _say))


@click.command()
@_options
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace all pipelines and checkpoints of the cluster. Default: refuse if it has any.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, and change nothing.")
def restore(url: str, overwrite: bool, dry_run: bool, **options: Any) -> None:
    """Restore a backup into a router cluster.

    CLUSTER is namespace/name of the EtlRouterCluster, or a name in the namespace default. URL is what
    `etl-operator backup` printed. Checksums, format and conflicts are checked before anything changes, and
    the state is replaced in one step.
    """
    target = _target(**options)
    from etl_operator.cli.backup.copying import restore as run

    _run(run(target, url, _say, overwrite=overwrite, dry_run=dry_run))


def _target(cluster: str, router: str | None, cluster_domain: str, timeout: float, **tls: Any) -> Target:
    if importlib.util.find_spec(_NEEDS) is None:
        text = f"backups need {_NEEDS}; run pip install '.[backup]' in a clone of etl-operator"
        raise click.ClickException(text)
    from etl_operator.cli.backup.copying import Target

    namespace, name = cluster.split("/")
    return Target(cluster, router or f"{name}.{namespace}.svc.{cluster_domain}:50051", timeout, chosen(tls))


def _say(text: str) -> None:
    click.echo(text, err=True)


def _run(work: Coroutine[Any, Any, str | None]) -> NoReturn:
    """Do it, print the result, and end the process."""
    from etl_operator.cli.backup.manifest import BackupError

    code = 0
    try:
        result = asyncio.run(work)
        if result is not None:
            click.echo(result)
    except BackupError as error:
        failure = click.ClickException(str(error))
        failure.show()
        code = failure.exit_code
    # Not by way of the interpreter's own end: threads of the object store may still give back Python objects,
    # and before Python 3.14 a thread that needs the interpreter then aborts the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
