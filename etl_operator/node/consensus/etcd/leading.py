"""Who writes the log: the holder of the election key, which changes hands when its holder is silent.

The key has no lease: a lease ends seconds after its holder, and later still when etcd's own leader ended with
it. The nodes watch each other instead. A wrong guess costs a change of leaders and no more, because every
write compares the key.
"""

from __future__ import annotations

import random
import secrets
import time

from etl_operator.node.consensus.etcd.client import Client, put, unchanged
from etl_operator.node.consensus.etcd.log import Keys, Owner, encode
from etl_operator.node.consensus.etcd.replica import Replica
from etl_operator.node.consensus.settings import Timing


class Leadership:
    """This node's part in it.

    :param timing: a holder that is silent for ``election_min`` loses the key to the node whose etcd member
        leads, for ``election_max`` to any other.
    """

    def __init__(self, client: Client, keys: Keys, replica: Replica, node_id: int, timing: Timing) -> None:
        self._client = client
        self._keys = keys
        self._replica = replica
        self._node_id = node_id
        self._timing = timing
        self._life = secrets.token_hex(8)
        self._doubted = 0
        self._alive_at = time.monotonic()
        self._connected_at = float("-inf")
        self.etcd_leads = False
        """etcd's leader is this node's member."""
        self.term = 0
        """etcd's."""
        self.withdrawn = False
        """The node leaves: it claims nothing."""

    @property
    def connected(self) -> bool:
        """The member answered lately, and knew a leader."""
        return time.monotonic() - self._connected_at <= self._timing.election_max

    @property
    def owns(self) -> bool:
        """This run of the node has the key, and knows what was written under it."""
        owner, fence = self._replica.owner, self._replica.fence
        return owner == Owner(self._node_id, self._life) and fence != self._doubted

    @property
    def holds(self) -> bool:
        """It has the key, and can write."""
        return self.owns and self.connected

    @property
    def leader(self) -> int | None:
        """The node that leads, as far as this one knows."""
        owner = self._replica.owner
        if owner is None or not self.connected:
            return None
        if owner.node_id == self._node_id:
            return self._node_id if self.holds else None
        return owner.node_id if time.monotonic() - self._alive_at <= self._timing.election_max else None

    def heard(self, node_id: int, *, leads: bool) -> None:
        """A node said whether it leads."""
        owner = self._replica.owner
        if leads and owner is not None and owner.node_id == node_id:
            self._alive_at = time.monotonic()

    def changed(self) -> None:
        """The key changed hands: its holder has written it just now."""
        self._alive_at = time.monotonic()

    def doubt(self, fence: int) -> None:
        """Do not write under ``fence`` any more."""
        self._doubted = fence

    def asked(self, *, leader: int, own: int, term: int) -> None:
        """The member answered: etcd's leader (0: none), itself, and the term."""
        self.term = max(term, self.term)
        self.etcd_leads = leader == own
        if leader:
            self._connected_at = time.monotonic()

    def lost(self) -> None:
        """The member did not answer."""
        self.etcd_leads = False

    def due(self, nodes: set[int]) -> bool:
        """Whether this node is to claim the key.

        :param nodes: ids of all members.
        """
        replica, owner = self._replica, self._replica.owner
        if not replica.loaded or not self.connected or self.withdrawn:
            return False
        if owner is not None and owner.node_id == self._node_id:
            return not self.owns
        silent = time.monotonic() - self._alive_at
        if owner is None or owner.node_id not in nodes:
            return self.etcd_leads or silent > self._timing.election_min
        if self.etcd_leads:
            return silent > self._timing.election_min
        return silent > self._timing.election_max * random.uniform(1.0, 1.5)  # noqa: S311 - apart from others

    async def claim(self) -> None:
        """Take the key, unless it changes hands meanwhile. The watch says whether it did."""
        await self._give(Owner(self._node_id, self._life))

    async def hand_to(self, node_id: int) -> None:
        """Give the key to another node, which then claims it.

        :raises EtcdError: it may have been given.
        """
        await self._give(Owner(node_id, ""))

    async def _give(self, owner: Owner) -> None:
        held = [unchanged(self._keys.leader, self._replica.fence)]
        await self._client.txn(held, [put(self._keys.leader, encode(owner))])
