"""How many connections a node takes on, so that files are left for probes, members and the disk."""

from __future__ import annotations

import resource

from informers.listener import CONNECTIONS

MOST_CALLERS = 4096
"""gRPC connections at a time. One that says nothing costs about 12 KB."""

HANDSHAKE_SECONDS = 5
"""Seconds a caller has until its gRPC connection stands."""

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
