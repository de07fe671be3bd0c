from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_operator.node.data.policy import (
    BatchRefused,
    Failure,
    ProtocolFault,
    Result,
    failure_of,
    sink_results,
    transform_results,
    wait_before,
)
from etl_operator.router.pb import common_pb2, sink_pb2, transform_pb2
from tests.node.data.made import record

RECORDS = [record(n) for n in (1, 2, 3)]
S, T = sink_pb2, transform_pb2


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_has_a_meaning(code: str) -> None:
    away = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED", "CANCELLED"}
    broken = {"UNIMPLEMENTED", "PERMISSION_DENIED", "UNAUTHENTICATED"}
    wanted = Failure.AWAY if code in away else Failure.BROKEN if code in broken else Failure.REFUSED
    assert failure_of(code, "") is wanted


def test_a_message_that_is_too_large_is_halved() -> None:
    details = "SERVER: Received message larger than max (5000000 vs. 4194304)"
    assert failure_of("RESOURCE_EXHAUSTED", details) is Failure.REFUSED


def test_an_answer_that_grpc_lost_counts_against_no_record() -> None:
    assert failure_of("INTERNAL", "Internal error from Core") is Failure.AWAY


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_pauses_grow_up_to_a_limit(attempt: int, chance: float) -> None:
    assert 0.05 <= wait_before(attempt, 0.1, 30.0, chance) <= 30.0
    assert wait_before(attempt, 0.1, 30.0, 1.0) == min(0.1 * 2 ** min(attempt - 1, 30), 30.0)


def result(
    number: int, status: transform_pb2.TransformStatus, *outputs: common_pb2.Record, error: str = ""
) -> T.TransformResult:
    return T.TransformResult(
        original_id=RECORDS[number].id, status=status, output_records=outputs, error_message=error
    )


def test_results_of_a_transform_in_any_order() -> None:
    answer = T.ProcessBatchResponse(
        results=[
            result(2, T.TRANSFORM_STATUS_ERROR, error="bad"),
            result(0, T.TRANSFORM_STATUS_SUCCESS, record(9)),
            result(1, T.TRANSFORM_STATUS_FILTERED),
        ]
    )
    one, two, three = transform_results(RECORDS, answer)
    assert one == Result([record(9)])
    assert two == Result()
    assert (three.error, three.final, three.outputs) == ("bad", False, [])


def test_an_input_without_a_result_failed_and_a_result_without_an_input_is_a_fault() -> None:
    answer = T.ProcessBatchResponse(results=[result(0, T.TRANSFORM_STATUS_SUCCESS)])
    assert [bool(each.error) for each in transform_results(RECORDS, answer)] == [False, True, True]
    answer.results.add(original_id=record(77).id, status=T.TRANSFORM_STATUS_SUCCESS)
    with pytest.raises(ProtocolFault, match="src/0/77"):
        transform_results(RECORDS, answer)
    again = T.ProcessBatchResponse(results=[result(0, T.TRANSFORM_STATUS_SUCCESS)] * 2)
    with pytest.raises(ProtocolFault):
        transform_results(RECORDS, again)


def test_children_without_an_id_get_the_parents_and_a_key_of_their_own() -> None:
    parent = record(1)
    parent.id.idempotency_key = b"key"
    other = record(5)
    answer = T.ProcessBatchResponse(
        results=[
            T.TransformResult(
                original_id=parent.id,
                status=T.TRANSFORM_STATUS_SPLIT,
                output_records=[common_pb2.Record(payload=b"a"), other, common_pb2.Record(payload=b"c")],
            )
        ]
    )
    (found,) = transform_results([parent], answer)
    assert [child.id.idempotency_key for child in found.outputs] == [b"key#0", b"", b"key#2"]
    assert [child.id.sequence_number for child in found.outputs] == [1, 5, 1]
    parent.id.ClearField("idempotency_key")
    answer.results[0].original_id.CopyFrom(parent.id)
    answer.results[0].output_records[0].Clear()
    (found,) = transform_results([parent], answer)
    assert found.outputs[0].id.idempotency_key == b"src/0/1#0"


def test_equal_ids_in_one_call_are_answered_in_order() -> None:
    twins = [record(0), record(0)]
    answer = S.WriteBatchResponse(
        status=S.WRITE_STATUS_PARTIAL,
        results=[
            S.RecordWriteResult(record_id=twins[0].id, success=True),
            S.RecordWriteResult(record_id=twins[0].id, success=False, error="full", retryable=True),
        ],
    )
    assert [each.error for each in sink_results(twins, answer).results] == ["", "full"]


def written(status: sink_pb2.WriteStatus, *results: tuple[int, bool, bool]) -> sink_pb2.WriteBatchResponse:
    listed = [
        S.RecordWriteResult(record_id=RECORDS[number].id, success=success, retryable=retryable)
        for number, success, retryable in results
    ]
    return S.WriteBatchResponse(status=status, results=listed)


@pytest.mark.parametrize(
    ("answer", "failed", "final", "durable"),
    [
        (written(S.WRITE_STATUS_SUCCESS), [], [], True),
        (written(S.WRITE_STATUS_PENDING), [], [], False),
        (written(S.WRITE_STATUS_SUCCESS, (1, False, True)), [1], [], True),
        (written(S.WRITE_STATUS_SUCCESS, (1, False, False)), [1], [1], True),
        (written(S.WRITE_STATUS_PARTIAL, (1, True, False)), [0, 2], [], True),
        (written(S.WRITE_STATUS_PARTIAL), [0, 1, 2], [], True),
        (written(S.WRITE_STATUS_FAILED, (2, True, False)), [0, 1], [], True),
        (written(S.WRITE_STATUS_UNSPECIFIED, (0, True, False), (1, True, False)), [2], [], True),
    ],
)
def test_results_of_a_sink(
    answer: sink_pb2.WriteBatchResponse, failed: list[int], final: list[int], durable: bool
) -> None:
    found = sink_results(RECORDS, answer)
    assert [n for n, each in enumerate(found.results) if each.error] == failed
    assert [n for n, each in enumerate(found.results) if each.final] == final
    assert found.durable is durable


@pytest.mark.parametrize("status", [S.WRITE_STATUS_FAILED, S.WRITE_STATUS_UNSPECIFIED])
def test_a_batch_that_failed_as_a_whole_is_refused_until_one_record_is_left(
    status: sink_pb2.WriteStatus,
) -> None:
    with pytest.raises(BatchRefused):
        sink_results(RECORDS, written(status))
    (alone,) = sink_results(RECORDS[:1], written(status)).results
    assert alone.error
    assert not alone.final
