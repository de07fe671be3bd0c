"""Leader election: one promise at a time, in virtual time."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from informers.apiserver.faults import Cut
from informers.clock import micro_time
from informers.errors import Fenced
from informers.leader import LEASE, LeaderElector, LeaseLost
from informers.objects import ObjectKey
from informers.testing.clock import VirtualClock, run_virtual
from informers.testing.simulation import Simulation, simulate
from tests.hanging import HANGS
from tests.informers.manager.lease_server import LeaseServer, Link

KEY = ObjectKey("system", "lock")


def elector(link: Link, identity: str, *, skew: float = 0.0) -> LeaderElector:
    return LeaderElector(
        link.client,
        KEY.namespace,
        KEY.name,
        identity,
        clock=VirtualClock(skew),
        rng=random.Random(identity),
    )


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_candidate_creates_the_lease_in_the_format_of_the_api() -> None:
    async def main() -> None:
        server = LeaseServer()
        one = elector(Link(server), "one")
        with pytest.raises(Fenced):
            one.fence()
        await one.acquire()
        one.fence()
        lease = server.objects[KEY]
        assert (lease["apiVersion"], lease["kind"]) == ("coordination.k8s.io/v1", "Lease")
        spec = lease["spec"]
        assert spec["holderIdentity"] == "one"
        assert (spec["leaseDurationSeconds"], spec["leaseTransitions"]) == (15, 0)
        for stamp in (spec["acquireTime"], spec["renewTime"]):
            assert re.fullmatch(r"2027-01-15T08:00:\d\d\.\d{6}Z", stamp)

    run_virtual(main())


def test_renewing_keeps_the_acquire_time_and_costs_one_request() -> None:
    async def main() -> None:
        server = LeaseServer()
        link = Link(server)
        one = elector(link, "one")
        await one.acquire()
        acquired = server.objects[KEY]["spec"]["acquireTime"]
        link.requests.clear()
        holding = asyncio.ensure_future(one.hold())
        await asyncio.sleep(60.5)
        assert link.requests == ["update"] * len(link.requests)
        assert 28 <= len(link.requests) <= 30
        spec = server.objects[KEY]["spec"]
        assert spec["acquireTime"] == acquired
        assert spec["renewTime"] > acquired
        assert spec["leaseTransitions"] == 0
        holding.cancel()

    run_virtual(main())


def test_a_released_lease_changes_hands_within_one_retry() -> None:
    async def main() -> None:
        server = LeaseServer()
        one, two = elector(Link(server), "one"), elector(Link(server), "two")
        await one.acquire()
        second = asyncio.ensure_future(two.acquire())
        await asyncio.sleep(5)
        assert not second.done()
        await one.release()
        with pytest.raises(Fenced):
            one.fence()
        assert "holderIdentity" not in server.objects[KEY]["spec"]
        released = now()
        await second
        assert now() - released <= 2 * 2.2 + 0.1
        two.fence()
        assert server.objects[KEY]["spec"]["leaseTransitions"] == 1

    run_virtual(main())


def test_a_crashed_holder_is_followed_after_the_lease_and_no_earlier() -> None:
    async def main() -> None:
        server = LeaseServer()
        one, two = elector(Link(server), "one"), elector(Link(server), "two")
        await one.acquire()
        last = now()
        await two.acquire()
        assert 15.0 <= now() - last <= 15.0 + 2 * 2.2 * 2

    run_virtual(main())


def test_wall_clocks_that_disagree_by_a_day_change_nothing() -> None:
    async def main() -> None:
        server = LeaseServer()
        one = elector(Link(server), "one", skew=-86_400)
        two = elector(Link(server), "two", skew=86_400)
        await one.acquire()
        holding = asyncio.ensure_future(one.hold())
        second = asyncio.ensure_future(two.acquire())
        await asyncio.sleep(600)
        assert not second.done()
        one.fence()
        holding.cancel()
        second.cancel()

    run_virtual(main())


def test_the_fence_closes_at_the_renew_deadline_even_if_nobody_looks() -> None:
    async def main() -> None:
        one = elector(Link(LeaseServer(), latency=0.0), "one")
        await one.acquire()
        await asyncio.sleep(9.99)
        one.fence()
        await asyncio.sleep(0.02)
        with pytest.raises(Fenced):
            one.fence()

    run_virtual(main())


def test_an_unreachable_server_ends_the_reign_before_the_lease_does() -> None:
    async def main() -> None:
        server = LeaseServer()
        link = Link(server, latency=0.0)
        one = elector(link, "one")
        await one.acquire()
        began = now()
        link.down = lambda _: True
        with pytest.raises(LeaseLost, match="not renewed in 10 s: "):
            await one.hold()
        assert now() - began == pytest.approx(10.0, abs=0.01)
        assert not one.leading
        await asyncio.sleep(10)
        assert "not read or renewed" in (one.health() or "")

    run_virtual(main())


def test_a_short_outage_is_survived() -> None:
    async def main() -> None:
        link = Link(LeaseServer())
        link.down = lambda moment: 10 <= moment < 17
        one = elector(link, "one")
        await one.acquire()
        holding = asyncio.ensure_future(one.hold())
        await asyncio.sleep(120)
        assert not holding.done()
        assert one.health() is None
        holding.cancel()

    run_virtual(main())


def test_a_renewal_whose_answer_was_lost_is_recognised_as_ones_own() -> None:
    async def main() -> None:
        link = Link(LeaseServer())
        link.losing = lambda moment: 20 <= moment < 23
        one = elector(link, "one")
        await one.acquire()
        holding = asyncio.ensure_future(one.hold())
        await asyncio.sleep(60)
        assert not holding.done()
        assert link.server.objects[KEY]["spec"]["leaseTransitions"] == 0
        holding.cancel()

    run_virtual(main())


def test_a_stolen_lease_ends_the_reign_at_once() -> None:
    async def main() -> None:
        server = LeaseServer()
        one = elector(Link(server), "one")
        await one.acquire()
        stolen = server.get(KEY)
        stolen["spec"]["holderIdentity"] = "thief"
        server.update(stolen)
        with pytest.raises(LeaseLost, match="thief"):
            await one.hold()
        with pytest.raises(Fenced):
            one.fence()

    run_virtual(main())


def test_a_lease_that_could_be_taken_but_for_the_server_shows() -> None:
    async def play(world: Simulation) -> None:
        metadata = {"namespace": "default", "name": "lock"}
        world.server.create(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
        )
        world.fault(verb="update", status=403)
        one = LeaderElector(world.client(), "default", "lock", "one", clock=world.clock, rng=world.rng)
        campaign = asyncio.ensure_future(one.acquire())
        await world.sleep(600)
        assert "403" in (one.health() or "")
        world.server.faults.clear()
        await campaign
        assert one.health() is None

    simulate(play)


def test_a_lease_that_has_changed_hands_as_often_as_can_be_counted_still_does() -> None:
    async def play(world: Simulation) -> None:
        spec = {"holderIdentity": "gone", "leaseDurationSeconds": 1, "leaseTransitions": 2**31 - 1}
        api = "coordination.k8s.io/v1"
        metadata = {"namespace": "default", "name": "lock"}
        world.server.create({"apiVersion": api, "kind": "Lease", "metadata": metadata, "spec": spec})
        one = LeaderElector(world.client(), "default", "lock", "one", clock=world.clock, rng=world.rng)
        async with asyncio.timeout(HANGS):
            await one.acquire()
        assert one.leading

    simulate(play)


def test_a_deleted_lease_is_created_again() -> None:
    async def main() -> None:
        server = LeaseServer()
        one = elector(Link(server), "one")
        await one.acquire()
        holding = asyncio.ensure_future(one.hold())
        await asyncio.sleep(5)
        server.objects.clear()
        await asyncio.sleep(5)
        assert server.objects[KEY]["spec"]["holderIdentity"] == "one"
        assert not holding.done()
        holding.cancel()

    run_virtual(main())


def test_release_survives_a_conflict_and_leaves_a_foreign_lease_alone() -> None:
    async def main() -> None:
        server = LeaseServer()
        one = elector(Link(server), "one")
        await one.acquire()
        touched = server.get(KEY)
        touched["metadata"]["labels"] = {"touched": "yes"}
        server.update(touched)
        await one.release()
        assert "holderIdentity" not in server.objects[KEY]["spec"]
        assert server.objects[KEY]["metadata"]["labels"] == {"touched": "yes"}
        await elector(Link(server), "two").acquire()
        await one.release()
        assert server.objects[KEY]["spec"]["holderIdentity"] == "two"

    run_virtual(main())


@pytest.mark.parametrize("cut", ["before", "after"])
def test_release_survives_a_broken_connection(cut: Cut) -> None:
    async def play(world: Simulation) -> None:
        one = LeaderElector(world.client(), "default", "lock", "one", clock=world.clock, rng=world.rng)
        await one.acquire()
        world.fault(verb="update", cut=cut, times=1)
        await one.release()
        lease = world.server.find(LEASE, ObjectKey("default", "lock"))
        assert lease is not None and "holderIdentity" not in lease["spec"]

    simulate(play)


def test_release_gives_up_on_a_dead_server() -> None:
    async def main() -> None:
        link = Link(LeaseServer())
        one = elector(link, "one")
        await one.acquire()
        link.down = lambda _: True
        began = now()
        await one.release()
        assert now() - began <= 5.1

    run_virtual(main())


def test_losing_and_regaining_a_hundred_times() -> None:
    async def main() -> None:
        server = LeaseServer()
        link = Link(server)
        one = elector(link, "one")
        for _ in range(100):
            await one.acquire()
            link.down = lambda _: True
            with pytest.raises(LeaseLost):
                await one.hold()
            link.down = lambda _: False
        await one.acquire()
        one.fence()
        assert len(asyncio.all_tasks()) == 1, "no task is left behind"

    run_virtual(main())


def test_nonsensical_periods_are_refused() -> None:
    link = Link(LeaseServer())
    for periods in ((10.0, 10.0, 2.0), (15.0, 2.0, 2.0), (15.0, 10.0, 0.0)):
        with pytest.raises(ValueError, match="must hold"):
            LeaderElector(
                link.client,
                "n",
                "l",
                "id",
                clock=VirtualClock(),
                lease_duration=periods[0],
                renew_deadline=periods[1],
                retry_period=periods[2],
            )


def test_micro_time_keeps_its_digits() -> None:
    assert micro_time(1_800_000_000.0) == "2027-01-15T08:00:00.000000Z"
    assert micro_time(1_800_000_000.25) == "2027-01-15T08:00:00.250000Z"
