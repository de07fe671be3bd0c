"""Memory limits: what kernels and ``ps`` tell, who is judged by it, and real programs that take too much."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from etl_operator.sandbox.kubelet.memory import (
    MemoryWatch,
    ProcFiles,
    ask_ps,
    charged,
    memory_limit,
    platform_reader,
    resident,
    resident_by_group,
)
from informers.objects import Object
from informers.testing.clock import run_virtual
from tests.hanging import HANGS
from tests.sandbox.http.serving import eventually
from tests.sandbox.kubelet.test_node import EVENT, KEY, POD, World, container, first, is_ready, pod, world

__all__ = ["world"]

MIB = 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")
ROLLUP = """\
5630cf545000-7fff849da000 ---p 00000000 00:00 0                          [rollup]
Rss:                1780 kB
Pss:                 232 kB
Pss_Dirty:           112 kB
Pss_Anon:            112 kB
Pss_File:            120 kB
Pss_Shmem:             8 kB
Shared_Clean:       1632 kB
Private_Dirty:       112 kB
Anonymous:           112 kB
SwapPss:               0 kB
"""
OLD_ROLLUP = (
    "00400000-7ffff000 ---p 00000000 00:00 0 [rollup]\nRss:   884 kB\nPss:   385 kB\nSwapPss:  0 kB\n"
)
PS = "    1  13716\n 4242   2048\n 4242   1024\n    0      0\n\nPGID    RSS\n 77 -\n"


def test_a_limit_is_whole_bytes_and_zero_is_none() -> None:
    def with_limits(**limits: str) -> Object:
        return {"name": "main", "resources": {"limits": limits, "requests": {"memory": "1Mi"}}}

    assert memory_limit(with_limits(memory="64Mi", cpu="1")) == 64 * MIB
    assert memory_limit(with_limits(memory="1500m")) == 2
    assert memory_limit(with_limits(memory="0")) is None
    assert memory_limit(with_limits(cpu="1")) is None
    assert memory_limit({"name": "main"}) is None


def test_the_second_number_of_statm_is_resident_pages() -> None:
    assert resident("765 435 406 5 0 123 0\n", 4096) == 435 * 4096


def test_the_share_leaves_files_out_where_the_kernel_tells_them_apart() -> None:
    assert charged(ROLLUP) == 120 * 1024
    assert charged(OLD_ROLLUP) == 385 * 1024
    assert charged("") is None


def test_what_ps_prints_is_summed_by_group() -> None:
    assert resident_by_group(PS) == {0: 0, 1: 13716 * 1024, 4242: 3072 * 1024}


# -- /proc ------------------------------------------------------------------------------------------


class Processes:
    """A directory that looks like ``/proc``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.groups: dict[int, int] = {}
        (root / "sys").mkdir()

    def add(self, pid: int, group: int, pages: int, anonymous: int | None = None) -> None:
        """:param anonymous: pages; ``None``: a process whose share may not be read."""
        self.groups[pid] = group
        directory = self.root / str(pid)
        directory.mkdir()
        (directory / "statm").write_text(f"{pages * 9} {pages} 1 1 0 1 0\n")
        if anonymous is not None:
            share = f"Pss_Anon: {anonymous * PAGE // 1024} kB\nPss_Shmem: 0 kB\n"
            (directory / "smaps_rollup").write_text(share)

    def group_of(self, pid: int) -> int:
        if pid not in self.groups:
            raise ProcessLookupError(pid)
        return self.groups[pid]

    def read(self, **limits: int) -> Mapping[int, int]:
        """Pages by group. Limits, in pages, are named ``g`` and the group."""
        wanted = {int(name[1:]): limit * PAGE for name, limit in limits.items()}
        found = ProcFiles(self.root, self.group_of)(wanted)
        return {group: size // PAGE for group, size in found.items()}


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def test_processes_of_a_group_are_summed_and_others_left_alone(processes: Processes) -> None:
    processes.add(10, 10, 100)
    processes.add(11, 10, 50)
    processes.add(20, 20, 1000)
    assert processes.read(g10=500) == {10: 150}
    assert processes.read(g10=500, g30=1) == {10: 150, 30: 0}


def test_above_the_limit_the_exact_share_decides(processes: Processes) -> None:
    processes.add(10, 10, 100, anonymous=40)
    processes.add(11, 10, 100, anonymous=30)
    assert processes.read(g10=200) == {10: 200}
    assert processes.read(g10=199) == {10: 70}


def test_where_the_share_may_not_be_read_the_resident_size_counts(processes: Processes) -> None:
    processes.add(10, 10, 100, anonymous=40)
    processes.add(11, 10, 100)
    processes.add(12, 10, 100)
    (processes.root / "12" / "smaps_rollup").write_text("\n")
    assert processes.read(g10=1) == {10: 240}


def test_processes_that_end_meanwhile_use_nothing(processes: Processes) -> None:
    processes.add(10, 10, 100)
    processes.add(11, 10, 100)
    (processes.root / "11" / "statm").unlink()
    processes.add(12, 10, 100)
    del processes.groups[12]
    assert processes.read(g10=1000) == {10: 100}


@pytest.mark.skipif(not shutil.which("ps"), reason="there is no ps")
def test_ps_knows_this_very_process() -> None:
    group = os.getpgrp()
    assert set(ask_ps({group: 1})) == {group}
    assert ask_ps({group: 1})[group] > MIB


def test_a_ps_that_fails_is_no_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    false = tmp_path / "ps"
    false.write_text("#!/bin/sh\nexit 1\n")
    false.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="cannot read memory use from ps"):
        ask_ps({1: 1})


# -- judging ----------------------------------------------------------------------------------------


class Verdicts:
    """A watch, and whom it found guilty."""

    def __init__(self, **limits: int) -> None:
        self.guilty: list[int] = []
        self.watch = MemoryWatch(lambda limits: {})
        for name, limit in limits.items():
            group = int(name[1:])
            self.watch.add(group, limit, self._found(group))

    def _found(self, group: int) -> Callable[[], None]:
        return lambda: self.guilty.append(group)


def test_two_looks_in_a_row_above_the_limit_are_needed() -> None:
    verdicts = Verdicts(g1=100, g2=100)
    for usage in ({1: 101, 2: 100}, {1: 100, 2: 100}, {1: 101}, {}, {1: 101, 3: 999}):
        verdicts.watch.judge(usage)
        assert verdicts.guilty == []
    verdicts.watch.judge({1: 101, 2: 101})
    assert verdicts.guilty == [1]


def test_the_verdict_is_given_once() -> None:
    verdicts = Verdicts(g1=100)
    for _ in range(5):
        verdicts.watch.judge({1: 200})
    assert verdicts.guilty == [1]


def test_a_number_that_is_used_again_starts_anew() -> None:
    verdicts = Verdicts(g1=100)
    verdicts.watch.judge({1: 200})
    verdicts.watch.remove(1)
    verdicts.watch.judge({1: 200})
    verdicts.watch.add(1, 100, lambda: verdicts.guilty.append(1))
    verdicts.watch.judge({1: 200})
    assert verdicts.guilty == []
    verdicts.watch.judge({1: 200})
    assert verdicts.guilty == [1]


async def test_nothing_is_read_while_nothing_has_a_limit() -> None:
    reads: list[dict[int, int]] = []

    def reader(limits: Mapping[int, int]) -> dict[int, int]:
        reads.append(dict(limits))
        return {1: 11} if len(reads) > 1 else {}

    watch, killed = MemoryWatch(reader, period=0.0), asyncio.Event()
    task = asyncio.create_task(watch.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert reads == []

    def exceeded() -> None:
        watch.remove(1)
        killed.set()

    watch.add(1, 10, exceeded)
    async with asyncio.timeout(HANGS):
        await killed.wait()
    assert reads == [{1: 10}] * 3
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_reader_that_fails_is_told_of_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    answers: Iterator[OSError | dict[int, int]]
    answers = iter([OSError("no"), OSError("no"), {1: 11}, OSError("no"), {1: 11}])

    def reader(limits: Mapping[int, int]) -> dict[int, int]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    watch, killed = MemoryWatch(reader, period=0.0), asyncio.Event()
    watch.add(1, 10, killed.set)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(HANGS):
        await killed.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2


def test_without_a_reader_nothing_is_enforced() -> None:
    watch = MemoryWatch(None)
    watch.add(1, 10, lambda: pytest.fail("nobody knows what it uses"))
    run_virtual(watch.run())


# -- real programs ----------------------------------------------------------------------------------

TAKE = "import time; taken = b'x' * (200 << 20); print('taken', flush=True); time.sleep(600)"
MODEST = "import time; print('modest', flush=True); time.sleep(600)"


def python(name: str, program: str, limit: str) -> Object:
    # The shell stays the leader: the memory is that of its child.
    script = f'{sys.executable} -I -S -c "{program}" & wait'
    return container(script, name, resources={"limits": {"memory": limit}})


def status(found: Object, name: str) -> Object:
    entries: list[Object] = found["status"].get("containerStatuses") or []
    return next((one for one in entries if one["name"] == name), {"state": {}, "restartCount": 0})


@pytest.mark.skipif(platform_reader() is None, reason="the platform does not tell")
async def test_what_takes_too_much_is_killed_again_and_again_and_its_neighbour_lives(world: World) -> None:
    async with world.node():
        await world.create(pod(python("greedy", TAKE, "64Mi"), python("rich", TAKE, "2Gi")))
        await world.logs_show("taken", container="rich")
        killed = status(await world.pod(), "greedy")["restartCount"]
        found = await world.becomes(
            lambda one: status(one, "greedy")["restartCount"] >= killed + 2, "killed twice more"
        )
        ended = status(found, "greedy")["lastState"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
        # It was looked at together with the other, each time.
        assert status(found, "rich")["restartCount"] == 0
        assert "running" in status(found, "rich")["state"]

        async def told() -> Object | None:
            events = (await world.client.list(EVENT, namespace="default")).items
            return next((event for event in events if event["reason"] == "OOMKilling"), None)

        event = await eventually(told, what="an event tells of it")
        assert event["note"] == "Container greedy uses more memory than its limit of 64Mi"
        await world.client.delete(POD, KEY)
        await world.gone()


@pytest.mark.skipif(platform_reader() is None, reason="the platform does not tell")
async def test_what_has_learned_to_be_modest_lives(world: World, tmp_path: Path) -> None:
    lesson = tmp_path / "lesson"
    program = f"import os; learned = os.path.exists('{lesson}'); open('{lesson}', 'w').close()"
    program += f'; exec(\\"{MODEST}\\" if learned else \\"{TAKE}\\")'
    async with world.node():
        await world.create(pod(python("main", program, "64Mi")))
        found = await world.becomes(
            lambda one: is_ready(one) and first(one)["restartCount"] == 1, "ready after its restart"
        )
        assert first(found)["lastState"]["terminated"]["reason"] == "OOMKilled"
        await world.logs_show("modest")


@pytest.mark.skipif(platform_reader() is None, reason="the platform does not tell")
async def test_what_shall_not_run_again_has_failed(world: World) -> None:
    async with world.node():
        await world.create(pod(python("main", TAKE, "64Mi"), restartPolicy="Never"))
        found = await world.becomes(lambda one: one["status"].get("phase") == "Failed", "failed")
        ended = first(found)["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
