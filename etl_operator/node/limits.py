"""How many connections a node takes on, so that files are left for probes, members and the disk."""

from __future__ import annotations

import resource
from typing import Any

from etl_operator.node.settings import STREAM_BYTES, Grpc
from informers.listener import CONNECTIONS

MOST_CALLERS = 4096
"""gRPC connections at a time. One that says nothing costs about 12 KB."""

HANDSHAKE_SECONDS = 5
"""Seconds a caller has until its gRPC connection stands."""

GRACE = 0.3
"""Seconds for calls in flight when a server ends. Heartbeat streams never end by themselves."""

_OTHERS = 3 * CONNECTIONS + 64
"""Open files of everything else: the listeners for HTTP and Raft, links to members, the data directory."""

_FEWEST = 16


def raise_open_files() -> int:
    """Let this process open the files it may need, as far as it is allowed to.

    Container runtimes set the limit that counts (the soft one) to 1024 and leave the other far above it, for
    the sake of older programs.

    :returns: how many files it may open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CALLERS + _OTHERS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def callers(open_files: int) -> int:
    """The gRPC connections to allow in a process that may open so many files."""
    return max(_FEWEST, min(MOST_CALLERS, open_files - _OTHERS))


def server_options(settings: Grpc, *, reuse_port: bool) -> list[tuple[str, Any]]:
    """Options of a gRPC server.

    :param reuse_port: other processes may listen on the same port, and each gets some of the connections.
    """
    return [
        # Without it a second process on the same port fails, instead of taking half of the calls.
        ("grpc.so_reuseport", int(reuse_port)),
        # Callers who connect and say nothing must leave files for everything else.
        ("grpc.max_allowed_incoming_connections", callers(raise_open_files())),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1000),
        ("grpc.max_receive_message_length", settings.max_message_size),
        # What gRPC takes of a stream that is not read. By itself it lets that grow to several times as much.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", STREAM_BYTES),
        ("grpc.max_send_message_length", settings.max_message_size),
        ("grpc.keepalive_time_ms", settings.keepalive_interval_secs * 1000),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_secs * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ]
