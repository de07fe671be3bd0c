"""The other members: what this node asks of them, and what they may ask of it."""

from __future__ import annotations

import msgspec

from etl_operator.node.consensus.engine import ConsensusEngine, NotLeader
from etl_operator.node.control import state

PROPOSE = "propose"

_FORWARD_SECONDS = 6.0
"""A leader gives a proposal five seconds."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(state.Outcome)


class Peers:
    """Proposals from any node: those of followers travel to the leader.

    Only what is idempotent is forwarded: an answer that gets lost leaves the outcome open.
    """

    def __init__(self, engine: ConsensusEngine) -> None:
        self._engine = engine
        engine.answer(PROPOSE, self._on_propose)

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

    async def _on_propose(self, sender: int, command: bytes) -> bytes:
        if not isinstance(state.decode(command), state.Idempotent):
            raise ValueError("only checkpoints are forwarded")
        return _encoder.encode(_outcome(await self._engine.propose(command)))


def _outcome(found: object) -> state.Outcome:
    assert isinstance(found, state.Outcome)
    return found
