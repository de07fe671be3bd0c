"""``python -m e2e.realcluster``: the sandbox on the real control plane.

Everything but the API server and its controllers is what ``etl-operator sandbox`` runs: process node, name
proxy, operator, progress. It takes the same options, as far as the end-to-end tests use them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from e2e.realserver import RealServer
from etl_operator.cli.logs import configure_logging
from etl_operator.sandbox.run import SandboxSettings, run_sandbox

_PATH = click.Path(path_type=Path)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of ``etl-operator sandbox`` that end-to-end tests use; see :func:`settings_of`."""
    for option in reversed(
        (
            click.option("--manifests", multiple=True, type=_PATH),
            click.option("--until-ready", is_flag=True),
            click.option("--timeout", type=float, default=120.0),
            click.option("--kubeconfig", type=_PATH, default=Path("sandbox.kubeconfig")),
            click.option("--state-dir", type=_PATH),
            click.option("--no-operator", is_flag=True),
            click.option("--proxy-anywhere", is_flag=True),
            click.option("--log-level", default="warning"),
        )
    ):
        command = option(command)
    return command


def settings_of(given: Mapping[str, Any]) -> SandboxSettings:
    """What :func:`options` were given."""
    return SandboxSettings(
        manifests=given["manifests"],
        until_ready=given["until_ready"],
        timeout=given["timeout"],
        kubeconfig=given["kubeconfig"],
        state_dir=given["state_dir"],
        operator=not given["no_operator"],
        proxy_anywhere=given["proxy_anywhere"],
    )


@click.command()
@options
def main(**given: Any) -> None:
    """Start the real control plane and run the operator on it."""
    configure_logging("text", given["log_level"])
    sys.exit(asyncio.run(run_sandbox(settings_of(given), RealServer)))


if __name__ == "__main__":
    main()
