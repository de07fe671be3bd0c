"""What a call's end means for the records in it. Pure.

An outage is not a bad record: where nobody answered, the same records are sent again, for ever and uncounted.
Only an answer that refuses counts, and only against a record that was refused by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from etl_operator.router.pb import common_pb2, sink_pb2, transform_pb2
from etl_operator.router.statuses import is_lost

FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0
"""Seconds between two calls that nobody answered; doubles from one to the other."""
BROKEN_WAIT = 5.0
"""Seconds before a stage that cannot be called at all is tried again; doubles up to `LONGEST_WAIT`."""


class Failure(Enum):
    """Why a call as a whole failed."""

    AWAY = "away"
    """Nobody answered: send the same again, uncounted."""
    BROKEN = "broken"
    """The stage cannot do this: try again slowly, uncounted, and show it."""
    REFUSED = "refused"
    """Some record in it may be bad: halve, down to one record, and count that."""


_AWAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "CANCELLED"})
_BROKEN = frozenset({"UNIMPLEMENTED", "PERMISSION_DENIED", "UNAUTHENTICATED"})
_TOO_LARGE = "larger than max"
"""What gRPC says, with RESOURCE_EXHAUSTED, of a message that exceeds a limit of the peer's."""


def failure_of(code: str, details: str) -> Failure:
    """What a gRPC status other than OK means.

    :param code: name of the status code.
    """
    if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:
        return Failure.REFUSED
    if code in _AWAY or is_lost(code, details):
        return Failure.AWAY
    return Failure.BROKEN if code in _BROKEN else Failure.REFUSED


def wait_before(attempt: int, first: float, longest: float, chance: float) -> float:
    """Seconds before the next call.

    :param attempt: calls that failed so far, from 1.
    :param chance: 0 to 1; half of the pause is jitter.
    """
    pause = min(first * float(2 ** min(attempt - 1, 30)), longest)
    return pause * (0.5 + chance / 2)


@dataclass(slots=True)
class Result:
    """What an answer says about one record."""

    outputs: list[common_pb2.Record] = field(default_factory=list)
    """From a transform."""
    error: str = ""
    """Why it failed; empty if it did not."""
    code: str = ""
    final: bool = False
    """It failed, and trying again is of no use."""


class ProtocolFault(Exception):
    """An answer that does not fit the call: the stage is broken."""


class BatchRefused(Exception):
    """The answer refuses the batch and does not say which record: treated as a call that was refused."""


_Key = tuple[str, int, int, bytes]


class _Inputs:
    """Finds records by id. The same id twice in a batch: results are taken in order."""

    def __init__(self, records: list[common_pb2.Record]) -> None:
        self._exact: dict[_Key, list[int]] = {}
        self._loose: dict[tuple[str, int, int], list[int]] = {}
        self._taken: set[int] = set()
        for number, record in enumerate(records):
            key = _key(record.id)
            self._exact.setdefault(key, []).append(number)
            self._loose.setdefault(key[:3], []).append(number)

    def take(self, record_id: common_pb2.RecordId) -> int | None:
        """The number of the first record of this id that is not taken yet.

        An answer may leave the idempotency key out.
        """
        key = _key(record_id)
        places = self._exact.get(key)
        if places is None and not key[3]:
            places = self._loose.get(key[:3])
        for number in places or ():
            if number not in self._taken:
                self._taken.add(number)
                return number
        return None


def _key(record_id: common_pb2.RecordId) -> _Key:
    return (
        record_id.source_id,
        record_id.partition,
        record_id.sequence_number,
        record_id.idempotency_key,
    )


def transform_results(
    records: list[common_pb2.Record], answer: transform_pb2.ProcessBatchResponse
) -> list[Result]:
    """One result per record, in the order of the records.

    :raises ProtocolFault: a result names no record of the call.
    """
    inputs = _Inputs(records)
    found: list[Result | None] = [None] * len(records)
    for each in answer.results:
        number = inputs.take(each.original_id)
        if number is None:
            raise ProtocolFault(
                f"a result has the ID {_shown(each.original_id)}, which no record of the call has"
            )
        found[number] = _transformed(records[number], each)
    missing = Result(error="the transform returned no result for the record", code="TRANSFORM_FAILED")
    return [missing if result is None else result for result in found]


def _transformed(record: common_pb2.Record, result: transform_pb2.TransformResult) -> Result:
    status = result.status
    if status == transform_pb2.TRANSFORM_STATUS_FILTERED:
        return Result()
    if status in (transform_pb2.TRANSFORM_STATUS_SUCCESS, transform_pb2.TRANSFORM_STATUS_SPLIT):
        outputs = list(result.output_records)
        for k, output in enumerate(outputs):
            if not output.HasField("id"):
                output.id.CopyFrom(record.id)
                if len(outputs) > 1 or status == transform_pb2.TRANSFORM_STATUS_SPLIT:
                    output.id.idempotency_key = _child_key(record.id, k)
        return Result(outputs)
    return Result(error=result.error_message or "the transform gave no reason", code="TRANSFORM_FAILED")


def _child_key(parent: common_pb2.RecordId, k: int) -> bytes:
    """The parent's key and the child's number. Without a key the id stands for it: keys must differ."""
    return (parent.idempotency_key or _shown(parent).encode()) + b"#%d" % k


def _shown(record_id: common_pb2.RecordId) -> str:
    return f"{record_id.source_id}/{record_id.partition}/{record_id.sequence_number}"


@dataclass(slots=True)
class Written:
    """What a sink says."""

    results: list[Result]
    """One per record, in the order of the records."""
    durable: bool
    """False: taken, but only `Flush` makes it last."""


def sink_results(records: list[common_pb2.Record], answer: sink_pb2.WriteBatchResponse) -> Written:
    """What became of each record. Results win over the status; the status speaks for the others.

    :raises BatchRefused: the batch failed as a whole, and it has more than one record.
    """
    status = answer.status
    taken = status in (sink_pb2.WRITE_STATUS_SUCCESS, sink_pb2.WRITE_STATUS_PENDING)
    if not taken and not answer.results and len(records) > 1 and status != sink_pb2.WRITE_STATUS_PARTIAL:
        raise BatchRefused("the sink failed the batch and returned no results")
    durable = status != sink_pb2.WRITE_STATUS_PENDING
    if taken and not answer.results:
        return Written([Result()] * len(records), durable)
    found: list[Result | None] = [None] * len(records)
    inputs = _Inputs(records)
    for each in answer.results:
        number = inputs.take(each.record_id)
        if number is not None:
            found[number] = Result() if each.success else _refused(each)
    silent = (
        Result() if taken else Result(error="the sink returned no result for the record", code="SINK_FAILED")
    )
    return Written([silent if result is None else result for result in found], durable)


def _refused(result: sink_pb2.RecordWriteResult) -> Result:
    return Result(
        error=result.error or "the sink gave no reason", code="SINK_FAILED", final=not result.retryable
    )
