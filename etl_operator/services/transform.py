"""Transforms: a router sends them batches; their response has a result for each record."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from etl_operator.router.pb import transform_pb2
from etl_operator.router.pb.common_pb2 import Empty, Record, RecordId
from etl_operator.services.errors import Unavailable
from etl_operator.services.handling import handlers
from etl_operator.services.service import Service
from etl_operator.services.working import Worker

log = logging.getLogger(__name__)

Made = Record | Iterable[Record] | None
"""Output of ``process`` for a record: one record, several, or none, which filters it."""

_STATUS = transform_pb2.TransformStatus
_RESULTS = {
    _STATUS.TRANSFORM_STATUS_SUCCESS: "success",
    _STATUS.TRANSFORM_STATUS_FILTERED: "filtered",
    _STATUS.TRANSFORM_STATUS_ERROR: "error",
    _STATUS.TRANSFORM_STATUS_SPLIT: "split",
}
_STREAM_CAPACITY = 1_000


class Transform(Service):
    """Base of transforms: override :meth:`process`."""

    kind = "transform"
    max_batch_size = 0
    """Maximum records in a batch; 0 means no limit."""
    max_concurrent_batches = 1
    """Maximum batches at the same time. If above 1, ``process`` runs in several threads."""
    record_types: Sequence[str] = ()
    """Shown in the capabilities; the router does not filter by them."""

    def __init__(self) -> None:
        super().__init__()
        self._worker: Worker | None = None

    def process(self, record: Record) -> Made | Awaitable[Made]:
        """Process a record. Can be ``async``; otherwise it runs in a thread and can block.

        It can change and return the record. Output without an id gets the id of the input. If there are
        several outputs, each gets its own idempotency key, so that a sink can distinguish them.

        If it raises an exception, only this record fails: the router retries it, and then makes it a dead
        letter.

        :raises Unavailable: a dependency does not answer; the router sends the batch again until it does.
        """
        raise NotImplementedError

    @property
    def _work(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(self.max_concurrent_batches)
        return self._worker

    async def _results(self, records: Sequence[Record]) -> list[transform_pb2.TransformResult]:
        """One result for each record.

        :raises Unavailable: see :meth:`process`.
        """
        began = time.perf_counter()
        with self.metrics.flying(len(records)):
            if inspect.iscoroutinefunction(self.process):
                results = await self._work.run(self._batch_async, records)
            else:
                results = await self._work.run(self._batch, records)
        self.metrics.batch_seconds.observe(time.perf_counter() - began)
        self._count(results)
        return list(results)

    def _batch(self, records: Sequence[Record]) -> list[transform_pb2.TransformResult]:
        results = []
        for record in records:
            original = _copy(record.id)
            try:
                results.append(_result(original, self.process(record)))
            except Unavailable:
                raise
            except Exception as error:
                results.append(_failed(original, error))
        return results

    async def _batch_async(self, records: Sequence[Record]) -> list[transform_pb2.TransformResult]:
        results = []
        for record in records:
            original = _copy(record.id)
            try:
                made: Any = self.process(record)
                results.append(_result(original, await made))
            except Unavailable:
                raise
            except Exception as error:
                results.append(_failed(original, error))
        return results

    def _count(self, results: Sequence[transform_pb2.TransformResult]) -> None:
        failed = [one for one in results if one.status == _STATUS.TRANSFORM_STATUS_ERROR]
        if failed:
            log.warning(
                "%d of %d records failed; first error: %s",
                len(failed),
                len(results),
                failed[0].error_message,
            )
        for status, name in _RESULTS.items():
            number = sum(one.status == status for one in results)
            if number:
                self.metrics.records.labels(name).inc(number)

    def _handlers(self) -> Sequence[grpc.GenericRpcHandler[Any, Any]]:
        return [handlers(transform_pb2.DESCRIPTOR, "TransformService", _Servicer(self))]

    async def _finish(self) -> None:
        await self._work.idle()


class _Servicer:
    """``etl.transform.TransformService``."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    async def ProcessBatch(
        self, request: transform_pb2.ProcessBatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> transform_pb2.ProcessBatchResponse:
        batch = request.input_batch
        try:
            results = await self._transform._results(batch.records)
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return transform_pb2.ProcessBatchResponse(batch_id=batch.batch_id, results=results)

    async def ProcessStream(
        self,
        requests: AsyncIterator[transform_pb2.ProcessStreamRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[transform_pb2.ProcessStreamResponse]:
        """Record by record, answered in order: slow, for routers that do not call ``ProcessBatch``."""
        answer, done, stream = transform_pb2.ProcessStreamResponse, 0, ""
        async for request in requests:
            kind = request.WhichOneof("msg")
            if kind == "init":
                stream = request.init.stream_id
                ready = transform_pb2.StreamReady(stream_id=stream, buffer_capacity=_STREAM_CAPACITY)
                yield answer(ready=ready)
            elif kind == "record":
                try:
                    (result,) = await self._transform._results([request.record])
                except Unavailable as error:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
                done += 1
                yield answer(result=result)
            elif kind == "flush":
                completed = transform_pb2.StreamCompleted(stream_id=stream, records_processed=done)
                yield answer(completed=completed)

    async def GetCapabilities(
        self, _: Empty, context: grpc.aio.ServicerContext[Any, Any]
    ) -> transform_pb2.Capabilities:
        transform = self._transform
        return transform_pb2.Capabilities(
            supported_record_types=transform.record_types,
            supports_streaming=True,
            max_batch_size=transform.max_batch_size,
            max_concurrent_batches=transform.max_concurrent_batches,
        )


def _copy(record_id: RecordId) -> RecordId:
    copy = RecordId()
    copy.CopyFrom(record_id)
    return copy


def _record(record: Record) -> Record:
    copy = Record()
    copy.CopyFrom(record)
    return copy


def _result(original: RecordId, made: Any) -> transform_pb2.TransformResult:
    if made is None:
        outputs = []
    elif isinstance(made, Record):
        outputs = [made]
    else:
        outputs = list(made)
    for output in outputs:
        if not isinstance(output, Record):
            raise TypeError(
                f"process returned {type(output).__name__}; it must return a Record, Records or None"
            )
    if len({id(output) for output in outputs}) != len(outputs):
        # The same object twice: each gets an id of its own below.
        outputs = [_record(output) for output in outputs]
    for number, output in enumerate(outputs):
        if not output.HasField("id"):
            output.id.CopyFrom(original)
        if len(outputs) > 1 and output.id == original:
            output.id.idempotency_key = original.idempotency_key + b"#%d" % number
    status = _STATUS.TRANSFORM_STATUS_SPLIT
    if len(outputs) < 2:
        status = _STATUS.TRANSFORM_STATUS_SUCCESS if outputs else _STATUS.TRANSFORM_STATUS_FILTERED
    return transform_pb2.TransformResult(original_id=original, status=status, output_records=outputs)


def _failed(original: RecordId, error: Exception) -> transform_pb2.TransformResult:
    text = str(error)
    return transform_pb2.TransformResult(
        original_id=original,
        status=_STATUS.TRANSFORM_STATUS_ERROR,
        error_message=text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}",
    )
