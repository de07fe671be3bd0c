"""The members of etcd's cluster as nodes: who has a vote, and how that changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import ChangeRefused, OutcomeUnknown
from etl_operator.node.consensus.etcd.client import Client, EtcdError, Refused
from etl_operator.node.consensus.etcd.joining import Joining, find
from etl_operator.router.pb import etcd_pb2 as pb


@dataclass(frozen=True, slots=True)
class Seat:
    """A member of etcd's cluster that is a node."""

    member: int
    """etcd's id of it."""
    voter: bool
    address: Address
    """Of the node."""


class Members:
    """Reads and changes them. Two changes are never made at once: the leader makes them, one by one."""

    def __init__(self, client: Client, joining: Joining) -> None:
        self._client = client
        self._joining = joining
        self.seats: dict[int, Seat] = {}
        """By node id, as last read; empty before that."""

    async def read(self) -> Sequence[pb.Member]:
        """Read them again.

        :raises EtcdError: etcd has no majority, or does not answer.
        """
        members = await self._client.members()
        seats = {}
        for member in members:
            node_id = self._node_id(member)
            address = Address.parse(member.peerURLs[0].rpartition("/")[2]) if member.peerURLs else None
            if node_id is not None and address is not None:
                seats[node_id] = Seat(
                    member.ID, not member.isLearner, Address(address.host, address.port - 1)
                )
        self.seats = seats
        return members

    def _node_id(self, member: pb.Member) -> int | None:
        kind, _, number = member.name.rpartition("-")
        if kind == "node" and number.isdigit():
            return int(number)
        # It has not started. It was added by the address in the flags of a node.
        known = self._joining.known()
        return next((node for node, at in known.items() if self._joining.url(at) in member.peerURLs), None)

    def is_blank(self, node_id: int) -> bool:
        """The data of its member is lost."""
        seat = self.seats.get(node_id)
        return seat is not None and self._joining.lost.get(node_id) == seat.member

    async def add(self, node_id: int, address: Address) -> None:
        """Add a learner.

        :raises ConsensusError: see `ConsensusEngine.add_learner`.
        """
        url = self._joining.url(address)
        with _explained():
            if find(await self.read(), node_id, url) is not None:
                raise ChangeRefused(f"node {node_id} is a member")
            await self._client.add_learner(url)
            await self.read()

    async def promote(self, node_id: int) -> None:
        """Give a learner its vote."""
        with _explained():
            await self.read()
            await self._client.promote(self._seat(node_id).member)
            await self.read()

    async def remove(self, node_id: int) -> None:
        """Remove a member."""
        with _explained():
            await self.read()
            await self._client.remove(self._seat(node_id).member)
            await self.read()

    def _seat(self, node_id: int) -> Seat:
        seat = self.seats.get(node_id)
        if seat is None:
            raise ChangeRefused(f"node {node_id} is not a member")
        return seat


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise ChangeRefused(f"etcd: {error}") from error
    except EtcdError as error:
        raise OutcomeUnknown(f"etcd: {error}") from error
