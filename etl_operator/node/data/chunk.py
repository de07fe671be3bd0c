"""Records on their way through a pipeline: as objects, or still as the bytes that came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from etl_operator.node.data.balance import Key
from etl_operator.node.data.ledger import Cohort, Tally
from etl_operator.router.pb import common_pb2

Trace = tuple[tuple[str, str], ...]
"""gRPC metadata of a trace's context, passed on as it came."""


@dataclass(slots=True)
class Chunk:
    """Records of one partition, in order."""

    key: Key
    records: list[common_pb2.Record]
    tallies: list[Tally]
    size: int
    """Bytes; about."""
    watermark: common_pb2.Watermark | None = None
    batch_id: str = ""
    trace: Trace = ()

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.records)

    def unpacked(self) -> Chunk:
        """Itself."""
        return self

    def absorb(self, more: Chunk) -> None:
        """Put what follows behind this."""
        self.records += more.records
        self.tallies += more.tallies
        self.size += more.size
        self.watermark = more.watermark or self.watermark

    def split(self, records: int) -> Chunk:
        """Take the first ``records`` out. The watermark stays behind: it holds for the end."""
        share = self.size * records // max(len(self.records), 1)
        head = Chunk(
            self.key,
            self.records[:records],
            self.tallies[:records],
            share,
            None,
            self.batch_id,
            self.trace,
        )
        del self.records[:records], self.tallies[:records]
        self.size -= share
        return head


@dataclass(slots=True)
class Packed:
    """Whole batches of one partition, in order, as bytes: one cohort for each, and a group of heads.

    Where a service does not treat all of them alike it becomes a `Chunk`.
    """

    key: Key
    cohorts: list[Cohort]
    heads: list[Sequence[bytes]]
    """Ids of the records by batch, see `frames.Batch.heads`."""
    bodies: list[bytes | memoryview]
    """See `frames.Batch.records`."""
    count: int
    size: int
    watermark: common_pb2.Watermark | None = None
    batch_id: str = ""
    trace: Trace = ()
    _records: list[common_pb2.Record] | None = field(default=None, repr=False)

    @property
    def records(self) -> list[common_pb2.Record]:
        """The records as objects."""
        if self._records is None:
            self._records = list(common_pb2.RecordBatch.FromString(b"".join(self.bodies)).records)
        return self._records

    def batch(self) -> common_pb2.RecordBatch:
        """The batch of a call as an object."""
        return common_pb2.RecordBatch(batch_id=self.batch_id, records=self.records, watermark=self.watermark)

    def unpacked(self) -> Chunk:
        """The same with objects."""
        tallies = [tally for cohort in self.cohorts for tally in cohort.tallies()]
        return Chunk(self.key, self.records, tallies, self.size, self.watermark, self.batch_id, self.trace)

    def absorb(self, more: Packed) -> None:
        """Put what follows behind this."""
        self.cohorts += more.cohorts
        self.heads += more.heads
        self.bodies += more.bodies
        self.count += more.count
        self.size += more.size
        self.watermark = more.watermark or self.watermark
        self._records = None

    def transformed(self, bodies: list[bytes | memoryview]) -> Packed:
        """The same with other bytes, and the same ids in them."""
        return replace(self, bodies=bodies, size=sum(map(len, bodies)), _records=None)

    def finish(self) -> None:
        """All records are done."""
        for cohort in self.cohorts:
            cohort.finish()


@dataclass(frozen=True, slots=True)
class Passed:
    """A service treated all records of a `Packed` alike: written, or one output for each."""

    outputs: Packed | None = None
    """Of a transform."""
