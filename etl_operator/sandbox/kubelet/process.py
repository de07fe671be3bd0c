"""One run of a container: a process group of its own, guarded, stopped politely and then not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from etl_operator.sandbox.reaper import Reaper, dying_with_parent


class CannotStart(Exception):
    """The command of a container cannot be run."""


class Run:
    """A running process and everything it starts.

    Made by :meth:`start`. The group is gone when :meth:`wait` returns: what outlives its leader is killed.
    """

    def __init__(self, process: asyncio.subprocess.Process, reaper: Reaper) -> None:
        self._process = process
        self._reaper = reaper
        self._ended = asyncio.ensure_future(self._until_end())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: int,
        reaper: Reaper,
    ) -> Run:
        """Start a command.

        :param output: descriptor for its output and errors; stays open here.
        :raises CannotStart: when there is no such program, or it may not be run.
        """
        if not command:
            raise CannotStart("no command specified")
        if shutil.which(command[0], path=environment.get("PATH", os.defpath)) is None:
            raise CannotStart(f'exec: "{command[0]}": executable file not found in $PATH')
        try:
            process = await asyncio.create_subprocess_exec(
                *dying_with_parent(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env=dict(environment),
                # Its own group: it can be stopped whole, and Ctrl-C reaches the sandbox alone.
                start_new_session=True,
            )
        except OSError as error:
            raise CannotStart(str(error)) from error
        reaper.add(process.pid)
        return cls(process, reaper)

    @property
    def pid(self) -> int:
        """Process id, and number of the group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end; the exit code, 128 and the signal's number where a signal ended it."""
        return await asyncio.shield(self._ended)

    async def stop(self, grace: float) -> int:
        """Ask it to end, insist after ``grace`` seconds; the exit code."""
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self.wait(), grace)
        return await self.kill()

    async def kill(self) -> int:
        """End it at once; the exit code."""
        self.signal(signal.SIGKILL)
        return await self.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group, if it is still there."""
        if not self._ended.done():
            self._signal(number)

    async def _until_end(self) -> int:
        code = await self._process.wait()
        self._signal(signal.SIGKILL)
        self._reaper.remove(self.pid)
        return code if code >= 0 else 128 - code

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
