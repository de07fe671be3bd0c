"""The services around the nodes: ``python -m tests.node.killing.services source|transform|sink [OPTIONS]``.

They are services of the kit that leave traces: the source writes down what was accepted before anything else
is done about it, and all sinks append what they get to one file, in the order in which they get it. So what a
process knew when it was killed is known afterwards.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncGenerator, Sequence

from etl_operator.router.pb.source_pb2 import ACK_STATUS_REJECTED, BatchAck
from etl_operator.services import Position, Pushing, Record, RecordId, Sink, Source, Transform, run
from etl_operator.services.outstanding import Answer, Outstanding

PARTITIONS = 3
WRITTEN, JOURNAL, COUNT, RATE, MIXED = (
    f"KILLING_{name}" for name in ("WRITTEN", "JOURNAL", "COUNT", "RATE", "MIXED")
)
"""Environment: the file of all sinks; the source's file, its records of a partition, its records per second,
and whether a batch has records of all partitions."""
CHANGED = "changed"
"""Record type of what went through the transform."""


class Traced(Outstanding):
    """Writes down each answer before it is taken."""

    def __init__(self, window: int, journal: int) -> None:
        super().__init__(window)
        self._journal = journal

    def answered(self, ack: BatchAck) -> Answer:
        lines = [
            f"{'rejected' if one.status == ACK_STATUS_REJECTED else 'accepted'} "
            f"{one.record_id.partition} {one.record_id.sequence_number}\n"
            for one in ack.record_acks
        ]
        os.write(self._journal, "".join(lines).encode())
        return super().answered(ack)


class Numbers(Source):
    """Counts, in each partition."""

    def __init__(self, pushing: Pushing) -> None:
        super().__init__(pushing)
        self._journal = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._outstanding = Traced(pushing.window, self._journal)

    async def read(self, position: Position) -> AsyncGenerator[Sequence[Record], None]:
        reached = {partition: position.offsets.get(partition, 0) for partition in range(PARTITIONS)}
        lines = [f"start {partition} {number}\n" for partition, number in reached.items()]
        os.write(self._journal, "".join(lines).encode())
        count, rate, mixed = int(os.environ[COUNT]), float(os.environ[RATE]), os.environ[MIXED] == "1"
        size = self.pushing.batch_size
        while any(number < count for number in reached.values()):
            parts: list[list[Record]] = []
            for partition, number in reached.items():
                last = min(number + (-(-size // PARTITIONS) if mixed else size), count)
                parts.append([_record(partition, one) for one in range(number + 1, last + 1)])
                reached[partition] = last
            if mixed:
                parts = [[record for part in parts for record in part]]
            for part in filter(None, parts):
                yield part
                await asyncio.sleep(len(part) / rate)


def _record(partition: int, number: int) -> Record:
    return Record(id=RecordId(partition=partition, sequence_number=number), payload=b"%d" % number)


class Change(Transform):
    """Changes the type."""

    def process(self, record: Record) -> Record:
        record.record_type = CHANGED
        return record


class Append(Sink):
    """Appends ids to a file that others append to, too: there they survive the end of the process."""

    def write(self, records: Sequence[Record]) -> None:
        lines = "".join(
            f"{one.id.source_id} {one.id.partition} {one.id.sequence_number} {one.record_type or '-'} .\n"
            for one in records
        )
        file = os.open(os.environ[WRITTEN], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # A line that another process did not finish is not continued.
            os.write(file, b"\n" + lines.encode())
        finally:
            os.close(file)


if __name__ == "__main__":
    run({"source": Numbers, "transform": Change, "sink": Append}[sys.argv.pop(1)])
