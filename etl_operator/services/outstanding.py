"""Batches of a source that the router has not acknowledged yet. Pure: no clock, no I/O.

The router answers a batch once: with an acknowledgement that lists every record, or by ending the stream.
Records without an acknowledgement when a stream ends are sent again on the next one, in the same order.
Backpressure never means that a batch was dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from etl_operator.router.pb.common_pb2 import Record, RecordBatch, RecordId
from etl_operator.router.pb.source_pb2 import (
    ACK_STATUS_ACCEPTED,
    ACK_STATUS_DUPLICATE,
    ACK_STATUS_REJECTED,
    BackpressureSignal,
    BatchAck,
    CreditGrant,
)

Identity = tuple[int, int, bytes]
"""Identifies a record within its source: partition, sequence number, idempotency key."""

_SHORTEST_GRANT = 1.0
"""Minimum seconds of a grant: the clock of a router can differ by more than that time."""


def identity_of(record_id: RecordId) -> Identity:
    """The identity of a record within its source."""
    return (record_id.partition, record_id.sequence_number, record_id.idempotency_key)


@dataclass(slots=True)
class Answer:
    """The result of an acknowledgement."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[tuple[Record, str]] = field(default_factory=list)
    fault: str = ""
    """How the acknowledgement violates the protocol; the stream must then be ended."""


@dataclass(slots=True)
class _Sent:
    message: RecordBatch
    open: dict[Identity, Record]
    """Records without an answer."""
    on_stream: bool = False

    def again(self) -> None:
        """Send the records without an acknowledgement again, on another stream."""
        self.on_stream = False
        if len(self.open) != len(self.message.records):
            self.message = RecordBatch(batch_id=self.message.batch_id, records=self.open.values())


class Outstanding:
    """The batches of one source without an acknowledgement.

    :param window: number of batches at which it is :attr:`full`.
    """

    def __init__(self, window: int = 8) -> None:
        self._window = window
        self._batches: dict[str, _Sent] = {}
        self._paused_until = -math.inf
        self._credits: int | None = None
        self._expires = math.inf
        self._recommended = 0

    def __len__(self) -> int:
        """Batches."""
        return len(self._batches)

    @property
    def records(self) -> int:
        """Records without an answer."""
        return sum(len(batch.open) for batch in self._batches.values())

    @property
    def full(self) -> bool:
        """No batch may be offered before one is acknowledged."""
        return len(self._batches) >= self._window

    @property
    def recommended(self) -> int:
        """Number of records in a batch that the router recommends; 0 if it recommends none."""
        return self._recommended

    def paused(self, now: float) -> bool:
        """Whether the router has asked to pause."""
        return now < self._paused_until

    def offer(self, batch_id: str, records: Sequence[Record]) -> None:
        """Add a batch, to be sent after all others.

        :raises ValueError: the batch has no records, an id that is in use, or a record twice.
        """
        known = {identity_of(record.id): record for record in records}
        if not records or batch_id in self._batches or len(known) != len(records):
            raise ValueError(f"batch {batch_id!r} is empty, already exists, or has a record twice")
        message = RecordBatch(batch_id=batch_id, records=records)
        self._batches[batch_id] = _Sent(message, known)

    def opened(self) -> None:
        """A stream has been opened: all records without an acknowledgement are sent on it."""
        for batch in self._batches.values():
            batch.again()
        self._paused_until = -math.inf
        self._credits, self._expires, self._recommended = None, math.inf, 0

    def next(self, now: float) -> RecordBatch | None:
        """The batch to send now, which then counts as sent; ``None`` if there is none.

        :param now: seconds on any clock, the same for all methods.
        """
        if self.paused(now) or self.asks(now):
            return None
        for batch in self._batches.values():
            if not batch.on_stream:
                batch.on_stream = True
                if self._credits is not None:
                    self._credits = max(0, self._credits - len(batch.message.records))
                return batch.message
        return None

    def waiting(self) -> bool:
        """Whether there is a batch that has not been sent on this stream."""
        return any(not batch.on_stream for batch in self._batches.values())

    def asks(self, now: float) -> bool:
        """Whether the credits are used up or have expired, so that the source must ask for new ones."""
        return self._credits is not None and (self._credits <= 0 or now >= self._expires)

    def wakes(self, now: float) -> float | None:
        """Seconds until a pause ends by itself; ``None`` if there is no such pause."""
        return self._paused_until - now if now < self._paused_until < math.inf else None

    def granted(self, grant: CreditGrant, now: float, lasts: float) -> None:
        """Replace the credits by those of a grant.

        :param lasts: seconds until it expires, by the clock of this machine.
        """
        self._credits = grant.credits
        self._expires = now + max(lasts, _SHORTEST_GRANT)

    def pressed(self, signal: BackpressureSignal, now: float) -> None:
        """The router asks to pause, for a time or until its next signal, or to continue."""
        self._recommended = signal.recommended_batch_size
        wait = signal.resume_after_ms / 1000 if signal.resume_after_ms else math.inf
        self._paused_until = now + wait if signal.pause else -math.inf

    def answered(self, ack: BatchAck) -> Answer:
        """Handle an acknowledgement. It is ignored if the batch is not known, as when it comes twice."""
        answer = Answer()
        batch = self._batches.get(ack.batch_id)
        if batch is None or not batch.on_stream:
            return answer
        for one in ack.record_acks:
            key = identity_of(one.record_id)
            if key not in batch.open:
                continue
            if one.status == ACK_STATUS_ACCEPTED:
                answer.accepted += 1
            elif one.status == ACK_STATUS_DUPLICATE:
                answer.duplicates += 1
            elif one.status == ACK_STATUS_REJECTED:
                answer.rejected.append((batch.open[key], one.error_message))
            else:
                continue
            del batch.open[key]
        if batch.open:
            answer.fault = (
                f"the acknowledgement of batch {ack.batch_id} lacks {len(batch.open)} of "
                f"{len(batch.message.records)} records"
            )
        else:
            del self._batches[ack.batch_id]
        return answer


def split(records: Iterable[Record], most: int, most_bytes: int) -> Iterable[list[Record]]:
    """Split records into lists of limited length and size; a larger record has a list of its own."""
    part: list[Record] = []
    size = 0
    for record in records:
        length = record.ByteSize()
        if part and (len(part) >= most or size + length > most_bytes):
            yield part
            part, size = [], 0
        part.append(record)
        size += length
    if part:
        yield part
