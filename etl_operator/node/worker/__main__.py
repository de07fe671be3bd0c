"""``python -m etl_operator.node.worker FD``: started by the control process, with its end of the link.

The first thing it does is to bind its life to that of the control process: the kernel kills it when that one
is gone, whatever it is busy with. Where the kernel does not offer this, the end of the link ends it.
"""

from __future__ import annotations

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""``prctl(2)``."""


def _end_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Run a worker."""
    _end_with_parent()
    # A signal to the whole group is for the control process, which tells its workers what to do.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)

    import asyncio
    import logging
    import socket

    from etl_operator.node.worker.process import run

    end = socket.socket(fileno=int(sys.argv[1]))
    code = asyncio.new_event_loop().run_until_complete(run(end))
    logging.shutdown()
    # As in the control process: the interpreter's own end waits for threads.
    os._exit(code)


if __name__ == "__main__":
    main()
