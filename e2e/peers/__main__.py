"""``python -m e2e.peers``: run peers' suites and hold the counts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from e2e.peers import pins
from e2e.peers.go_module import checked_out, test_program
from e2e.peers.reports import Report, of_ginkgo, of_unittest
from e2e.realserver import Unavailable, programs

_ROOT = Path(__file__).resolve().parents[2]
_START_WITHIN = 90.0
_SUITE_WITHIN = 900


@contextlib.contextmanager
def _bare_server(cluster: str, directory: Path) -> Iterator[Path]:
    """The kubeconfig of a server of its own, as long as the block runs."""
    kubeconfig, state, log = directory / "kubeconfig", directory / "state", directory / "server.log"
    state.mkdir()
    command = [sys.executable, "-m", "e2e.peers.bare", cluster, str(kubeconfig), str(state)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _START_WITHIN
        while not kubeconfig.exists():
            said = log.read_text(encoding="utf-8", errors="replace")
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"no API server within {_START_WITHIN:.0f} s:\n{said}")
            time.sleep(0.05)
        yield kubeconfig
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def _run(suite: pins.Suite, cluster: str, directory: Path) -> Report:
    """One suite against a server of its own.

    :raises Unavailable: when it cannot be run here, or ends without a report.
    """
    report = directory / "report.json"
    if not suite.package:
        with _bare_server(cluster, directory) as kubeconfig:
            module = ["-m", "e2e.peers.official_client", str(kubeconfig), str(report)]
            # Its cache of discovery is kept there.
            output = _output([sys.executable, *module], _ROOT, {"TMPDIR": str(directory)})
        return of_unittest(_read(report, output))
    source = checked_out(pins.CONTROLLER_RUNTIME, suite.version)
    command = [str(test_program(source, suite.package)), f"--ginkgo.json-report={report}"]
    where = source / suite.package
    if cluster == "real":
        # The suite starts what is there by itself, as its authors run it.
        assets = {"KUBEBUILDER_ASSETS": str(programs()["kube-apiserver"].parent)}
        return of_ginkgo(_read(report, _output(command, where, assets)))
    with _bare_server(cluster, directory) as kubeconfig:
        existing = {"USE_EXISTING_CLUSTER": "true", "KUBECONFIG": str(kubeconfig)}
        return of_ginkgo(_read(report, _output(command, where, existing)))


def _output(command: list[str], where: Path, variables: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=where,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SUITE_WITHIN,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"it did not end within {_SUITE_WITHIN} s") from None
    return done.stdout


def _read(report: Path, output: str) -> str:
    if not report.exists():
        raise Unavailable(f"it ended without a report:\n{output[-4000:]}")
    return report.read_text(encoding="utf-8")


@click.command()
@click.option("--cluster", type=click.Choice(("sandbox", "real")), default="sandbox")
@click.argument("names", nargs=-1)
def main(cluster: str, names: tuple[str, ...]) -> None:
    """Run every suite, or those whose name has one of the NAMES in it."""
    wrong = 0
    for suite in pins.SUITES:
        if names and not any(name in suite.name for name in names):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as directory:
            try:
                report = _run(suite, cluster, Path(directory))
                count, problem = f"{report.passed} passed", report.problem(suite)
            except Unavailable as error:
                count, problem = "not run", str(error)
        seconds = time.monotonic() - began
        click.echo(f"{suite.name} {suite.version}: {count} in {seconds:.0f} s{problem and ': ' + problem}")
        wrong += bool(problem)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
