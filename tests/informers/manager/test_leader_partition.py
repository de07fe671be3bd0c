"""Two electors, one lease, a bad network and clocks that run fast or slow: never two writers.

What is checked is what the server saw: once it has accepted a change of holder, it accepts no write of an
earlier one. Requests are delayed by less than the gap that the defaults leave between the end of a reign and
the earliest takeover; beyond it only resource versions help.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from informers.errors import RuntimeFault
from informers.leader import LeaderElector, LeaseLost
from informers.objects import ObjectKey
from informers.testing.clock import START, run_virtual
from tests.informers.manager.lease_server import LeaseServer, Link

KEY = ObjectKey("system", "lock")
HORIZON = 120.0


class DriftingClock:
    """A clock that runs fast or slow, and shows a time of its own."""

    def __init__(self, rate: float, skew: float) -> None:
        self._rate = rate
        self._skew = skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * self._rate + self._skew

    def time(self) -> float:
        return START + self.monotonic()


@dataclass
class Trouble:
    """What happens to one candidate's network, and when."""

    down: list[tuple[float, float]]
    losing: list[tuple[float, float]]

    def is_down(self, moment: float) -> bool:
        return _during(self.down, moment)

    def is_losing(self, moment: float) -> bool:
        return _during(self.losing, moment)


def _during(spans: list[tuple[float, float]], moment: float) -> bool:
    return any(begin <= moment < begin + length for begin, length in spans)


@dataclass
class Log:
    """Writes the server accepted: when, and whose."""

    writes: list[tuple[float, str]] = field(default_factory=list)


async def candidate(name: str, link: Link, clock: DriftingClock, sluggish: float, log: Log) -> None:
    """Campaign for ever; write whenever the fence lets a write pass.

    The writes themselves always get through: the worst network is one that fails renewals alone.

    :param sluggish: seconds the work goes on after the loss: what a hanging process does.
    """
    elector = LeaderElector(link.client, KEY.namespace, KEY.name, name, clock=clock, rng=random.Random(name))

    clear = Link(link.server, link.rng, link.latency)

    async def work() -> None:
        while True:
            await asyncio.sleep(0.25)
            with suppress(RuntimeFault):
                elector.fence()
                await clear.carry(lambda: log.writes.append((asyncio.get_running_loop().time(), name)))

    while True:
        await elector.acquire()
        working = asyncio.ensure_future(work())
        try:
            await elector.hold()
        except LeaseLost:
            await asyncio.sleep(sluggish)
        finally:
            working.cancel()


@dataclass
class Setting:
    """One candidate's lot."""

    trouble: Trouble
    rate: float
    skew: float
    sluggish: float


async def contest(first: Setting, second: Setting, latency: float, seed: int, seconds: float) -> LeaseServer:
    """Let two candidates contend, and judge every write the server accepted."""
    server, log = LeaseServer(), Log()
    tasks = []
    for name, lot in (("a", first), ("b", second)):
        link = Link(server, random.Random(seed), latency, lot.trouble.is_down, lot.trouble.is_losing)
        work = candidate(name, link, DriftingClock(lot.rate, lot.skew), lot.sluggish, log)
        tasks.append(asyncio.ensure_future(work))
        # Their phases to each other are left to chance, who is first is not.
        await asyncio.sleep(0.5 + seed % 17 / 4)
    await asyncio.sleep(seconds)
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.wait(tasks)
    for when, writer in log.writes:
        reigning = [name for since, name in server.holders if since <= when]
        assert writer == reigning[-1], f"{writer} wrote at {when} in the reign of {reigning[-1]}"
    assert any(when > seconds - 5 for when, _ in log.writes), "when the trouble is over, somebody leads"
    return server


SPANS = st.lists(
    st.tuples(
        st.floats(0, HORIZON).map(lambda moment: round(moment, 1)),
        st.floats(0.5, 40).map(lambda length: round(length, 1)),
    ),
    max_size=3,
)
SETTINGS = st.builds(
    Setting,
    trouble=st.builds(Trouble, SPANS, SPANS),
    rate=st.sampled_from([0.9, 1.0, 1.1]),
    skew=st.sampled_from([0.0, 1_000.0, -50.0]),
    sluggish=st.sampled_from([0.0, 30.0]),
)
SEEDS = st.integers(0, 1000)


@settings(max_examples=40)
@given(first=SETTINGS, second=SETTINGS, latency=st.sampled_from([0.0, 0.05, 0.7]), seed=SEEDS)
def test_no_write_is_accepted_after_a_takeover(
    first: Setting, second: Setting, latency: float, seed: int
) -> None:
    server = run_virtual(contest(first, second, latency, seed, HORIZON + 150))
    if not any(lot.trouble.down or lot.trouble.losing for lot in (first, second)):
        assert len(server.holders) == 1, "a reign that nobody contests is not interrupted"


@settings(max_examples=100)
@given(cut_at=st.floats(5, 9), sluggish=st.sampled_from([0.0, 30.0]), seed=SEEDS)
def test_the_worst_clocks_a_slow_leader_cut_off_and_a_fast_follower(
    cut_at: float, sluggish: float, seed: int
) -> None:
    leader = Setting(Trouble([(cut_at, 40.0)], []), 0.9, 0.0, sluggish)
    follower = Setting(Trouble([], []), 1.1, 0.0, 0.0)
    server = run_virtual(contest(leader, follower, 0.05, seed, 60.0))
    assert [name for _, name in server.holders] == ["a", "b"]
