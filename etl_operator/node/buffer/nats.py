"""The durable buffer of a data plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from etl_operator.node.buffer.delivering import Delivery
from etl_operator.node.buffer.letters import Calls, Letters, with_letters
from etl_operator.node.buffer.place import Place
from etl_operator.node.buffer.server import Server, TooLarge, Trouble
from etl_operator.node.buffer.storing import ENTRANCE, Intake, entering
from etl_operator.node.data.balance import Key
from etl_operator.node.data.buffer import Host
from etl_operator.node.data.deadletter import Cause, dead_letter
from etl_operator.node.data.flow import Flow, Way
from etl_operator.node.data.graph import Kind, Plan
from etl_operator.node.data.processing import Processor
from etl_operator.node.data.view import Pipeline, PipelineReport
from etl_operator.node.settings import Nats
from etl_operator.router.pb import common_pb2

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks at how many messages the streams have."""
_REFRESH_SECONDS = 0.6
"""How long a report waits for the number of messages."""


@dataclass(slots=True)
class _Buffered:
    """One pipeline."""

    place: Place
    intake: Intake
    delivery: Delivery
    flow: Flow
    uncertain: bool = False
    """The last `NatsBuffer.refresh` failed."""


class NatsBuffer:
    """A `data.buffer.Buffer`: one stream for each pipeline, and one for dead letters."""

    def __init__(self, settings: Nats) -> None:
        self._settings = settings
        self._server = Server(settings)
        self._pipelines: dict[str, _Buffered] = {}

    def attach(self, host: Host) -> None:
        """See `Buffer`. The event loop runs."""
        self._host = host
        self._letters = Letters(host, self._server, self._settings)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._server.run()), loop.create_task(self._look())]

    def processor(self, services: Processor) -> Processor:
        """Services, and the stream of dead letters."""
        return Calls(services, self._letters)

    def plan(self, plan: Plan) -> Plan:
        """Without a dead-letter sink, dead letters go to their stream."""
        return with_letters(plan)

    def update(self, pipelines: Mapping[str, Pipeline], flows: Mapping[str, Flow]) -> None:
        """See `Buffer`."""
        for pipeline_id, one in list(self._pipelines.items()):
            if flows.get(pipeline_id) is not one.flow:
                del self._pipelines[pipeline_id]
                one.delivery.stop()
                one.intake.close()
        for pipeline_id, pipeline in pipelines.items():
            known = self._pipelines.get(pipeline_id)
            if known is None:
                known = self._pipelines[pipeline_id] = self._buffered(pipeline, flows[pipeline_id])
            known.place.created(pipeline.created)
            if not pipeline.enabled and not pipeline.drain:
                known.intake.let_go()
            known.delivery.update(drains=pipeline.drain)

    def _buffered(self, pipeline: Pipeline, flow: Flow) -> _Buffered:
        place = Place(self._server, self._settings, pipeline.pipeline_id)

        async def reject(record: common_pb2.Record, error: str) -> None:
            await self._reject(flow, record, error)

        intake = Intake(self._host, place)
        delivery = Delivery(self._host, place, flow, self._settings.ack_wait_seconds, reject)
        return _Buffered(place, intake, delivery, flow)

    async def _reject(self, flow: Flow, record: common_pb2.Record, error: str) -> None:
        """A dead-letter sink refused a record: the stream keeps it."""
        stage_id, _, rest = error.removeprefix("stage ").partition(": ")
        code, _, text = rest.partition(": ")
        stage = flow.stage(stage_id)
        if stage is None:
            stage = ENTRANCE
        now = self._host.clock.now()
        letter = dead_letter(record, flow.pipeline_id, stage, Cause(code, text, 1, now, now))
        try:
            await self._letters.keep(letter)
        except TooLarge as problem:
            log.error(
                "pipeline %s: dropped record %s/%d/%d: neither the dead-letter sink nor the stream of dead "
                "letters takes it: %s; %s",
                flow.pipeline_id,
                record.id.source_id,
                record.id.partition,
                record.id.sequence_number,
                error,
                problem,
            )

    def way(self, way: Way) -> Way:
        """To the stream of the pipeline."""
        return Way(self._pipelines[way.flow.pipeline_id].intake, [ENTRANCE], entering(way.stages))

    def committed(self, flow: Flow) -> Mapping[Key, int]:
        """What is stored: its source need not send it again."""
        flow.committed()
        known = self._pipelines.get(flow.pipeline_id)
        return known.intake.committed() if known else {}

    def report(self, flow: Flow) -> PipelineReport:
        """See `Buffer`. What is stored counts at the first source stage."""
        report, known = flow.report(), self._pipelines.get(flow.pipeline_id)
        if known is None or flow.plan is None:
            return report
        stored, entering = known.place.records, known.intake.pending
        stages = dict(report.stages)
        first = next((s.stage_id for s in flow.plan.stages.values() if s.kind is Kind.SOURCE), None)
        if first is not None and (stored or entering):
            stages[first] = msgspec.structs.replace(
                stages[first], buffered=stages[first].buffered + entering, stored=stored
            )
        return msgspec.structs.replace(
            report,
            # What is being delivered is still in the stream.
            pending=max(report.pending - known.delivery.held, 0) + entering,
            stages=stages,
            buffer=self._server.trouble or known.place.trouble or self._letters.trouble,
            uncertain=known.uncertain,
        )

    async def refresh(self, pipeline_id: str) -> None:
        """See `Buffer`. If the servers do not answer in time, the next report is uncertain."""
        known = self._pipelines.get(pipeline_id)
        if known is None:
            return
        try:
            await known.place.look(_REFRESH_SECONDS)
        except Trouble:
            known.uncertain = True
        else:
            known.uncertain = False

    async def _look(self) -> None:
        while True:
            await self._server.connected()
            stored = {one: self._pipelines[one].place.stored for one in self._pipelines}
            with contextlib.suppress(Trouble):
                found = await self._server.all_messages(f"{self._settings.prefix}.records.>")
                for pipeline_id, before in stored.items():
                    known = self._pipelines.get(pipeline_id)
                    if known is not None:
                        known.place.looked(found.get(known.place.stream, 0), before)
                        known.delivery.wake()
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def trouble(self) -> str:
        """See `Buffer`."""
        return self._server.trouble

    @property
    def pending(self) -> int:
        """See `Buffer`."""
        return sum(one.intake.pending for one in self._pipelines.values())

    def leave(self) -> None:
        """See `Buffer`."""
        for one in self._pipelines.values():
            one.delivery.stop()

    async def close(self) -> None:
        """See `Buffer`. Messages that are not delivered are given back."""
        for one in self._pipelines.values():
            one.intake.close()
        await asyncio.gather(*(one.delivery.close() for one in self._pipelines.values()))
        self._pipelines.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
