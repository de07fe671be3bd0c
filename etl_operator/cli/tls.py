"""Options for TLS to a router, the same in all commands that call one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from etl_operator.tls.credentials import ChannelTls

_FILE = click.Path(path_type=Path, dir_okay=False)


def tls_options(command: Callable[..., None]) -> Callable[..., None]:
    """``--tls-ca``, ``--tls-cert`` and ``--tls-key``."""
    for option in (
        click.option("--tls-key", type=_FILE, help="Its key."),
        click.option("--tls-cert", type=_FILE, help="Client certificate for the router."),
        click.option(
            "--tls-ca", type=_FILE, help="Who signs the router's certificate; the connection uses TLS."
        ),
    ):
        command = option(command)
    return command


def chosen(options: dict[str, Any]) -> ChannelTls | None:
    """What these options say, taken out of all options; None for a connection without TLS.

    :raises click.ClickException: a file cannot be used.
    """
    from etl_operator.tls.credentials import channel_tls
    from etl_operator.tls.files import TlsError

    files = [options.pop(name) for name in ("tls_ca", "tls_cert", "tls_key")]
    try:
        return channel_tls(*files) if any(files) else None
    except TlsError as error:
        raise click.ClickException(str(error)) from None
