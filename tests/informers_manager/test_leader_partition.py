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

from informers.errors import Fenced, RuntimeFault
from informers.leader import LeaderElector, LeaseLost
from informers.objects import ObjectKey
from informers.testing.clock import START, run_virtual
from tests.informers_manager.lease_server import LeaseServer, Link

KEY = ObjectKey("system", "lock")
HORIZON = 240.0


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

    @staticmethod
    def during(spans: list[tuple[float, float]], moment: float) -> bool:
        return any(begin <= moment < begin + length for begin, length in spans)


@dataclass
class Log:
    """Writes the server accepted: when, and whose."""

    writes: list[tuple[float, str]] = field(default_factory=list)


async def candidate(name: str, link: Link, clock: DriftingClock, log: Log) -> None:
    """Campaign for ever; write whenever the fence lets a write pass."""
    elector = LeaderElector(link.client, KEY.namespace, KEY.name, name, clock=clock, rng=random.Random(name))

    async def work() -> None:
        while True:
            await asyncio.sleep(0.25)
            elector.fence()
            with suppress(RuntimeFault):
                await link.carry(lambda: log.writes.append((asyncio.get_running_loop().time(), name)))

    while True:
        await elector.acquire()
        working = asyncio.ensure_future(work())
        try:
            await elector.hold()
        except LeaseLost:
            pass
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError, Fenced):
                await working


SPANS = st.lists(
    st.tuples(
        st.floats(0, HORIZON).map(lambda moment: round(moment, 1)),
        st.floats(0.5, 40).map(lambda length: round(length, 1)),
    ),
    max_size=4,
)
TROUBLES = st.builds(Trouble, SPANS, SPANS)
RATES = st.sampled_from([0.9, 1.0, 1.1])
SKEWS = st.sampled_from([0.0, 1_000.0, -50.0])


@settings(max_examples=150, deadline=None)
@given(
    troubles=st.tuples(TROUBLES, TROUBLES),
    rates=st.tuples(RATES, RATES),
    skews=st.tuples(SKEWS, SKEWS),
    latency=st.sampled_from([0.0, 0.05, 0.7]),
    seed=st.integers(0, 1000),
)
def test_no_write_is_accepted_after_a_takeover(
    troubles: tuple[Trouble, Trouble],
    rates: tuple[float, float],
    skews: tuple[float, float],
    latency: float,
    seed: int,
) -> None:
    async def main() -> tuple[LeaseServer, Log]:
        server, log = LeaseServer(), Log()
        tasks = []
        for name, trouble, rate, skew in zip("ab", troubles, rates, skews, strict=True):
            link = Link(server, random.Random(seed), latency)
            link.down = lambda moment, spans=trouble.down: Trouble.during(spans, moment)  # type: ignore[misc]
            link.losing = lambda moment, spans=trouble.losing: Trouble.during(spans, moment)  # type: ignore[misc]
            tasks.append(asyncio.ensure_future(candidate(name, link, DriftingClock(rate, skew), log)))
        await asyncio.sleep(HORIZON + 150)
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.wait(tasks)
        return server, log

    server, log = run_virtual(main())
    for when, writer in log.writes:
        reigning = [name for since, name in server.holders if since <= when]
        assert writer == reigning[-1], f"{writer} wrote at {when} in the reign of {reigning[-1]}"
    end = HORIZON + 150
    assert any(when > end - 5 for when, _ in log.writes), "when the trouble is over, somebody leads"
    # A reign that nobody contests is not interrupted.
    if not any(trouble.down or trouble.losing for trouble in troubles):
        assert len(server.holders) == 1
