"""From a command line to a running service."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from etl_operator.logs import configure_logging
from etl_operator.services.errors import StartError
from etl_operator.services.options import SERVICE, SOURCE, with_options
from etl_operator.services.routers import RouterTls
from etl_operator.services.service import Bind, Service, Serving, Tls, serve
from etl_operator.services.source import Pushing, Source

ENVIRONMENT = "ETL_SERVICE"
"""Prefix of the environment variables of options: ``ETL_SERVICE_LOG_LEVEL`` for a custom service,
``ETL_SERVICE_SINK_SQL_URL`` for a subcommand of ``etl-service``."""


def run(made_by: Callable[..., Service]) -> None:
    """The main program of a custom service: reads the command line and serves until the process ends.

    :param made_by: the class, or a function. A :class:`Source` class is called with its
        :class:`Pushing`, everything else without arguments.
    """
    is_source = isinstance(made_by, type) and issubclass(made_by, Source)

    def command(**flags: Any) -> None:
        start(flags, lambda: made_by(pushing(flags)) if is_source else made_by())

    options = with_options(*([SOURCE, SERVICE] if is_source else [SERVICE]))
    settings = {"auto_envvar_prefix": ENVIRONMENT, "help_option_names": ["-h", "--help"]}
    click.command(context_settings=settings, help=made_by.__doc__)(options(command))()


def pushing(flags: dict[str, Any]) -> Pushing:
    """The settings of a source, from its options."""
    return Pushing(
        routers=flags["routers"],
        source_id=flags["source_id"],
        pipeline=flags["pipeline"],
        batch_size=flags["batch_size"],
        window=flags["window"],
        stay=flags["stay"],
        tls=_router_tls(flags),
    )


def _router_tls(flags: dict[str, Any]) -> RouterTls | None:
    authority, certificate, key = (flags[f"router_tls_{name}"] for name in ("ca", "cert", "key"))
    if bool(certificate) != bool(key):
        raise click.UsageError("--router-tls-cert and --router-tls-key belong together.")
    if not (flags["router_tls"] or authority or certificate):
        return None
    return RouterTls(authority, certificate, key)


def _tls(flags: dict[str, Any]) -> Tls | None:
    certificate, key, authority = (flags[f"tls_{name}"] for name in ("cert", "key", "client_ca"))
    if not (certificate or key or authority):
        return None
    if not (certificate and key):
        raise click.UsageError(
            "--tls-cert and --tls-key must be set together; --tls-client-ca requires both."
        )
    return Tls(certificate, key, authority)


def start(flags: dict[str, Any], make: Callable[[], Service]) -> None:
    """Run a service until it ends, and exit. Returns only if an exception is raised.

    :param flags: the options of every service.
    :raises ClickException: the service cannot start.
    """
    configure_logging(flags["log_format"], flags["log_level"])
    # The first process of a container ignores SIGTERM unless it sets a handler, also while it still starts.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serving = Serving(
        bind=Bind(*flags["bind"]),
        health_port=flags["health_port"],
        metrics_port=flags["metrics_port"],
        grace=flags["grace_seconds"],
        tls=_tls(flags),
    )

    async def main() -> None:
        await serve(make(), serving)

    try:
        asyncio.new_event_loop().run_until_complete(main())
    except StartError as error:
        raise click.ClickException(str(error)) from error
    # A normal exit of the interpreter waits for threads, and a write in one may never return. All records
    # that were acknowledged are stored.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
