from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from etl_operator import __version__
from etl_operator.node.address import parse_bind, parse_peer
from etl_operator.node.consensus.address import Address
from etl_operator.node.main import main


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "--node-id"),
        (["--node-id=0"], "0"),
        (["--node-id=one"], "one"),
        (["-n1", "--listen-addr=localhost:50051"], "not a literal IP:PORT"),
        (["-n1", "--raft-addr=127.0.0.1"], "not HOST:PORT"),
        (["-n1", "--graphql-addr=127.0.0.1:99999"], "not HOST:PORT"),
        (["-n1", "--peers=other:50052"], "not ID:HOST:PORT"),
        (["-n1", "--peers=2:other"], "not HOST:PORT"),
        (["-n1", "--peers=2:a:1,3:b:1"], "not HOST:PORT"),
        (["-n1", "--peers=1:a:1"], "itself"),
        (["-n1", "--peers=2:a:1", "--peers=2:b:1"], "twice"),
        (["-n1", "--raft-tls-cert=x"], "must be given together"),
        (["-n1", "--package-prefix=other"], "other"),
        (["-n1", "--log-format=xml"], "xml"),
        (["-n1", "--log-level=trace"], "trace"),
        (["-n1", "--unknown"], "--unknown"),
    ],
)
def test_a_wrong_command_line_ends_with_code_2(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert reason in result.output


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(main, ["--version"])
    assert (result.exit_code, result.output) == (0, f"etl-router {__version__}\n")


@pytest.mark.parametrize("module", ["etl_operator.node", "etl_operator.node.main"])
def test_both_modules_are_the_command(module: str) -> None:
    result = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--node-id" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--config={dir}/bad.yaml"], "cannot read"),
        (["--config={dir}/timing.yaml"], "election timeout"),
        (["--raft-tls-cert=no", "--raft-tls-key=no", "--raft-tls-ca=no"], "no: No such file or directory"),
        (["--data-dir={dir}/bad.yaml/data"], "cannot use the data directory"),
    ],
)
def test_what_cannot_start_says_why_and_ends_with_code_1(
    tmp_path: Path, arguments: list[str], reason: str
) -> None:
    (tmp_path / "bad.yaml").write_text("cluster: [")
    environment = {"ETL_ROUTER__CLUSTER__HEARTBEAT_INTERVAL_MS": "100"} if "timing" in arguments[0] else {}
    words = [word.format(dir=tmp_path) for word in arguments]
    command = [sys.executable, "-m", "etl_operator.node", "-n1", *words]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert result.returncode == 1
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_addresses() -> None:
    assert parse_bind("10.0.0.1:50051") == Address("10.0.0.1", 50051)
    assert parse_bind("[::1]:80") == Address("::1", 80)
    assert str(parse_bind("[::1]:80")) == "[::1]:80"
    assert parse_peer("2:my-cluster-1.my-cluster-headless.ns.svc:50052") == (
        2,
        Address("my-cluster-1.my-cluster-headless.ns.svc", 50052),
    )
    assert parse_peer("3:[fd00::1]:1") == parse_peer("3:fd00::1:1") == (3, Address("fd00::1", 1))
