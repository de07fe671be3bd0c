"""No process outlives the sandbox, not even one that is killed with SIGKILL.

Two nets. A small process of its own reads a pipe whose other end only the sandbox holds: it is told
the process groups to watch, and when the pipe ends, for whatever reason, it kills them. On Linux each
child is in addition started through a launcher that asks the kernel to kill it when its parent dies,
which covers the moment between a child's start and the reaper hearing of it.

Run as a file, by an isolated interpreter and with the standard library alone, so that both cost
milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1


class Reaper:
    """Guards process groups; an asynchronous context manager.

    Entering it waits until the reaper listens; leaving it kills what is still guarded and waits for the
    reaper's own end.

    :param state_dir: shows in the reaper's command line, so that its sandbox can be identified.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Reaper:
        self._process = await asyncio.create_subprocess_exec(
            *_this_file("watch", str(self._state_dir)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if not await self._process.stdout.readline():
            raise OSError(f"the guard process did not start: exit code {await self._process.wait()}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()

    def add(self, pid: int) -> None:
        """Guard the process group led by ``pid``."""
        self._tell(f"+{pid}\n")

    def remove(self, pid: int) -> None:
        """The group has ended; its number may come to mean something else."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        stdin = self._running().stdin
        assert stdin is not None
        if not stdin.is_closing():
            stdin.write(line.encode())

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the guard process is not running")
        return self._process


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """The command, started so that the kernel kills it when this process dies. Linux only; else unchanged.

    The launcher replaces itself by the command: process id, group and environment stay.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    return [*_this_file("launch", str(os.getpid())), *command]


def _this_file(*arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", __file__, *arguments]


def _launch(parent: int, command: Sequence[str]) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the request was made.
    if os.getppid() == parent:
        # The interpreter ignores these two for itself; a program expects them as the system has them.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.execvp(command[0], list(command))  # noqa: S606 - an argument list; no shell is wanted


def _watch() -> None:
    # It ends exactly when its pipe does: nothing else may take the net away.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"listening\n")
    guarded: dict[int, str] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line.startswith("+"):
            guarded[pid] = _birth(pid)
        else:
            guarded.pop(pid, None)
    _kill(guarded)


def _kill(guarded: Mapping[int, str]) -> None:
    for pid, born in guarded.items():
        # A process of the same number but another birth is a stranger.
        if _birth(pid) in ("", born):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _birth(pid: int) -> str:
    """When the kernel started the process, in its own ticks; "" where that is not to be had."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The command name may hold blanks and brackets; what follows its last bracket does not.
    return stat.rpartition(")")[2].split()[19]


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        _watch()
    else:
        _launch(int(sys.argv[2]), sys.argv[3:])
