"""Nothing survives the sandbox's parent, however it ends. Real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PARENT = """
import asyncio, subprocess, sys
from pathlib import Path
from etl_operator.sandbox.reaper import Reaper, dying_with_parent

async def main():
    async with Reaper(Path(sys.argv[1])) as reaper:
        child = subprocess.Popen(
            {command}, start_new_session=True, stdout=subprocess.PIPE, text=True
        )
        reaper.add(child.pid)
        print(child.pid, child.stdout.readline().strip(), flush=True)
        await asyncio.sleep({seconds})
        child.kill()
        child.wait()
        reaper.remove(child.pid)

asyncio.run(main())
"""
FAMILY = ["sh", "-c", "sleep 600 & echo $!; wait"]


@contextlib.contextmanager
def python(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process with its output in a pipe; killed at the end whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def parent(
    tmp_path: Path, command: str, seconds: float = 600
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return python(PARENT.format(command=command, seconds=seconds), str(tmp_path))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pids: list[int], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while left := [pid for pid in pids if alive(pid)]:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.01)


def reapers(state_dir: Path) -> list[int]:
    listing = subprocess.run(["ps", "-wweo", "pid=,args="], capture_output=True, text=True, check=True)
    return [
        int(line.split()[0])
        for line in listing.stdout.splitlines()
        if "reaper.py watch" in line and str(state_dir) in line
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("command", [repr(FAMILY), f"dying_with_parent({FAMILY!r})"])
def test_sigkill_of_the_parent_ends_children_and_grandchildren(tmp_path: Path, command: str) -> None:
    with parent(tmp_path, command) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        pids += reapers(tmp_path)
        assert len(pids) == 3
        os.kill(process.pid, signal.SIGKILL)
    wait_for_end(pids)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="parent death signals are Linux's")
def test_the_kernel_alone_ends_a_child_the_reaper_never_heard_of(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "from etl_operator.sandbox.reaper import dying_with_parent\n"
        "c = subprocess.Popen(dying_with_parent(['sh', '-c', 'echo up; exec sleep 600']),\n"
        "    stdout=subprocess.PIPE, text=True, start_new_session=True)\n"
        "c.stdout.readline(); print(c.pid, flush=True); time.sleep(600)\n"
    )
    with python(code) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
    wait_for_end([pid])


def test_an_orderly_end_leaves_no_reaper(tmp_path: Path) -> None:
    with parent(tmp_path, repr(["sh", "-c", "echo 0; exec sleep 600"]), seconds=0) as process:
        assert process.wait(20) == 0
    assert reapers(tmp_path) == []


def test_a_signal_to_the_reaper_does_not_take_the_net_away(tmp_path: Path) -> None:
    with parent(tmp_path, repr(["sh", "-c", "echo 0; exec sleep 600"])) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split()[0])
        [reaper] = reapers(tmp_path)
        os.kill(reaper, signal.SIGTERM)
        os.kill(process.pid, signal.SIGKILL)
    wait_for_end([pid, reaper])
