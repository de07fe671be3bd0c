"""Options of every service, and of every source."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from etl_operator.logs import FORMATS, LEVELS


def bind_address(text: str) -> tuple[str, int]:
    """``IP:PORT``, IPv6 in brackets, as host and port.

    :raises ValueError: the text has another form.
    """
    host, _, port = text.rpartition(":")
    literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(literal)
    except ValueError:
        address = None
    bracketed = literal != host
    if address is None or bracketed != (address.version == 6) or not _is_port(port):
        raise ValueError(f"{text!r} is not a literal IP:PORT, such as 10.0.0.1:50051 or [::1]:50051")
    return literal, int(port)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65_536


def _bind(_: click.Context, __: click.Parameter, value: str) -> tuple[str, int]:
    try:
        return bind_address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _routers(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        host, _colon, port = one.rpartition(":")
        if not host or not _is_port(port):
            raise click.BadParameter(f"{one!r} is not HOST:PORT, such as my-cluster:50051")
    return value


_FILE = click.Path(path_type=Path, dir_okay=False)
_PORT = click.IntRange(0, 65_535)

SERVICE: list[Callable[[Any], Any]] = [
    click.option(
        "--bind",
        metavar="IP:PORT",
        callback=_bind,
        default="127.0.0.1:50051",
        show_default=True,
        help="Address of the gRPC server: the service and grpc.health.v1.",
    ),
    click.option(
        "--health-port",
        type=_PORT,
        default=8080,
        show_default=True,
        help="HTTP port of /healthz and /readyz, on the same IP. 0 disables it.",
    ),
    click.option(
        "--metrics-port",
        type=_PORT,
        default=9090,
        show_default=True,
        help="HTTP port of /metrics, on the same IP. 0 disables it.",
    ),
    click.option(
        "--grace-seconds",
        type=click.FloatRange(min=0),
        default=20.0,
        show_default=True,
        help="Time to finish what is in flight before the process exits.",
    ),
    click.option("--tls-cert", type=_FILE, help="Certificate (PEM) for TLS on the gRPC port."),
    click.option("--tls-key", type=_FILE, help="Private key (PEM) of the certificate."),
    click.option(
        "--tls-client-ca",
        type=_FILE,
        help="CA certificate (PEM): clients must have a certificate that it signed.",
    ),
    click.option("--log-format", type=click.Choice(FORMATS), default="text", show_default=True),
    click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True),
]

SOURCE: list[Callable[[Any], Any]] = [
    click.option(
        "--router",
        "routers",
        metavar="HOST:PORT",
        multiple=True,
        required=True,
        callback=_routers,
        help="gRPC address of a router node. Can be repeated for several nodes of one cluster.",
    ),
    click.option("--router-tls", is_flag=True, help="Connect to the routers with TLS."),
    click.option(
        "--router-tls-ca",
        type=_FILE,
        help="CA certificate (PEM) of the routers; implies --router-tls.  [default: CAs that gRPC trusts]",
    ),
    click.option("--router-tls-cert", type=_FILE, help="Client certificate (PEM) for the routers."),
    click.option("--router-tls-key", type=_FILE, help="Private key (PEM) of the client certificate."),
    click.option("--source-id", required=True, help="Name of the EtlSource, or NAMESPACE/NAME."),
    click.option(
        "--pipeline",
        metavar="NAMESPACE/NAME",
        default="",
        help="Send records to this pipeline only. Default: to all pipelines of the source.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1, 100_000),
        default=1_000,
        show_default=True,
        help="Maximum number of records in a batch.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 1_000),
        default=8,
        show_default=True,
        help="Maximum number of batches without an acknowledgement.",
    ),
    click.option(
        "--stay",
        is_flag=True,
        help="Keep serving probes and metrics after the last record, as a Deployment needs.",
    ),
]


def with_options(*groups: list[Callable[[Any], Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Returns a decorator that adds options to a command."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for group in groups:
            for option in reversed(group):
                function = option(function)
        return function

    return add
