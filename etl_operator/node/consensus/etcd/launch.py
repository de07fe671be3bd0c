"""Run as a file: ``python launch.py PARENT PROGRAM ARGUMENT...`` becomes that program.

It ends with its parent: the kernel kills it when the node is gone, also by SIGKILL. Linux only; elsewhere the
node ends it when it can.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""``prctl(2)``."""


def main() -> None:
    """Replace this process."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # Its parent may have ended before the kernel knew.
        if os.getppid() != int(sys.argv[1]):
            sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the program that the node chose


if __name__ == "__main__":
    main()
