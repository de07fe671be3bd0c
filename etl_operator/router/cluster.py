"""One Raft cluster: who leads, and everybody's word on how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from etl_operator.router.client import RouterClients, RouterNode
from etl_operator.router.errors import NotLeader, RouterAdminUnavailable, RouterError, Unreachable
from etl_operator.router.pb import router_pb2 as pb

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node's answer to GetClusterStatus: either a status or an error."""

    address: str
    status: pb.GetClusterStatusResponse | None = None
    error: RouterError | None = None
    buffer_trouble: str = ""
    """Why the node cannot use its durable buffer; empty if it can."""

    @property
    def leads(self) -> bool:
        """The node itself claims to lead."""
        return self.status is not None and 0 != self.status.leader_id == self.status.node_id


class RouterCluster:
    """The nodes at some addresses, taken as one cluster.

    Made again whenever needed: what is worth remembering is kept by ``clients``.

    :param addresses: ``host:port`` of every node that can be asked.
    """

    def __init__(self, clients: RouterClients, addresses: Sequence[str]) -> None:
        self._clients = clients
        self._addresses = tuple(dict.fromkeys(addresses))
        self._leaders = clients.leaders

    async def on_leader(self, work: Callable[[RouterNode], Awaitable[T]]) -> T:
        """Do ``work`` with the leader's node, and return what it returns.

        A remembered leader is tried first. When it does not lead, or does not answer, the others are asked
        who does, and ``work`` starts over there; in the end every node has had at most one try. ``work``
        must therefore look before it acts.

        :raises NotLeader: when no node leads.
        :raises Unreachable: when nobody answers, or the leader went silent.
        :raises RouterAdminUnavailable: when the routers serve no RouterAdmin.
        :raises Exception: anything else ``work`` raises, as it is.
        """
        tried: list[str] = []
        address = self._leaders.get(self._addresses)
        if address is None:
            address = await self._leaders.search(self._addresses, self._find_leader)
        while True:
            tried.append(address)
            try:
                result = await work(self._clients.node(address))
            except (NotLeader, Unreachable) as error:
                self._leaders.forget(self._addresses, address)
                address = await self._next(tried, error)
            else:
                self._leaders.remember(self._addresses, address)
                return result

    async def poll(self) -> list[NodeReport]:
        """Everybody's word, in the order of the addresses. All are asked at once; errors are reports too."""
        reports = await asyncio.gather(*(self._ask(address) for address in self._addresses))
        leader = _leader(reports)
        if leader:
            self._leaders.remember(self._addresses, leader)
        return list(reports)

    async def _find_leader(self) -> str:
        """The address of the node that leads.

        :raises RouterError: when there is none; the most telling of the answers.
        """
        reports = await self._reports()
        leader = _leader(reports)
        if leader is None:
            raise _why_none(reports, len(self._addresses))
        return leader

    async def _next(self, tried: Sequence[str], error: RouterError) -> str:
        """Whom to try after ``error``: whoever leads by the nodes' own word, else one not tried yet.

        :raises RouterError: when there is nobody: ``error``, or that no node leads.
        """
        reports = await self._reports()
        leader = _leader(reports)
        if leader is None:
            raise _why_none(reports, len(self._addresses)) if any(r.status for r in reports) else error
        if leader not in tried:
            return leader
        if isinstance(error, NotLeader):
            # It claims to lead and yet refuses: an election is on, and any other may have won it.
            for report in reports:
                if report.status and report.address not in tried:
                    return report.address
        raise error

    async def _reports(self) -> list[NodeReport]:
        """Answers until a majority agrees with a leader's own claim, so that no dead node is waited for."""
        tasks = [asyncio.ensure_future(self._ask(address)) for address in self._addresses]
        reports: list[NodeReport] = []
        try:
            for answer in asyncio.as_completed(tasks):
                reports.append(await answer)
                if _settled(reports, len(tasks)):
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # The order of arrival must not decide anything.
        return sorted(reports, key=lambda report: self._addresses.index(report.address))

    async def _ask(self, address: str) -> NodeReport:
        node = self._clients.node(address)
        try:
            status = await node.get_cluster_status()
            return NodeReport(address, status=status, buffer_trouble=node.buffer_trouble)
        except RouterError as error:
            return NodeReport(address, error=error)


def _leader(reports: Sequence[NodeReport]) -> str | None:
    """The claimant of the highest term; one of an older term has not heard of its successor yet.

    Two claimants of that term are none: whatever is written to either may be lost.
    """
    claims = [(r.status.term, r.address) for r in reports if r.status and r.leads]
    highest = max((term for term, _ in claims), default=0)
    leaders = [address for term, address in claims if term == highest]
    return leaders[0] if len(leaders) == 1 else None


def _settled(reports: Sequence[NodeReport], members: int) -> bool:
    """Whether the nodes heard so far are enough: a claimant that a majority follows in its term."""
    for claim in reports:
        if claim.status is None or not claim.leads:
            continue
        agreeing = sum(
            r.status is not None
            and (r.status.leader_id, r.status.term) == (claim.status.node_id, claim.status.term)
            for r in reports
        )
        if 2 * agreeing > members:
            return True
    return False


def _why_none(reports: Sequence[NodeReport], members: int) -> RouterError:
    errors = [report.error for report in reports if report.error]
    answered = len(reports) - len(errors)
    if any(report.leads for report in reports):
        return NotLeader("several members report that they lead in the same term")
    if answered:
        return NotLeader(f"there is no leader: {answered} of {members} answer")
    admin = next((error for error in errors if isinstance(error, RouterAdminUnavailable)), None)
    return admin or (errors[0] if errors else Unreachable("the cluster has no address"))
