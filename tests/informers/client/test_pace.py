"""The limit on writes: never more than so many, and no fewer than it could be."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.client import Client
from informers.client.pace import Pace
from informers.client.transport import HttpRequest, HttpResponse, HttpStream
from informers.objects import ObjectKey, Resource
from informers.testing.clock import VirtualClock, run_virtual

PODS = Resource("", "v1", "pods", "Pod")
SLACK = 1e-6


@given(
    rate=st.sampled_from([0.2, 1.0, 3.0, 50.0]),
    arrivals=st.lists(st.floats(0, 20), min_size=1, max_size=60).map(sorted),
)
def test_no_second_has_more_than_its_share_and_nobody_waits_for_nothing(
    rate: float, arrivals: list[float]
) -> None:
    passed: list[float] = []

    async def main() -> None:
        clock = VirtualClock()
        pace, began = Pace(rate, clock=clock), clock.monotonic()

        async def one(at: float) -> None:
            await asyncio.sleep(at)
            await pace.turn()
            passed.append(clock.monotonic() - began)

        await asyncio.gather(*map(one, arrivals))

    run_virtual(main())
    ahead = max(1.0, rate)
    for first, start in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= ahead + rate * (passed[last] - start) + SLACK * rate
    # The order of arrival, and no pause that the limit does not call for.
    due = [0.0] * len(arrivals)
    budget, at = ahead, 0.0
    for index, arrival in enumerate(arrivals):
        moment = max(arrival, at)
        budget = min(ahead, budget + rate * (moment - at))
        wait = max(0.0, (1 - budget) / rate)
        due[index] = at = moment + wait
        budget = budget + rate * wait - 1
    assert passed == pytest.approx(due, abs=1e-3)


@pytest.mark.parametrize("rate", [-1.0, inf, nan])
def test_what_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="writes per second"):
        Client(Counting(), writes_per_second=rate)


class Counting:
    """A transport that notes when requests came."""

    def __init__(self) -> None:
        self.writes: list[float] = []
        self.reads: list[float] = []

    async def request(self, request: HttpRequest) -> HttpResponse:
        times = self.reads if request.method == "GET" else self.writes
        times.append(asyncio.get_running_loop().time())
        return HttpResponse(200, b"{}", {})

    def stream(self, request: HttpRequest) -> AbstractAsyncContextManager[HttpStream]:
        raise AssertionError("nothing is watched here")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(("limit", "seconds"), [(0.0, 0.0), (10.0, 9.0)])
def test_a_client_holds_back_writes_and_no_reads(limit: float, seconds: float) -> None:
    async def main() -> None:
        transport = Counting()
        client = Client(transport, clock=VirtualClock(), writes_per_second=limit)
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "a"}}
        writes = [client.apply(PODS, body, field_manager="me") for _ in range(100)]
        reads = [client.get(PODS, ObjectKey("a", "one")) for _ in range(100)]
        await asyncio.gather(*writes, *reads)
        assert len(transport.writes) == len(transport.reads) == 100
        assert transport.writes[-1] - transport.writes[0] == pytest.approx(seconds, abs=0.01)
        assert transport.reads[0] == transport.reads[-1]

    run_virtual(main())
