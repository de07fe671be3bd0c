"""The click commands of ``etl-operator dlq``."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import click

from etl_operator.cli.tls import chosen, tls_options

if TYPE_CHECKING:
    from etl_operator.cli.dlq import Letter

# gRPC and the messages are imported by the commands that need them: the operator starts faster without.


def _selecting(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and options that all commands have."""
    for option in (
        click.option(
            "--record",
            "records",
            multiple=True,
            metavar="SOURCE/PARTITION/NUMBER",
            help="Only this record; can be repeated.",
        ),
        click.option(
            "--code",
            "codes",
            multiple=True,
            help="Only this error code, such as SINK_FAILED; can be repeated.",
        ),
        click.option(
            "--stage", "stages", multiple=True, help="Only dead letters of this stage; can be repeated."
        ),
        click.option(
            "--nats-creds",
            type=click.Path(exists=True, dir_okay=False),
            help="Credentials file for --nats.",
        ),
        click.option("--stream", help="Stream with the dead letters, for --nats."),
        click.option(
            "--nats",
            metavar="URL",
            help="NATS server with the durable buffer of the cluster, instead of --file; with --stream.",
        ),
        click.option(
            "--file",
            type=click.File("rb"),
            help="File that the dead-letter sink wrote; - for standard input.",
        ),
        click.argument("pipeline", callback=_pipeline),
    ):
        command = option(command)
    return command


def _pipeline(_: click.Context, __: click.Parameter, value: str) -> str:
    return value if "/" in value else f"default/{value}"


@click.group()
def dlq() -> None:
    """Read dead letters, and send them to the router again.

    PIPELINE is namespace/name, or a name in the namespace default. Dead letters are read from a file that
    `etl-service sink file` wrote, or from the stream of a cluster with a durable buffer.
    """


@dlq.command("list")
@_selecting
def list_(**selected: Any) -> None:
    """Print one line for each dead letter."""
    from etl_operator.cli.dlq import table

    letters = _letters(**selected)
    for line in table(letters):
        click.echo(line)
    click.echo(f"{len(letters)} dead letters", err=True)


@dlq.command()
@_selecting
def show(**selected: Any) -> None:
    """Print dead letters as JSON, with payload and metadata."""
    for letter in _letters(**selected):
        click.echo(json.dumps(json.loads(letter.line), indent=2, ensure_ascii=False))


@dlq.command("replay")
@click.option(
    "--router",
    required=True,
    metavar="HOST:PORT",
    help="gRPC address of a member of the pipeline's cluster, such as that of `kubectl port-forward`.",
)
@tls_options
@_selecting
def replay_(
    router: str,
    **selected: Any,
) -> None:
    """Send dead letters to the stages where they failed.

    A record that fails again becomes a dead letter again. The file or stream is not changed.
    """
    from etl_operator.cli.dlq import DlqError, replay

    tls = chosen(selected)
    letters = _letters(**selected)
    try:
        done = asyncio.run(replay(letters, router, click.echo, tls))
    except DlqError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if done else 1)


def _letters(
    *, file: IO[bytes] | None, nats: str | None, stream: str | None, nats_creds: str | None, **selected: Any
) -> list[Letter]:
    if (file is None) == (nats is None) or (nats is None) != (stream is None):
        raise click.UsageError("Give either --file, or --nats and --stream.")
    from etl_operator.cli.dlq import DlqError, Selection, read

    try:
        if nats is None or stream is None:
            assert file is not None
            return read(file, file.name, Selection(**selected))
        if importlib.util.find_spec("nats") is None:
            raise click.ClickException("--nats needs nats-py: pip install '.[nats]' in a clone")
        from etl_operator.cli.stream import lines

        return read(asyncio.run(lines(nats, stream, nats_creds)), stream, Selection(**selected))
    except DlqError as error:
        raise click.ClickException(str(error)) from None
