"""Real process groups: started, stopped politely and then not, and nothing left of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from etl_operator.sandbox.kubelet.process import CannotStart, Run
from etl_operator.sandbox.reaper import Reaper
from tests.hanging import HANGS

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"


@pytest.fixture
async def reaper(tmp_path: Path) -> AsyncIterator[Reaper]:
    async with Reaper(tmp_path) as made:
        yield made


class Started:
    """A run with its output file."""

    def __init__(self, run: Run, file: Path) -> None:
        self.run = run
        self._file = file

    async def says(self, text: str) -> str:
        async with asyncio.timeout(HANGS):
            while text not in self._file.read_text():  # noqa: ASYNC110 - files tell nobody
                await asyncio.sleep(0.01)
        return self._file.read_text()


async def start(tmp_path: Path, reaper: Reaper, *command: str, **environment: str) -> Started:
    file = tmp_path / "output"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        variables = {"PATH": os.environ["PATH"], **environment}
        return Started(await Run.start(command, variables, tmp_path, descriptor, reaper), file)
    finally:
        os.close(descriptor)


async def test_the_exit_code_is_the_programs_and_a_signal_is_told_as_shells_do(
    tmp_path: Path, reaper: Reaper
) -> None:
    assert await (await start(tmp_path, reaper, "sh", "-c", "exit 7")).run.wait() == 7
    killed = await start(tmp_path, reaper, "sleep", "600")
    assert await killed.run.kill() == 137


async def test_a_polite_request_is_enough_for_polite_programs(tmp_path: Path, reaper: Reaper) -> None:
    one = await start(tmp_path, reaper, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; sleep 600 & wait")
    await one.says("up")
    assert await one.run.stop(60) == 3
    assert "bye" in await one.says("bye")


async def test_a_stubborn_program_is_killed_after_the_grace(tmp_path: Path, reaper: Reaper) -> None:
    one = await start(tmp_path, reaper, "sh", "-c", STUBBORN)
    await one.says("up")
    assert await one.run.stop(0.2) == 137


async def test_what_outlives_its_leader_is_killed(tmp_path: Path, reaper: Reaper) -> None:
    one = await start(tmp_path, reaper, "sh", "-c", "sleep 600 & echo child $!")
    assert await one.run.wait() == 0
    child = int((await one.says("child")).split()[1])
    async with asyncio.timeout(HANGS):
        while _state(child) != "Z":  # noqa: ASYNC110 - another's child
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
async def test_only_the_given_environment_and_directory_are_seen(tmp_path: Path, reaper: Reaper) -> None:
    one = await start(tmp_path, reaper, "sh", "-c", "pwd; env", ONLY="this")
    assert await one.run.wait() == 0
    said = await one.says("ONLY=this")
    assert str(tmp_path) in said
    assert "HOME=" not in said


@pytest.mark.parametrize(
    ("command", "said"),
    [((), "no command specified"), (("/no/such/program",), "not found"), (("no-such-program",), "not found")],
)
async def test_what_cannot_be_started_says_why(
    tmp_path: Path, reaper: Reaper, command: tuple[str, ...], said: str
) -> None:
    with pytest.raises(CannotStart, match=said):
        await start(tmp_path, reaper, *command)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
