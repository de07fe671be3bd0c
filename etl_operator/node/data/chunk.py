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
    """What is left of whole batches of one partition, in order, as bytes: one cohort for each, and a group of
    heads.

    Where records fail it becomes a `Chunk`.
    """

    key: Key
    cohorts: list[Cohort]
    heads: list[Sequence[bytes]]
    """Ids of the records by batch, see `frames.Batch.heads`."""
    places: list[Sequence[int]]
    """Numbers of these records in their cohort. A transform filtered the others: they end with the cohort."""
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
        """The same with objects. What was filtered ends here."""
        tallies = []
        for cohort, places in zip(self.cohorts, self.places, strict=True):
            left = set(places)
            for place, tally in enumerate(cohort.tallies()):
                if place in left:
                    tallies.append(tally)
                else:
                    tally.finish()
        return Chunk(self.key, self.records, tallies, self.size, self.watermark, self.batch_id, self.trace)

    def absorb(self, more: Packed) -> None:
        """Put what follows behind this."""
        self.cohorts += more.cohorts
        self.heads += more.heads
        self.places += more.places
        self.bodies += more.bodies
        self.count += more.count
        self.size += more.size
        self.watermark = more.watermark or self.watermark
        self._records = None

    def transformed(self, records: bytes, kept: Sequence[Sequence[int]]) -> Passed:
        """What a transform made of it.

        :param records: as in ``bodies``, with the same ids.
        :param kept: by batch, numbers of the records in it that have an output.
        """
        cohorts, heads, places, ended, numbers, before = [], [], [], [], list[int](), 0
        groups = zip(self.cohorts, self.heads, self.places, kept, strict=True)
        for cohort, some_heads, some_places, left in groups:
            numbers += [before + number for number in left]
            before += len(some_heads)
            if len(left) < len(some_heads):
                some_heads = [some_heads[number] for number in left]
                some_places = [some_places[number] for number in left]
            if not some_heads:
                ended.append(cohort)
                continue
            cohorts.append(cohort)
            heads.append(some_heads)
            places.append(some_places)
        outputs = replace(
            self,
            cohorts=cohorts,
            heads=heads,
            places=places,
            bodies=[records],
            count=len(numbers),
            size=len(records),
            _records=None,
        )
        return Passed(outputs, numbers, ended)

    def finish(self) -> None:
        """All records are done."""
        for cohort in self.cohorts:
            cohort.finish()


@dataclass(frozen=True, slots=True)
class Passed:
    """No record of a `Packed` failed: a sink has written all, or a transform has passed or filtered each."""

    outputs: Packed | None = None
    """Of a transform: one for each record that it did not filter."""
    numbers: Sequence[int] = ()
    """Of these records in the `Packed`."""
    ended: Sequence[Cohort] = ()
    """Batches of which nothing is left."""
