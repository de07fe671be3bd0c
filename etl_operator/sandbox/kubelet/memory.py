"""Memory limits without privileges: what uses more for two looks in a row is killed, as a kernel would.

The node looks once a second, and only at containers that have a limit, so a container that grows fast
can be above it for that long. What is counted is what a control group could not give back: anonymous and
shared memory, not the pages of files. Commands of probes and hooks, and processes that leave their group,
are not counted. If the platform does not report it, nothing is enforced.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from etl_operator.sandbox.kubelet.environment import resource_field

log = logging.getLogger(__name__)

Reader: TypeAlias = Callable[[Mapping[int, int]], Mapping[int, int]]
"""Limits by process group to memory in use by process group, both in bytes. Groups that are gone may be
missing. May block. Raises ``OSError`` when it cannot read anything."""

_PERIOD = 1.0
_LOOKS = 2
"""In a row above the limit: the first may catch a process between two programs, or about to give back."""
_PS = ("ps", "-A", "-o", "pgid=", "-o", "rss=")
_PS_SECONDS = 5.0
_KIB = 1024
_SHARE = re.compile(r"^(Pss|Pss_Anon|Pss_Shmem):\s+(\d+) kB$", re.MULTILINE)


def memory_limit(container: Mapping[str, Any]) -> int | None:
    """A container's memory limit in bytes, rounded up; ``None`` where it has none."""
    return int(resource_field(container, {"resource": "limits.memory"})) or None


def resident(statm: str, page: int) -> int:
    """Resident bytes of a process, from its ``/proc/<pid>/statm``.

    :param page: bytes of a page.
    """
    return int(statm.split()[1]) * page


def charged(rollup: str) -> int | None:
    """Bytes a process answers for, from its ``/proc/<pid>/smaps_rollup``; ``None`` when it does not say.

    Memory that several processes share is divided among them. Pages of files are left out where the kernel
    tells them apart.
    """
    found = {name: int(size) * _KIB for name, size in _SHARE.findall(rollup)}
    if "Pss_Anon" in found and "Pss_Shmem" in found:
        return found["Pss_Anon"] + found["Pss_Shmem"]
    return found.get("Pss")


def resident_by_group(listing: str) -> dict[int, int]:
    """Resident bytes by process group, from lines of group and KiB as ``ps`` prints them."""
    usage: dict[int, int] = {}
    for line in listing.splitlines():
        match line.split():
            case [group, size] if group.isdecimal() and size.isdecimal():
                usage[int(group)] = usage.get(int(group), 0) + int(size) * _KIB
    return usage


class ProcFiles:
    """Reads memory from ``/proc``.

    Resident sizes are cheap, and never below what counts; the exact share, for which the kernel walks
    through page tables, is asked for only where they are above a limit.

    :param root: where ``/proc`` is.
    :param group_of: a process's group; raises ``OSError`` for one that is gone.
    """

    def __init__(self, root: Path = Path("/proc"), group_of: Callable[[int], int] = os.getpgid) -> None:
        self._root = root
        self._group_of = group_of
        self._page = os.sysconf("SC_PAGE_SIZE")

    def __call__(self, limits: Mapping[int, int]) -> dict[int, int]:
        """See :data:`Reader`."""
        usage: dict[int, int] = {}
        for group, members in self._members(limits).items():
            sizes = {pid: self._resident(pid) for pid in members}
            usage[group] = sum(sizes.values())
            if usage[group] > limits[group]:
                usage[group] = sum(self._charged(pid, size) for pid, size in sizes.items())
        return usage

    def _members(self, groups: Iterable[int]) -> dict[int, list[int]]:
        members: dict[int, list[int]] = {group: [] for group in groups}
        for name in os.listdir(self._root):  # noqa: PTH208 - every process of the machine, once a second
            if not name.isdecimal():
                continue
            try:
                group = self._group_of(int(name))
            except OSError:
                continue
            if group in members:
                members[group].append(int(name))
        return members

    def _resident(self, pid: int) -> int:
        try:
            return resident((self._root / str(pid) / "statm").read_text(encoding="ascii"), self._page)
        except OSError:
            return 0

    def _charged(self, pid: int, otherwise: int) -> int:
        try:
            share = charged((self._root / str(pid) / "smaps_rollup").read_text(encoding="ascii"))
        except OSError:
            # Gone, or a kernel that has no such file.
            return otherwise
        return otherwise if share is None else share


def ask_ps(limits: Mapping[int, int]) -> dict[int, int]:
    """Resident sizes as ``ps`` tells them: memory that processes share counts for each. A :data:`Reader`."""
    try:
        done = subprocess.run(_PS, capture_output=True, text=True, timeout=_PS_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        raise OSError(f"cannot read memory use from ps: {error}") from error
    return {group: size for group, size in resident_by_group(done.stdout).items() if group in limits}


def platform_reader() -> Reader | None:
    """What this platform offers; ``None`` when that is nothing."""
    if Path("/proc/self/statm").is_file():
        return ProcFiles()
    return ask_ps if shutil.which(_PS[0]) else None


@dataclass(slots=True)
class _Watched:
    limit: int
    exceeded: Callable[[], None]
    above: int = 0


class MemoryWatch:
    """Looks at the memory of process groups that have a limit.

    :param reader: ``None``: limits are taken and nothing is enforced.
    :param period: seconds between looks.
    """

    def __init__(self, reader: Reader | None, *, period: float = _PERIOD) -> None:
        self._reader = reader
        self._period = period
        self._watched: dict[int, _Watched] = {}
        self._occupied = asyncio.Event()

    def add(self, group: int, limit: int, exceeded: Callable[[], None]) -> None:
        """Watch a process group until :meth:`remove`.

        :param limit: bytes.
        :param exceeded: called once, when the group has been above the limit for two looks in a row.
        """
        self._watched[group] = _Watched(limit, exceeded)
        self._occupied.set()

    def remove(self, group: int) -> None:
        """The group has ended; its number may come to mean something else."""
        self._watched.pop(group, None)
        if not self._watched:
            self._occupied.clear()

    def judge(self, usage: Mapping[int, int]) -> None:
        """Take one look into account.

        :param usage: bytes by process group; a group that is missing uses nothing.
        """
        for group, watched in list(self._watched.items()):
            watched.above = watched.above + 1 if usage.get(group, 0) > watched.limit else 0
            if watched.above == _LOOKS:
                watched.exceeded()

    async def run(self) -> None:
        """Look again and again, while there is something to look at. Until cancelled."""
        if self._reader is None:
            log.info("memory limits are not enforced: this platform does not report the memory of processes")
            return
        failing = False
        while True:
            await self._occupied.wait()
            limits = {group: watched.limit for group, watched in self._watched.items()}
            try:
                # In a thread: a machine may have thousands of processes, and ps takes its time.
                usage = await asyncio.to_thread(self._reader, limits)
            except OSError as error:
                if not failing:
                    log.warning("memory limits are not enforced for now: %s", error)
                failing = True
            else:
                failing = False
                self.judge(usage)
            await asyncio.sleep(self._period)
