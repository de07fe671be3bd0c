"""The name of this process as a candidate for a lease: the same after its container restarts, where safe.

A container that restarts after a crash finds a lease that its own pod holds. Waiting for it to expire helps
nobody: the process that held it is dead. But only that one may be followed at once. So the name is made of
the pod's uid, and a process may have it only while it holds an abstract Unix socket of that name. Such
sockets belong to the network namespace, which the containers of a pod share, and the kernel frees them when
a process ends, however it ends. A second living process of the pod (``kubectl exec``, another container
with the same environment, a process that is stopped but not dead) finds the socket taken, and gets a name
of its own.

What the dead process sent may still be on its way, as after any loss of a lease: resource versions refuse it.
"""

from __future__ import annotations

import os
import random
import socket
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Identity:
    """A name that no other living process has, until :meth:`release` or the end of this one.

    :param lasting: a restart of the container gets it again.
    """

    text: str
    lasting: bool
    _claim: socket.socket | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.text

    def release(self) -> None:
        """Let another process have it."""
        if self._claim is not None:
            self._claim.close()


def claim_identity(pod_uid: str = "") -> Identity:
    """The name of this process.

    :param pod_uid: of the pod this process is a container of, from the downward API; "" outside of pods.
    :returns: host name and uid while no other process of the pod has that name; host name, process id and
        random bits otherwise.
    """
    host = socket.gethostname()
    claim = _claim(f"{host}_{pod_uid}") if pod_uid else None
    if claim is not None:
        return Identity(f"{host}_{pod_uid}", True, claim)
    # The process id and random bits tell two operators on one machine apart. They need no secrecy.
    return Identity(f"{host}_{os.getpid()}_{random.getrandbits(32):08x}", False)


def _claim(name: str) -> socket.socket | None:
    """The socket that one living process of a network namespace can have; ``None`` when another has it, or
    where there are no such sockets."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A leading zero byte: a name in no file system. Nobody listens on it. Python's sockets are not
        # inherited, so no child process keeps it.
        claim.bind(f"\0lease-identity/{name}")
    except OSError:
        claim.close()
        return None
    return claim
