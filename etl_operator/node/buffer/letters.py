"""Dead letters of pipelines without a dead-letter sink: a stream keeps them."""

from __future__ import annotations

import uuid
from dataclasses import replace

from etl_operator.node.buffer import naming, streams
from etl_operator.node.buffer.server import NoStream, Server, TooLarge, Trouble
from etl_operator.node.data.balance import Balancer
from etl_operator.node.data.buffer import Host
from etl_operator.node.data.call import Parcel, Tuning
from etl_operator.node.data.chunk import Packed, Passed
from etl_operator.node.data.deadletter import PREFIX
from etl_operator.node.data.graph import Kind, Plan, Selector, Stage
from etl_operator.node.data.policy import Result, wait_before
from etl_operator.node.data.processing import Processor
from etl_operator.node.data.stats import StageStats
from etl_operator.node.settings import Nats
from etl_operator.router.pb import common_pb2

LETTERS = "etl.router/dead-letters"
"""Id of the stage that stands for the stream."""
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0
_STAGE = Stage(LETTERS, Kind.SINK, Selector("", "", {}, 0), 1, (), (), {})


def with_letters(plan: Plan) -> Plan:
    """A pipeline whose dead letters go to the stream, if it has no sink for them.

    Its sources were answered: a record that fails cannot be rejected any more.
    """
    if plan.dead_letters.sink is not None:
        return plan
    letters = replace(plan.dead_letters, kept=True, sink=LETTERS)
    return replace(plan, stages={**plan.stages, LETTERS: _STAGE}, dead_letters=letters)


class Letters:
    """The stream of dead letters."""

    def __init__(self, host: Host, server: Server, settings: Nats) -> None:
        self._host = host
        self._server = server
        self._settings = settings
        self._checked = False
        self.trouble = ""
        """Why the last dead letter could not be stored."""

    async def keep(self, record: common_pb2.Record) -> None:
        """Store a dead letter; waits until the stream has it.

        :raises TooLarge: it is larger than the servers accept.
        """
        stream = naming.letters_stream(self._settings.prefix)
        pipeline_id = record.metadata[f"{PREFIX}pipeline"]
        subject = naming.letters_subject(self._settings.prefix, pipeline_id)
        payload, headers = record.SerializeToString(), {"Nats-Msg-Id": uuid.uuid4().hex}
        attempt = 0
        while True:
            await self._server.connected()
            try:
                if not self._checked:
                    await self._server.ensure(streams.letters(self._settings), [], create=True)
                    self._checked = True
                await self._server.publish(stream, subject, payload, headers)
            except Trouble as trouble:
                self.trouble = str(trouble)
                self._checked = not isinstance(trouble, NoStream)
                attempt += 1
            else:
                self.trouble = ""
                return
            chance = self._host.clock.chance()
            await self._host.clock.sleep(wait_before(attempt, _FIRST_WAIT, _LONGEST_WAIT, chance))


class Calls:
    """Calls services, and stores dead letters: a `data.processing.Processor`."""

    def __init__(self, services: Processor, letters: Letters) -> None:
        self._services = services
        self._letters = letters

    @property
    def tuning(self) -> Tuning:
        """That of services."""
        return self._services.tuning

    def balancer(self, stage: Stage) -> Balancer:
        """That of services."""
        return self._services.balancer(stage)

    async def process(
        self, stage: Stage, parcel: Parcel | Packed, balancer: Balancer, stats: StageStats
    ) -> list[Result] | Passed:
        """See `data.processing.Processor`."""
        if stage.stage_id != LETTERS:
            return await self._services.process(stage, parcel, balancer, stats)
        return [await self._kept(record) for record in parcel.records]

    async def _kept(self, record: common_pb2.Record) -> Result:
        try:
            await self._letters.keep(record)
        except TooLarge as error:
            return Result(error=str(error), code="RECORD_TOO_LARGE", final=True)
        return Result()

    async def flush(self, stage: Stage) -> None:
        """See `data.processing.Processor`."""
        if stage.stage_id != LETTERS:
            await self._services.flush(stage)
