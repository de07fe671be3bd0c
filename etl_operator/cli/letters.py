"""The click commands of ``etl-operator dlq``."""

from __future__ import annotations

import asyncio
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
            "--file",
            required=True,
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
    `etl-service sink file` wrote.
    """


@dlq.command("list")
@_selecting
def list_(file: IO[bytes], **selected: Any) -> None:
    """Print one line for each dead letter."""
    from etl_operator.cli.dlq import table

    letters = _letters(file, selected)
    for line in table(letters):
        click.echo(line)
    click.echo(f"{len(letters)} dead letters", err=True)


@dlq.command()
@_selecting
def show(file: IO[bytes], **selected: Any) -> None:
    """Print dead letters as JSON, with payload and metadata."""
    for letter in _letters(file, selected):
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
    file: IO[bytes],
    router: str,
    **selected: Any,
) -> None:
    """Send dead letters to the stages where they failed.

    A record that fails again becomes a dead letter again. The file is not changed.
    """
    from etl_operator.cli.dlq import DlqError, replay

    tls = chosen(selected)
    letters = _letters(file, selected)
    try:
        done = asyncio.run(replay(letters, router, click.echo, tls))
    except DlqError as error:
        raise click.ClickException(str(error)) from None
    sys.exit(0 if done else 1)


def _letters(file: IO[bytes], selected: dict[str, Any]) -> list[Letter]:
    from etl_operator.cli.dlq import DlqError, Selection, read

    try:
        return read(file, file.name, Selection(**selected))
    except DlqError as error:
        raise click.ClickException(str(error)) from None
