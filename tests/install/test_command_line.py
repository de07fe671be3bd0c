"""The arguments the manifests give are arguments the program has."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from etl_operator import __version__
from etl_operator.cli.main import main
from etl_operator.sandbox.manifests import load_manifests
from tests.install.manifests import CONFIG, container_of, only


def parsed(arguments: list[str]) -> dict[str, object]:
    """The options of ``etl-operator run`` as click reads them.

    :raises click.UsageError: when an argument is unknown or wrong.
    """
    command, *rest = arguments
    run = main.get_command(click.Context(main), command)
    assert run is not None
    return dict(run.make_context("run", rest).params)


def test_the_deployment_starts_an_operator_with_a_lease() -> None:
    deployment = only(load_manifests(CONFIG / "manager"), "Deployment")
    options = parsed(container_of(deployment)["args"])
    assert options["leader_elect"] is True
    assert options["metrics_bind_address"] == ":8080"
    assert options["health_probe_bind_address"] == ":8081"


def test_every_option_has_its_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "LOG_LEVEL": "debug",
        "NAMESPACES": "team-a team-b",
        "DEBUG_ENDPOINTS": "1",
        "PREFLIGHT": "false",
        "METRICS_CERT_DIR": "/certs",
        "LEADER_ELECT": "true",
        "TRACING": "yes",
        "WRITES_PER_SECOND": "20",
    }.items():
        monkeypatch.setenv(f"ETL_OPERATOR_{name}", value)
    options = parsed(["run", "--namespace=team-c"])
    assert options["log_level"] == "debug"
    assert options["namespaces"] == ("team-c",), "the command line wins"
    assert parsed(["run"])["namespaces"] == ("team-a", "team-b")
    assert (options["debug_endpoints"], options["preflight"]) == (True, False)
    assert (options["leader_elect"], options["tracing"]) == (True, True)
    assert options["writes_per_second"] == 20
    assert parsed(["run", "--writes-per-second=0"])["writes_per_second"] == 0
    with pytest.raises(click.BadParameter):
        parsed(["run", "--writes-per-second=-1"])
    assert str(options["metrics_cert_dir"]) == "/certs"


def test_an_unknown_argument_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parsed(["run", "--no-such-option"])


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_told_either_way(arguments: list[str]) -> None:
    told = CliRunner().invoke(main, arguments)
    assert (told.exit_code, told.output) == (0, f"etl-operator {__version__}\n")


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--namespace", "Bad_NS", "not a valid namespace"),
        ("--namespace", "a" * 64, "not a valid namespace"),
        ("--namespace", "", "not a valid namespace"),
        ("--leader-election-namespace", "a.b", "not a valid namespace"),
        ("--metrics-bind-address", "8080", "not HOST:PORT"),
        ("--health-probe-bind-address", ":99999", "not HOST:PORT"),
        ("--cluster-domain", "a_b", "not a DNS domain"),
    ],
)
def test_values_are_checked_before_anything_starts(flag: str, value: str, said: str) -> None:
    result = CliRunner().invoke(main, ["run", flag, value])
    assert result.exit_code == 2
    assert f"'{flag}'" in result.output
    assert said in result.output
