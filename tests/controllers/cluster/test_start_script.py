"""The start script, run by a real POSIX shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from controllers.cluster.config import start_script
from controllers.members import naming
from informers.objects import ObjectKey
from tests.hanging import HANGS

PEERS = naming.raft_peers(ObjectKey("etl", "a-1"), 12, "cluster.local", 50052)


def run(tmp_path: Path, *args: str, command: tuple[str, ...] = (), **env: str) -> list[str]:
    """Start the script with a stand-in router that prints its arguments, one per line."""
    program = tmp_path / (command[0] if command else "etl-router")
    program.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n')
    program.chmod(0o755)
    script = tmp_path / "start.sh"
    script.write_text(start_script(command))
    values = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "POD_NAME": "a-1-0",
        "POD_NAMESPACE": "etl",
        "POD_IP": "10.0.0.7",
        "RAFT_PEERS": PEERS,
        "GRPC_PORT": "50051",
        "RAFT_PORT": "50052",
        "HTTP_PORT": "8080",
        "METRICS_PORT": "9090",
        "DATA_DIR": "/data",
        "ROUTER_CONFIG": "/etc/etl-router/router.yaml",
    }
    done = subprocess.run(
        ["/bin/sh", str(script), *args],
        env=values | env,
        capture_output=True,
        text=True,
        check=True,
        timeout=HANGS,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def values_of(words: list[str], flag: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == flag]


@pytest.mark.parametrize("ordinal", [0, 1, 9, 10, 11])
def test_a_member_lists_every_other_member_and_not_itself(tmp_path: Path, ordinal: int) -> None:
    words = run(tmp_path, POD_NAME=f"a-1-{ordinal}")
    assert values_of(words, "--node-id") == [str(ordinal + 1)]
    peers = values_of(words, "--peers")
    assert len(peers) == 11
    assert str(ordinal + 1) not in {peer.partition(":")[0] for peer in peers}
    other = (ordinal + 1) % 12
    assert f"{other + 1}:a-1-{other}.a-1-headless.etl.svc.cluster.local:50052" in peers


def test_every_address_is_bound_to_the_pod(tmp_path: Path) -> None:
    words = run(tmp_path)
    assert values_of(words, "--listen-addr") == ["10.0.0.7:50051"]
    assert values_of(words, "--raft-addr") == ["10.0.0.7:50052"]
    assert values_of(words, "--graphql-addr") == ["10.0.0.7:8080"]
    assert values_of(words, "--metrics-addr") == ["10.0.0.7:9090"]
    assert values_of(words, "--data-dir") == ["/data"]
    assert values_of(words, "--config") == ["/etc/etl-router/router.yaml"]


def test_an_ipv6_address_gets_brackets(tmp_path: Path) -> None:
    assert values_of(run(tmp_path, POD_IP="fd00::7"), "--listen-addr") == ["[fd00::7]:50051"]


def test_a_lone_member_has_no_peers(tmp_path: Path) -> None:
    alone = naming.raft_peers(ObjectKey("etl", "a-1"), 1, "cluster.local", 50052)
    assert "--peers" not in run(tmp_path, RAFT_PEERS=alone)


def test_without_metrics_the_flag_is_left_out(tmp_path: Path) -> None:
    assert "--metrics-addr" not in run(tmp_path, METRICS_PORT="")


def test_the_users_arguments_come_last_and_untouched(tmp_path: Path) -> None:
    words = run(tmp_path, "--engine", "two words", "$HOME*")
    assert words[-3:] == ["--engine", "two words", "$HOME*"]


def test_another_command_gets_the_same_flags(tmp_path: Path) -> None:
    words = run(tmp_path, "last", command=("wrapper", "it's", "--"))
    assert words[:2] == ["it's", "--"]
    assert words[2] == "--node-id"
    assert words[-1] == "last"
