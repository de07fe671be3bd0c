"""Calls of transforms and sinks: who is called, for how long, and what happens when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message

from etl_operator.node.data import streaming
from etl_operator.node.data.balance import Balancer, Endpoint, Key, selects, usable
from etl_operator.node.data.chunk import Packed, Passed, Trace
from etl_operator.node.data.connections import Connections, Place
from etl_operator.node.data.frames import all_transformed, all_written, call, nested
from etl_operator.node.data.graph import Kind, Stage
from etl_operator.node.data.policy import (
    BROKEN_WAIT,
    FIRST_WAIT,
    LONGEST_WAIT,
    BatchRefused,
    Failure,
    ProtocolFault,
    Result,
    failure_of,
    sink_results,
    transform_results,
    wait_before,
)
from etl_operator.node.data.stats import StageStats
from etl_operator.node.data.view import Service
from etl_operator.router.pb import common_pb2, sink_pb2, sink_pb2_grpc, transform_pb2, transform_pb2_grpc
from etl_operator.tls.files import TlsError

log = logging.getLogger(__name__)

_TYPES = {Kind.TRANSFORM: common_pb2.SERVICE_TYPE_TRANSFORM, Kind.SINK: common_pb2.SERVICE_TYPE_SINK}
_FAILED = {Kind.TRANSFORM: "TRANSFORM_FAILED", Kind.SINK: "SINK_FAILED"}
"""Code of a record's failure, by the stage's kind."""
_PROCESS, _WRITE = "/etl.transform.TransformService/ProcessBatch", "/etl.sink.SinkService/WriteBatch"


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times and sizes of calls."""

    deadline: float = 30.0
    """Seconds of a call."""
    first_wait: float = FIRST_WAIT
    longest_wait: float = LONGEST_WAIT
    broken_wait: float = BROKEN_WAIT
    most_records: int = 1000
    """Records of a call."""
    most_bytes: int = 2 * 2**20
    """Bytes of records in a call; a larger record goes by itself."""
    message_bytes: int = 64 * 2**20
    """Largest message, both ways."""
    service_tls: str = ""
    """Directory with one directory for each Secret that services name; empty for none."""


class Refused(Exception):
    """The service answered, and took none of the records."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class TooMany(Exception):
    """The service takes fewer records in a call."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


@dataclass(frozen=True, slots=True)
class Parcel:
    """What goes into one call."""

    key: Key
    records: list[common_pb2.Record]
    watermark: common_pb2.Watermark | None
    batch_id: str
    trace: Trace

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.records)

    def batch(self) -> common_pb2.RecordBatch:
        """The batch of the call."""
        return common_pb2.RecordBatch(batch_id=self.batch_id, records=self.records, watermark=self.watermark)


class Services:
    """The services that can be called, and their connections.

    :param chance: for jitter and weighted choices.
    :param monotonic: seconds.
    """

    def __init__(
        self,
        tuning: Tuning,
        chance: random.Random | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tuning = tuning
        self._monotonic = monotonic
        self._chance = chance or random.Random()  # noqa: S311 - jitter
        self.outstanding: Counter[str] = Counter()
        """Records in calls, by id of the service; also of one that is registered no longer."""
        self._endpoints: dict[tuple[str, Place], Endpoint] = {}
        self._connections = Connections(tuning.service_tls, tuning.message_bytes, tuning.deadline, monotonic)
        self._behind: dict[int, tuple[Stage, list[Endpoint]]] = {}
        """What `behind` found, by identity of the stage."""
        self._changed = asyncio.Event()

    def update(self, services: Iterable[Service]) -> None:
        """These, and no others, exist now."""
        found: dict[tuple[str, Place], Endpoint] = {}
        for service in services:
            place = Place.of(service)
            endpoint = self._endpoints.get((service.service_id, place)) or Endpoint(service)
            endpoint.service = service
            found[service.service_id, place] = endpoint
        self._endpoints = found
        self._behind.clear()
        self._connections.keep(place for _, place in found)
        self.wake()

    def services(self) -> list[Service]:
        """All of them."""
        return [endpoint.service for endpoint in self._endpoints.values()]

    def behind(self, stage: Stage) -> list[Endpoint]:
        """Those behind a stage that may be called."""
        known = self._behind.get(id(stage))
        if known is None or known[0] is not stage:
            kind = _TYPES[stage.kind]
            every = self._endpoints.values()
            found = usable(one for one in every if selects(stage.selector, one.service, kind))
            known = self._behind[id(stage)] = (stage, found)
        return known[1]

    def wake(self) -> None:
        """Let all who wait for a service look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def balancer(self, stage: Stage) -> Balancer:
        """The strategy of a stage."""
        return Balancer(stage.selector.balance, self._chance)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    # Calls.

    async def process(
        self, stage: Stage, parcel: Parcel | Packed, balancer: Balancer, stats: StageStats
    ) -> list[Result] | Passed:
        """Have a stage's service process records; waits until one answers.

        :returns: one result per record, in their order; or, only for `Packed`, that none of them failed.
        :raises Refused: a service answered and took none of them.
        :raises TooMany: the service that would be called takes fewer.
        """
        while True:
            endpoint = await self._free(stage, parcel.key, balancer)
            service, count = endpoint.service.service_id, parcel.count
            endpoint.outstanding += 1
            self.outstanding[service] += count
            try:
                results = await self._attempt(stage, parcel, endpoint, stats)
            finally:
                endpoint.outstanding -= 1
                self.outstanding[service] -= count
                if not self.outstanding[service]:
                    del self.outstanding[service]
                if endpoint.is_full or endpoint.service.most_calls or endpoint.most_batches:
                    self.wake()
            if results is not None:
                endpoint.failures = 0
                stats.broken = ""
                return results

    async def _free(self, stage: Stage, key: Key, balancer: Balancer) -> Endpoint:
        """A service that takes a call now."""
        while True:
            changed, now = self._changed, self._monotonic()
            endpoints = self.behind(stage)
            endpoint = balancer.pick(endpoints, key, now)
            if endpoint is not None:
                return endpoint
            pauses = [one.paused_until - now for one in endpoints if one.paused_until > now]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pauses, default=None)):
                    await changed.wait()

    async def _attempt(
        self, stage: Stage, parcel: Parcel | Packed, endpoint: Endpoint, stats: StageStats
    ) -> list[Result] | Passed | None:
        """One call. None: nobody answered, or not in a way that can be used; the service pauses."""
        began = self._monotonic()
        try:
            if stage.kind is Kind.TRANSFORM:
                await self._ask_capabilities(endpoint)
            if endpoint.most_records and parcel.count > endpoint.most_records:
                raise TooMany(endpoint.most_records)
            results: list[Result] | Passed
            if stage.kind is Kind.TRANSFORM:
                results = await self._transform(stage, parcel, endpoint)
            else:
                results = await self._write(stage, parcel, endpoint)
                endpoint.most_records = 0
        except grpc.aio.AioRpcError as error:
            self._failed(stage, endpoint, stats, error.code().name, error.details() or "")
            if stage.kind is Kind.SINK and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                endpoint.most_records = await self._capacity(endpoint)
            return None
        except DecodeError as error:
            # As gRPC says it of an answer that it cannot parse.
            self._failed(stage, endpoint, stats, "INTERNAL", f"the answer cannot be parsed: {error}")
            return None
        except TlsError as error:
            self._pause(endpoint, Failure.BROKEN)
            stats.broke(f"service {endpoint.service.service_id}: {error}")
            return None
        except ProtocolFault as fault:
            self._pause(endpoint, Failure.BROKEN)
            stats.broke(f"service {endpoint.service.service_id}: invalid answer: {fault}")
            return None
        except BatchRefused as refused:
            stats.answered(self._monotonic() - began)
            raise Refused("SINK_FAILED", str(refused)) from None
        stats.answered(self._monotonic() - began)
        return results

    def _failed(self, stage: Stage, endpoint: Endpoint, stats: StageStats, code: str, details: str) -> None:
        """Let the service pause.

        :raises Refused: it answered.
        """
        failure = failure_of(code, details)
        if failure is Failure.REFUSED:
            endpoint.failures = 0
            raise Refused(_FAILED[stage.kind], details or code)
        self._pause(endpoint, failure)
        stats.unanswered += 1
        if failure is Failure.BROKEN:
            stats.broke(f"service {endpoint.service.service_id} answered {code}: {details}")

    def _pause(self, endpoint: Endpoint, failure: Failure) -> None:
        endpoint.failures += 1
        endpoint.asked = False
        first = self.tuning.broken_wait if failure is Failure.BROKEN else self.tuning.first_wait
        pause = wait_before(endpoint.failures, first, self.tuning.longest_wait, self._chance.random())
        endpoint.paused_until = self._monotonic() + pause

    async def _transform(
        self, stage: Stage, parcel: Parcel | Packed, endpoint: Endpoint
    ) -> list[Result] | Passed:
        rest = transform_pb2.ProcessBatchRequest(transform_config=stage.config)
        body = _request(stage.stage_id, parcel, rest)
        try:
            answer = await self._exchange(endpoint.service, _PROCESS, body, parcel.trace)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED or not endpoint.streams:
                raise
            stub = transform_pb2_grpc.TransformServiceStub(self._channel(endpoint.service))  # type: ignore[no-untyped-call]
            opening = self._opening(stub.ProcessStream, parcel.trace)
            return await streaming.process(opening, stage.stage_id, stage.config, parcel.records)
        if isinstance(parcel, Packed):
            passed = all_transformed(answer, parcel.heads)
            if passed is not None:
                return parcel.transformed(*passed)
        return transform_results(parcel.records, transform_pb2.ProcessBatchResponse.FromString(answer))

    async def _write(
        self, stage: Stage, parcel: Parcel | Packed, endpoint: Endpoint
    ) -> list[Result] | Passed:
        options = sink_pb2.WriteOptions(
            require_ack=True,
            timeout_ms=int(self.tuning.deadline * 1000),
            guarantee=sink_pb2.DELIVERY_GUARANTEE_AT_LEAST_ONCE,
        )
        body = _request(stage.stage_id, parcel, sink_pb2.WriteBatchRequest(options=options))
        stub = sink_pb2_grpc.SinkServiceStub
        try:
            answer = await self._exchange(endpoint.service, _WRITE, body, parcel.trace)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            opening = self._opening(stub(self._channel(endpoint.service)).WriteStream, parcel.trace)  # type: ignore[no-untyped-call]
            return await streaming.write(opening, stage.stage_id, options, parcel.records)
        if isinstance(parcel, Packed) and all_written(answer, parcel.heads):
            return Passed()
        written = sink_results(parcel.records, sink_pb2.WriteBatchResponse.FromString(answer))
        if not written.durable:
            # What is lost before it lasts must be written again, so all of it is tried again from the start.
            flush = sink_pb2.FlushRequest(sink_id=stage.stage_id, wait_for_completion=True)
            method = stub(self._channel(endpoint.service)).Flush  # type: ignore[no-untyped-call]
            if not (await self._call(method, flush, parcel.trace)).success:
                raise ProtocolFault("WriteBatch returned PENDING, and Flush failed")
        return written.results

    async def flush(self, stage: Stage) -> None:
        """Ask all services behind a sink to make what they have last; best effort."""
        request = sink_pb2.FlushRequest(sink_id=stage.stage_id, wait_for_completion=True)
        for endpoint in self.behind(stage):
            if not endpoint.failures:
                with contextlib.suppress(grpc.aio.AioRpcError, TlsError):
                    stub = sink_pb2_grpc.SinkServiceStub(self._channel(endpoint.service))  # type: ignore[no-untyped-call]
                    await self._call(stub.Flush, request, ())

    async def _capacity(self, endpoint: Endpoint) -> int:
        """How many records a sink that was full takes in the next call; 0 if it does not say."""
        stub = sink_pb2_grpc.SinkServiceStub(self._channel(endpoint.service))  # type: ignore[no-untyped-call]
        try:
            answer = await self._call(stub.GetCapacity, common_pb2.Empty(), ())
        except grpc.aio.AioRpcError:
            return 0
        return int(answer.available_capacity)

    async def _ask_capabilities(self, endpoint: Endpoint) -> None:
        """Once per service and connection; a service without an answer has no limits."""
        if endpoint.asked:
            return
        stub = transform_pb2_grpc.TransformServiceStub(self._channel(endpoint.service))  # type: ignore[no-untyped-call]
        try:
            answer = await self._call(stub.GetCapabilities, common_pb2.Empty(), ())
        except grpc.aio.AioRpcError as error:
            if failure_of(error.code().name, error.details() or "") is Failure.AWAY:
                raise
            answer = transform_pb2.Capabilities()
        endpoint.most_records = answer.max_batch_size
        endpoint.most_batches = answer.max_concurrent_batches
        endpoint.streams = answer.supports_streaming
        endpoint.asked = True

    async def _exchange(self, service: Service, path: str, body: bytes, trace: Trace) -> bytes:
        """Call a method with a serialised request; its answer as bytes."""
        method = self._channel(service).unary_unary(path, None, None)
        answer: bytes = await method(body, timeout=self.tuning.deadline, metadata=trace)
        return answer

    async def _call(self, method: Callable[..., Any], request: Any, trace: Trace) -> Any:
        return await method(request, timeout=self.tuning.deadline, metadata=trace)

    def _opening(self, method: Callable[..., Any], trace: Trace) -> streaming.Open:
        return lambda requests: method(requests, timeout=self.tuning.deadline, metadata=trace)

    def _channel(self, service: Service) -> grpc.aio.Channel:
        return self._connections.to(Place.of(service))


def _request(stage_id: str, parcel: Parcel | Packed, rest: Message) -> bytes:
    """A request of a call, serialised: both have the stage's id as field 1 and the batch as field 2.

    :param rest: the other fields.
    """
    if isinstance(parcel, Packed):
        data = rest.SerializeToString()
        return call(stage_id, parcel.bodies, parcel.batch_id, parcel.watermark, data)
    batch = nested(2, parcel.batch().SerializeToString())
    return b"".join([nested(1, stage_id.encode()), batch, rest.SerializeToString()])
