"""``python -m e2e.realcluster``: the sandbox on the real control plane.

Everything but the API server and its controllers is what ``etl-operator sandbox`` runs: process node, name
proxy, operator, progress. It takes the same options, as far as the end-to-end tests use them.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from e2e.realserver import RealServer
from etl_operator.cli.logs import configure_logging
from etl_operator.sandbox.run import SandboxSettings, run_sandbox

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--manifests", multiple=True, type=_PATH)
@click.option("--until-ready", is_flag=True)
@click.option("--timeout", type=float, default=120.0)
@click.option("--kubeconfig", type=_PATH, default=Path("sandbox.kubeconfig"))
@click.option("--state-dir", type=_PATH)
@click.option("--no-operator", is_flag=True)
@click.option("--log-level", default="warning")
def main(
    manifests: tuple[Path, ...],
    until_ready: bool,
    timeout: float,
    kubeconfig: Path,
    state_dir: Path | None,
    no_operator: bool,
    log_level: str,
) -> None:
    """Start the real control plane and run the operator on it."""
    configure_logging("text", log_level)
    settings = SandboxSettings(
        manifests=manifests,
        until_ready=until_ready,
        timeout=timeout,
        kubeconfig=kubeconfig,
        state_dir=state_dir,
        operator=not no_operator,
    )
    sys.exit(asyncio.run(run_sandbox(settings, RealServer)))


if __name__ == "__main__":
    main()
