"""How a node's etcd process becomes a member.

A node without data asks the others. If a majority has none either, all begin a new cluster, with the
addresses in their lists: each learns from the others under which one it is known. If there is a cluster, the
node waits until the leader has added it as a learner, which `membership.MembershipLoop` sees to. If it was a
member before, it says that the data of that member is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from etl_operator.node.consensus.address import Address
from etl_operator.node.consensus.engine import ConsensusError, Unanswered
from etl_operator.node.consensus.etcd.client import Client, EtcdError
from etl_operator.node.consensus.etcd.program import Program, name_of
from etl_operator.router.pb import etcd_pb2 as pb

log = logging.getLogger(__name__)

JOIN = "etcd.join"
_UNKNOWN = f"does not know the question {JOIN!r}"
"""So says a node that is on the embedded engine."""
_WITHIN = 5.0
_PAUSE = 0.2

Ask = Callable[[int, str, bytes, float], Awaitable[bytes]]


class OtherEngine(ConsensusError):
    """The other nodes are not on etcd."""


class Question(msgspec.Struct, frozen=True, array_like=True):
    """A node without data asks what to do."""

    yours: str
    """The address by which it knows the node that it asks."""
    lost: int = 0
    """Its member of which it has lost the data. Named, so that a late question cannot mean a later one."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a node says to one without data."""

    yours: str
    """The address by which it knows the node that asks."""
    empty: bool = False
    """It has no data either."""
    initial: str = ""
    """Members with which to start; empty: ask again."""
    state: str = "new"
    member: int = 0
    """The node that asks was this member, and has had data."""


_encoder = msgspec.msgpack.Encoder()
_question = msgspec.msgpack.Decoder(Question)
_answer = msgspec.msgpack.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class Start:
    """What etcd is started with."""

    initial: str
    state: str
    url: str


class Joining:
    """Asks the others, and answers them.

    :param peers: addresses of the other nodes.
    :param own: this node's address, for one that is alone.
    :param ask: asks another node.
    :param file: for what a new cluster was begun with.
    :param running: whether this node's etcd serves.
    :param may_found: whether a new cluster may be begun.
    """

    def __init__(
        self,
        client: Client,
        program: Program,
        node_id: int,
        peers: Callable[[], Mapping[int, Address]],
        own: Address,
        ask: Ask,
        *,
        file: Path,
        running: Callable[[], bool],
        may_found: Callable[[], bool],
    ) -> None:
        self._client = client
        self._program = program
        self._node_id = node_id
        self._peers = peers
        self._own = own
        self._ask = ask
        self._file = file
        self._running = running
        self._may_found = may_found
        self._removed = False
        self.lost: dict[int, int] = {}
        """Members of which the data is lost, by node id."""

    async def start(self) -> Start:
        """What to start etcd with; waits until that is known."""
        if self._program.has_data or not (self._peers() or self._removed):
            own = self.url(self._own)
            return Start(f"{name_of(self._node_id)}={own}", "new", own)
        told, lost = "", 0
        while True:
            answers = await self._answers(lost)
            known = next((answer.yours for answer in answers if answer.yours), "")
            for answer in answers:
                if answer.initial:
                    return self._begin(answer.initial, answer.state, known)
            lost = next((answer.member for answer in answers if answer.member), 0)
            empty = sum(answer.empty for answer in answers)
            may = self._may_found() and not self._removed and empty == len(answers)
            if may and 2 * (empty + 1) > len(self._peers()) + 1:
                return self._begin(self._initial(known), "new", known)
            why = "the cluster to add this node" if answers else "other nodes"
            if why != told:
                log.info("waiting for %s", why)
            told = why
            await asyncio.sleep(_PAUSE)

    async def _answers(self, lost: int) -> list[Answer]:
        async def one(node_id: int, address: Address) -> Answer | None:
            try:
                question = _encoder.encode(Question(str(address), lost))
                return _answer.decode(await self._ask(node_id, JOIN, question, _WITHIN))
            except (Unanswered, msgspec.MsgspecError) as error:
                if _UNKNOWN in str(error):
                    raise OtherEngine(
                        f"node {node_id} is on the embedded engine: start this one on it, too"
                    ) from error
                return None

        found = await asyncio.gather(*(one(node_id, address) for node_id, address in self._peers().items()))
        return [answer for answer in found if answer is not None]

    def _begin(self, initial: str, state: str, known: str) -> Start:
        if state == "new":
            # Until the cluster has had a leader, others that ask begin with the same.
            self._file.write_text(initial, encoding="utf-8")
        return Start(initial, state, self.url_of(known))

    def known(self) -> Mapping[int, Address]:
        """The other nodes."""
        return self._peers()

    def removed(self) -> None:
        """The node was removed from its cluster, and waits until it is added again."""
        self._removed = True

    def elected(self) -> None:
        """The cluster has had a leader."""
        self._file.unlink(missing_ok=True)

    async def answer(self, sender: int, body: bytes) -> bytes:
        """Say to a node without data what to do."""
        known = self._peers().get(sender)
        if known is None:
            raise LookupError(f"node {sender} is not in the member list of node {self._node_id}")
        yours = str(known)
        return _encoder.encode(await self._say(sender, yours, _question.decode(body)))

    async def _say(self, sender: int, yours: str, question: Question) -> Answer:
        if self._file.exists():
            return Answer(yours, initial=self._file.read_text(encoding="utf-8"))
        if not self._program.has_data and not self._running():
            return Answer(yours, empty=True)
        try:
            return await self._member(sender, yours, question)
        except EtcdError as error:
            log.debug("node %d has to wait: %s", sender, error)
            return Answer(yours)

    async def _member(self, sender: int, yours: str, question: Question) -> Answer:
        url = self.url_of(yours)
        members = await self._client.members()
        await self._rename(members, self.url_of(question.yours))
        found = find(members, sender, url)
        if found is None:
            return Answer(yours)
        if not found.clientURLs:
            state = "existing" if found.isLearner else "new"
            return Answer(yours, initial=self._listed(await self._client.members(), sender, url), state=state)
        if question.lost == found.ID and self.lost.get(sender) != found.ID:
            log.warning("node %d has lost the data of its member %x", sender, found.ID)
            self.lost[sender] = found.ID
        return Answer(yours, member=found.ID)

    async def _rename(self, members: Sequence[pb.Member], own: str) -> None:
        """A node that began alone did not know its name."""
        for member in members:
            if member.name == name_of(self._node_id) and list(member.peerURLs) != [own]:
                await self._client.rename(member.ID, own)

    def _initial(self, own: str) -> str:
        urls = {node_id: self.url(address) for node_id, address in self._peers().items()}
        urls[self._node_id] = self.url_of(own)
        return ",".join(f"{name_of(node_id)}={url}" for node_id, url in sorted(urls.items()))

    @staticmethod
    def _listed(members: Sequence[pb.Member], sender: int, url: str) -> str:
        return ",".join(
            f"{name_of(sender) if url in member.peerURLs else member.name or f'{member.ID:x}'}={member_url}"
            for member in members
            for member_url in member.peerURLs
        )

    def url(self, address: Address) -> str:
        """Where etcd listens on a node that is at ``address``."""
        return f"{self._program.scheme}://{etcd_address(address)}"

    def url_of(self, known: str) -> str:
        """The same of ``host:port``."""
        host, _, port = known.rpartition(":")
        return self.url(Address(host.strip("[]"), int(port)))


def etcd_address(raft: Address) -> Address:
    """Where a node's etcd listens for other members: the port after the node's own."""
    return Address(raft.host, raft.port + 1)


def find(members: Sequence[pb.Member], node_id: int, url: str) -> pb.Member | None:
    """A node's member, by its name or, before it has started, its address."""
    return next(
        (member for member in members if member.name == name_of(node_id) or url in member.peerURLs), None
    )
