"""Options that every service has, and those of every source."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from etl_operator.services.logs import FORMATS, LEVELS


def bind_address(text: str) -> tuple[str, int]:
    """``IP:PORT``, IPv6 in brackets, as host and port.

    :raises ValueError: it is something else.
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
        help="Address of the gRPC server, which serves the service and grpc.health.v1.",
    ),
    click.option(
        "--health-port",
        type=_PORT,
        default=8080,
        show_default=True,
        help="Port for /healthz and /readyz over HTTP, on the IP of --bind; 0 disables them.",
    ),
    click.option(
        "--metrics-port",
        type=_PORT,
        default=9090,
        show_default=True,
        help="Port for /metrics over HTTP, on the IP of --bind; 0 disables it.",
    ),
    click.option(
        "--grace-seconds",
        type=click.FloatRange(min=0),
        default=20.0,
        show_default=True,
        help="Seconds to finish calls and records in flight after SIGTERM or SIGINT.",
    ),
    click.option("--tls-cert", type=_FILE, help="PEM file: certificate of the gRPC server. Default: no TLS."),
    click.option("--tls-key", type=_FILE, help="PEM file: private key of --tls-cert."),
    click.option(
        "--tls-client-ca",
        type=_FILE,
        help="PEM file: CA certificates; clients must have a certificate that one of them signed.",
    ),
    click.option(
        "--log-format",
        type=click.Choice(FORMATS),
        default="text",
        show_default=True,
        help="Format of the log on standard error.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        default="info",
        show_default=True,
        help="Lowest level that is logged.",
    ),
]

SOURCE: list[Callable[[Any], Any]] = [
    click.option(
        "--router",
        "routers",
        metavar="HOST:PORT",
        multiple=True,
        required=True,
        callback=_routers,
        help="gRPC address of a router node; can be repeated for more nodes of the same cluster.",
    ),
    click.option("--source-id", required=True, help="Name of the EtlSource, or NAMESPACE/NAME."),
    click.option(
        "--pipeline",
        metavar="NAMESPACE/NAME",
        default="",
        help="Push to this pipeline only. Default: to all pipelines of the source.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1, 100_000),
        default=1_000,
        show_default=True,
        help="Most records per batch.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 1_000),
        default=8,
        show_default=True,
        help="Most batches that wait for their acknowledgement.",
    ),
    click.option(
        "--stay",
        is_flag=True,
        help="Do not exit after the last record, but serve probes and metrics, as a Deployment needs.",
    ),
]


def with_options(*groups: list[Callable[[Any], Any]]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that adds options."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for group in groups:
            for option in reversed(group):
                function = option(function)
        return function

    return add
