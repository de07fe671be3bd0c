"""The name of a candidate: a restarted container has its old one, two living processes never the same."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from informers.identity import claim_identity
from informers.leader import LeaderElector
from informers.objects import ObjectKey
from informers.testing.clock import VirtualClock, run_virtual
from tests.informers.manager.lease_server import LeaseServer, Link

KEY = ObjectKey("system", "lock")
ROOT = Path(__file__).resolve().parents[3]
CLAIM = """
import sys
from informers.identity import claim_identity
one = claim_identity(sys.argv[1])
print(one, one.lasting, flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")


class Container:
    """A process of a pod, with the name it has claimed."""

    def __init__(self, uid: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, uid],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        self.name, lasting = self.process.stdout.readline().split()
        self.lasting = lasting == "True"

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait()


@pytest.fixture
def start() -> Iterator[Callable[[str], Container]]:
    running: list[Container] = []

    def begin(uid: str) -> Container:
        running.append(Container(uid))
        return running[-1]

    yield begin
    for one in running:
        one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_restarted_container_has_the_name_of_the_one_before(
    start: Callable[[str], Container], how: signal.Signals
) -> None:
    uid = str(uuid4())
    first = start(uid)
    assert first.lasting
    assert first.name.endswith(f"_{uid}")
    first.end(how)
    again = start(uid)
    assert (again.name, again.lasting) == (first.name, True)


def test_processes_that_live_never_share_a_name(start: Callable[[str], Container]) -> None:
    uid = str(uuid4())
    first = start(uid)
    # Not dead, whatever it looks like from outside.
    first.process.send_signal(signal.SIGSTOP)
    beside, another = start(uid), start(uid)
    assert not beside.lasting
    assert not another.lasting
    assert len({first.name, beside.name, another.name}) == 3
    first.process.send_signal(signal.SIGCONT)
    first.end(signal.SIGKILL)
    assert start(uid).name == first.name


def test_pods_and_processes_outside_of_pods_have_names_of_their_own(
    start: Callable[[str], Container],
) -> None:
    names = [start(uid) for uid in (str(uuid4()), str(uuid4()), "", "")]
    assert [one.lasting for one in names] == [True, True, False, False]
    assert len({one.name for one in names}) == 4


def test_a_name_is_kept_for_as_long_as_it_is_used() -> None:
    uid = str(uuid4())
    one = claim_identity(uid)
    assert not claim_identity(uid).lasting
    one.release()
    again = claim_identity(uid)
    assert (again.text, again.lasting) == (str(one), True)
    again.release()


def elector(link: Link, identity: str, seed: int) -> LeaderElector:
    return LeaderElector(
        link.client, KEY.namespace, KEY.name, identity, clock=VirtualClock(), rng=random.Random(seed)
    )


def test_a_lease_of_the_same_name_is_taken_back_at_once_and_no_other() -> None:
    async def main() -> None:
        server = LeaseServer()
        first = elector(Link(server), "pod_uid", 1)
        await first.acquire()
        holding = asyncio.ensure_future(first.hold())
        await asyncio.sleep(5)
        # It dies without a word; a standby waits beside it.
        holding.cancel()
        standby = asyncio.ensure_future(elector(Link(server), "other", 2).acquire())
        died = asyncio.get_running_loop().time()
        again = elector(Link(server), "pod_uid", 3)
        await again.acquire()
        assert asyncio.get_running_loop().time() - died < 1.0
        again.fence()
        assert server.objects[KEY]["spec"]["leaseTransitions"] == 0
        holding = asyncio.ensure_future(again.hold())
        await asyncio.sleep(300)
        assert not standby.done(), "who renews keeps it"
        for task in (holding, standby):
            task.cancel()
        assert [name for _, name in server.holders] == ["pod_uid"]

    run_virtual(main())


def test_a_pod_whose_lease_was_taken_meanwhile_waits_like_everybody() -> None:
    async def main() -> None:
        server = LeaseServer()
        await elector(Link(server), "pod_uid", 1).acquire()
        other = elector(Link(server), "other", 2)
        await other.acquire()
        holding = asyncio.ensure_future(other.hold())
        again = asyncio.ensure_future(elector(Link(server), "pod_uid", 3).acquire())
        await asyncio.sleep(300)
        assert not again.done()
        for task in (holding, again):
            task.cancel()

    run_virtual(main())
