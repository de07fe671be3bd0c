"""The router's configuration file and the script that starts the router in its pod."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml

from etl_operator.api import EtlRouterCluster

ROUTER_FILE = "router.yaml"
SCRIPT_FILE = "start.sh"
NATS_DIR = "/etc/etl-router-nats"
"""Where the Secret with the credentials for NATS is mounted."""

_SCRIPT = """\
#!/bin/sh
# Written by etl-operator. Node ids are the pod's ordinal plus one; a node must not list itself as a peer.
set -eu
ordinal="${POD_NAME##*-}"
node_id=$((ordinal + 1))

# An IPv6 address needs brackets before a port.
case "$POD_IP" in
  *:*) bind="[$POD_IP]" ;;
  *) bind="$POD_IP" ;;
esac

peers=""
saved_ifs="$IFS"
IFS=,
for member in $RAFT_PEERS; do
  if [ "${member%%:*}" != "$node_id" ]; then
    peers="$peers --peers $member"
  fi
done
IFS="$saved_ifs"

metrics=""
if [ -n "${METRICS_PORT:-}" ]; then
  metrics="--metrics-addr $bind:$METRICS_PORT"
fi

# $peers and $metrics are lists of words without blanks of their own.
# shellcheck disable=SC2086
exec @PROGRAM@ --node-id "$node_id" \\
  --listen-addr "$bind:$GRPC_PORT" \\
  --raft-addr "$bind:$RAFT_PORT" \\
  --graphql-addr "$bind:$HTTP_PORT" \\
  $metrics $peers \\
  --data-dir "$DATA_DIR" \\
  --config "$ROUTER_CONFIG" "$@"
"""


def start_script(command: Sequence[str] = ()) -> str:
    """A POSIX shell script that turns the pod's environment into the router's flags.

    :param command: ``spec.command``: the program to run instead of ``etl-router``. It gets the operator's
        flags, then ``spec.args``.
    """
    return _SCRIPT.replace("@PROGRAM@", shlex.join(command) if command else "etl-router")


def router_config(cluster: EtlRouterCluster) -> str:
    """``router.yaml`` with every key: a router that misses one discards the whole file."""
    raft, metrics = cluster.spec.raft, cluster.spec.metrics
    return _router_config(
        raft.election_timeout_ms,
        raft.heartbeat_interval_ms,
        raft.snapshot_interval,
        metrics.enabled,
        metrics.port,
        *_nats(cluster),
    )


def _nats(cluster: EtlRouterCluster) -> tuple[tuple[str, Any], ...]:
    """``nats`` of the file, as items; none without a durable buffer."""
    nats = cluster.spec.buffer.nats
    if nats is None:
        return ()
    return (
        ("urls", tuple(nats.urls)),
        # No other cluster has it: neither name has this character.
        ("prefix", f"{cluster.metadata.namespace}_{cluster.metadata.name}"),
        ("credentials_dir", NATS_DIR if nats.credentials_secret_name else ""),
        ("replicas", nats.replicas),
        ("sync_always", nats.sync_always),
        ("max_bytes", nats.max_bytes),
    )


@lru_cache(maxsize=256)
def _router_config(
    election: int, heartbeat: int, snapshot: int, metrics: bool, metrics_port: int, *nats: tuple[str, Any]
) -> str:
    # Writing YAML takes longer than all the rest of a pass over a cluster, so it is done once.
    durable = {key: list(value) if isinstance(value, tuple) else value for key, value in nats}
    return yaml.safe_dump(
        {
            "cluster": {
                "election_timeout_min_ms": election,
                # Drawn from [min, max): a spread of one whole timeout keeps elections from colliding.
                "election_timeout_max_ms": election * 2,
                "heartbeat_interval_ms": heartbeat,
                "snapshot_interval": snapshot,
                "max_entries_per_append": 100,
            },
            "buffer": {
                "max_total_records": 1_000_000,
                "max_per_source": 100_000,
                "max_per_stage": 100_000,
                "backpressure_threshold": 0.8,
                "backpressure_resume_threshold": 0.6,
            },
            "grpc": {
                "max_message_size": 67_108_864,
                "keepalive_interval_secs": 10,
                "keepalive_timeout_secs": 5,
            },
            "metrics": {"enabled": metrics, "listen_addr": f"0.0.0.0:{metrics_port}"},
        }
        | ({"nats": durable} if durable else {}),
        sort_keys=False,
    )


def config_data(cluster: EtlRouterCluster) -> dict[str, str]:
    """The ConfigMap's ``data``."""
    return {
        ROUTER_FILE: router_config(cluster),
        SCRIPT_FILE: start_script(cluster.spec.command or ()),
    }


def config_hash(data: Mapping[str, str]) -> str:
    """Changes exactly when a file changes; on the pod template it makes the pods outdated."""
    digest = hashlib.sha256()
    for name in sorted(data):
        digest.update(f"{name}\0{data[name]}\0".encode())
    return digest.hexdigest()[:16]
