"""Finding the leader, and asking everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from etl_operator.router.client import RouterClients, RouterNode
from etl_operator.router.cluster import RouterCluster
from etl_operator.router.errors import (
    NotLeader,
    Rejected,
    RouterAdminUnavailable,
    TimedOut,
    Unreachable,
)
from etl_operator.router.leaders import Leaders
from etl_operator.router.pb import router_pb2 as pb
from informers.testing.clock import run_virtual
from tests.router.conftest import Start
from tests.router.fake import Context, FakeCluster, FakeRouter, black_hole, nobody

CONFIG = pb.PipelineConfig(id="etl/p", name="p")


async def create(node: RouterNode) -> str:
    await node.create_pipeline(CONFIG)
    return node.address


def addresses(routers: list[FakeRouter]) -> list[str]:
    return [router.address for router in routers]


async def internal(context: Context) -> None:
    await context.abort(grpc.StatusCode.INTERNAL, "Not the leader")


async def unavailable(context: Context) -> None:
    await context.abort(grpc.StatusCode.UNAVAILABLE, "not the leader, retry on another node")


async def test_the_leader_is_found_and_remembered(clients: RouterClients, three: list[FakeRouter]) -> None:
    three[0].cluster.leader = 2
    for _ in range(3):
        # A new object every time, as the controllers make them.
        assert await RouterCluster(clients, addresses(three)).on_leader(create) == three[1].address
    assert [router.calls.count("GetClusterStatus") for router in three] in ([1, 1, 1], [1, 1, 0], [0, 1, 1])
    assert [router.calls.count("CreatePipeline") for router in three] == [0, 3, 0]


@pytest.mark.parametrize("refuse", [None, internal, unavailable])
async def test_a_wrong_node_is_left_for_the_right_one(
    clients: RouterClients, three: list[FakeRouter], refuse: Callable[[Context], Any] | None
) -> None:
    cluster = RouterCluster(clients, addresses(three))
    await cluster.on_leader(create)
    shared = three[0].cluster
    shared.refuse, shared.leader, shared.term = refuse, 3, 2
    assert await RouterCluster(clients, addresses(three)).on_leader(create) == three[2].address
    assert await RouterCluster(clients, addresses(three)).on_leader(create) == three[2].address
    assert [router.calls.count("CreatePipeline") for router in three] == [2, 0, 2]


async def test_a_dead_leader_is_replaced_by_its_successor(
    clients: RouterClients, three: list[FakeRouter]
) -> None:
    await RouterCluster(clients, addresses(three)).on_leader(create)
    await three[0].stop()
    three[0].cluster.leader, three[0].cluster.term = 2, 2
    assert await RouterCluster(clients, addresses(three)).on_leader(create) == three[1].address


async def test_nobody_leads_while_an_election_is_on(clients: RouterClients, three: list[FakeRouter]) -> None:
    three[0].cluster.leader = 0
    with pytest.raises(NotLeader, match="there is no leader: 3 of 3 answer"):
        await RouterCluster(clients, addresses(three)).on_leader(create)
    assert not any("CreatePipeline" in router.calls for router in three)
    three[0].cluster.leader = 3
    assert await RouterCluster(clients, addresses(three)).on_leader(create) == three[2].address


async def test_all_who_look_for_a_leader_at_once_share_the_search(
    clients: RouterClients, three: list[FakeRouter]
) -> None:
    three[0].cluster.leader = 0

    async def search() -> None:
        with pytest.raises(NotLeader, match="there is no leader"):
            await RouterCluster(clients, addresses(three)).on_leader(create)

    for round_number in (1, 2):
        await asyncio.gather(*(search() for _ in range(50)))
        assert [router.calls for router in three] == [["GetClusterStatus"] * round_number] * 3
    three[0].cluster.leader = 2
    found = await asyncio.gather(
        *(RouterCluster(clients, addresses(three)).on_leader(create) for _ in range(50))
    )
    assert set(found) == {three[1].address}
    assert all(router.calls.count("GetClusterStatus") <= 3 for router in three)


async def test_a_leader_that_died_without_successor(clients: RouterClients, three: list[FakeRouter]) -> None:
    await RouterCluster(clients, addresses(three)).on_leader(create)
    await three[0].stop()
    with pytest.raises(NotLeader, match="there is no leader: 2 of 3 answer"):
        await RouterCluster(clients, addresses(three)).on_leader(create)
    assert clients.leaders.get(addresses(three)) is None, "nobody else has to find that out"


async def test_the_claim_of_an_older_term_loses(clients: RouterClients, start: Start) -> None:
    old = await start(FakeCluster(leader=1, term=4), 1)
    new = [await start(FakeCluster(leader=2, term=5), node_id) for node_id in (2, 3)]
    where = addresses([old, *new])
    assert await RouterCluster(clients, where).on_leader(create) == new[0].address
    clients.leaders.forget(where, new[0].address)
    await RouterCluster(clients, where).poll()
    assert clients.leaders.get(where) == new[0].address, "also when everybody has been heard"


async def test_two_claims_of_one_term_are_no_leader(clients: RouterClients, start: Start) -> None:
    torn = [await start(FakeCluster(leader=node_id, term=5), node_id) for node_id in (1, 2)]
    lone = await start(FakeCluster(leader=0, term=5), 3)
    with pytest.raises(NotLeader, match="several members report that they lead in the same term"):
        await RouterCluster(clients, addresses([*torn, lone])).on_leader(create)
    assert not any("CreatePipeline" in router.calls for router in torn)


async def test_every_node_has_at_most_one_try(clients: RouterClients, three: list[FakeRouter]) -> None:
    # All name node 1, which refuses: nobody may be asked twice, and the search must end.
    tried: list[str] = []

    async def refused(node: RouterNode) -> None:
        tried.append(node.address)
        raise NotLeader("Not the leader", address=node.address)

    with pytest.raises(NotLeader):
        await RouterCluster(clients, addresses(three)).on_leader(refused)
    assert sorted(tried) == sorted(set(tried))
    assert tried[0] == three[0].address


async def test_a_silent_leader_is_not_given_up_for_nodes_that_do_not_lead(
    clients: RouterClients, three: list[FakeRouter]
) -> None:
    tried: list[str] = []

    async def silent(node: RouterNode) -> None:
        tried.append(node.address)
        raise TimedOut("Timed out waiting for commit", address=node.address)

    with pytest.raises(TimedOut):
        await RouterCluster(clients, addresses(three)).on_leader(silent)
    assert tried == [three[0].address]


async def test_a_refusal_of_the_work_itself_is_final(clients: RouterClients, three: list[FakeRouter]) -> None:
    async def update(node: RouterNode) -> None:
        await node.update_pipeline("etl/none", CONFIG)

    with pytest.raises(Rejected, match="pipeline not found"):
        await RouterCluster(clients, addresses(three)).on_leader(update)
    assert [router.calls.count("UpdatePipeline") for router in three] == [1, 0, 0]


async def test_dead_and_mute_nodes_do_not_hide_the_leader(
    clients: RouterClients, three: list[FakeRouter]
) -> None:
    with black_hole() as mute:
        where = [mute, nobody(), *addresses(three)]
        assert await RouterCluster(clients, where).on_leader(create) == three[0].address


async def test_nobody_answers(clients: RouterClients) -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        await RouterCluster(clients, [nobody(), nobody()]).on_leader(create)
    with pytest.raises(Unreachable, match="no address"):
        await RouterCluster(clients, []).on_leader(create)


async def test_routers_without_admin(clients: RouterClients, three: list[FakeRouter]) -> None:
    for router in three:
        router.admin = False
    with pytest.raises(RouterAdminUnavailable):
        await RouterCluster(clients, addresses(three)).on_leader(create)
    reports = await RouterCluster(clients, addresses(three)).poll()
    assert [type(report.error) for report in reports] == [RouterAdminUnavailable] * 3
    # What answers says more than what does not.
    with pytest.raises(RouterAdminUnavailable):
        await RouterCluster(clients, [nobody(), *addresses(three)]).on_leader(create)


class Told:
    """Nodes that say after a time whom they follow, and in which term: clients of a cluster in memory."""

    def __init__(self, *words: tuple[float, int, int]) -> None:
        self.leaders = Leaders()
        self.words = words

    def node(self, address: str) -> Any:
        number = int(address.partition(":")[0])
        seconds, leader, term = self.words[number - 1]

        async def status() -> pb.GetClusterStatusResponse:
            await asyncio.sleep(seconds)
            return pb.GetClusterStatusResponse(node_id=number, leader_id=leader, term=term)

        return SimpleNamespace(address=address, buffer_trouble="", get_cluster_status=status)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([(0, 1, 5), (1, 1, 5), (9, 0, 4)], (1, 1)),
        # Two of four are no majority, and the others know better.
        ([(0, 1, 4), (0, 1, 4), (1, 3, 5), (1, 3, 5)], (3, 1)),
        # Who followed it in an earlier term does not follow it now.
        ([(0, 1, 6), (0, 1, 5), (1, 3, 7)], (3, 1)),
    ],
)
def test_nobody_waits_longer_than_for_a_majority_and_nobody_is_content_with_less(
    words: list[tuple[float, int, int]], expected: tuple[int, float]
) -> None:
    async def main() -> None:
        where = [f"{number}:1" for number in range(1, len(words) + 1)]

        async def work(node: Any) -> str:
            return str(node.address)

        found = await RouterCluster(cast(Any, Told(*words)), where).on_leader(work)
        assert (found, asyncio.get_running_loop().time()) == (f"{expected[0]}:1", expected[1])

    run_virtual(main())


async def test_a_poll_reports_on_every_address_in_order(three: list[FakeRouter]) -> None:
    clients = RouterClients(status_deadline=0.5)
    with black_hole() as mute:
        where = [mute, *addresses(three), nobody()]
        reports = await RouterCluster(clients, where).poll()
    assert [report.address for report in reports] == where
    assert isinstance(reports[0].error, TimedOut)
    assert isinstance(reports[4].error, Unreachable)
    assert [report.status.node_id for report in reports if report.status] == [1, 2, 3]
    assert [report.leads for report in reports] == [False, True, False, False, False]
    await clients.close()


async def test_a_poll_teaches_who_leads(clients: RouterClients, three: list[FakeRouter]) -> None:
    await RouterCluster(clients, addresses(three)).poll()
    await RouterCluster(clients, addresses(three)).on_leader(create)
    assert [router.calls for router in three] == [
        ["GetClusterStatus", "CreatePipeline"],
        ["GetClusterStatus"],
        ["GetClusterStatus"],
    ]
