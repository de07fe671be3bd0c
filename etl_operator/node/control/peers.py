"""The other members: what this node asks of them, and what they may ask of it."""

from __future__ import annotations

import asyncio
import time

import msgspec

from etl_operator.node.consensus.engine import CommitTimeout, ConsensusEngine, NotLeader
from etl_operator.node.control import state

PROPOSE = "propose"
APPLIED = "applied"

_FORWARD_SECONDS = 6.0
"""A leader gives a proposal five seconds."""
_POLL = 0.01
_NOTHING = state.RaiseWatermarks([])
"""Changes nothing, and is applied after everything that was acknowledged before it."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(state.Outcome)


class Peers:
    """Proposals from any node: those of followers travel to the leader.

    Only what is idempotent is forwarded: an answer that gets lost leaves the outcome open.
    """

    def __init__(self, engine: ConsensusEngine) -> None:
        self._engine = engine
        engine.answer(PROPOSE, self._on_propose)
        engine.answer(APPLIED, self._on_applied)

    async def propose(self, command: state.Idempotent) -> state.Outcome:
        """Have a command applied, whoever leads.

        :raises ConsensusError: as `ConsensusEngine.propose`; NotLeader where no leader is known.
        """
        data = state.encode(command)
        try:
            return _outcome(await self._engine.propose(data))
        except NotLeader:
            status = self._engine.status()
            if status.leader_id in (None, status.node_id):
                raise
            assert status.leader_id is not None
        answer = await self._engine.ask(status.leader_id, PROPOSE, data, within=_FORWARD_SECONDS)
        return _decoder.decode(answer)

    async def catch_up(self) -> None:
        """Wait until this node has applied everything that was acknowledged before the call.

        :raises ConsensusError: as `propose`.
        """
        try:
            await self._engine.propose(state.encode(_NOTHING))
            return
        except NotLeader:
            status = self._engine.status()
            if status.leader_id in (None, status.node_id):
                raise
            assert status.leader_id is not None
        answer = await self._engine.ask(status.leader_id, APPLIED, b"", within=_FORWARD_SECONDS)
        await self._wait_for(int(answer))

    async def _wait_for(self, index: int) -> None:
        end = time.monotonic() + _FORWARD_SECONDS
        while self._engine.status().applied_index < index:
            if time.monotonic() > end:
                raise CommitTimeout(f"this node did not apply entry {index} of its leader in time")
            await asyncio.sleep(_POLL)

    async def _on_applied(self, sender: int, body: bytes) -> bytes:
        await self._engine.propose(state.encode(_NOTHING))
        return b"%d" % self._engine.status().applied_index

    async def _on_propose(self, sender: int, command: bytes) -> bytes:
        if not isinstance(state.decode(command), state.Idempotent):
            raise ValueError("only commands that may be applied twice are forwarded")
        return _encoder.encode(_outcome(await self._engine.propose(command)))


def _outcome(found: object) -> state.Outcome:
    assert isinstance(found, state.Outcome)
    return found
