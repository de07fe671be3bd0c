from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeliveryGuarantee(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DELIVERY_GUARANTEE_UNSPECIFIED: _ClassVar[DeliveryGuarantee]
    DELIVERY_GUARANTEE_AT_LEAST_ONCE: _ClassVar[DeliveryGuarantee]
    DELIVERY_GUARANTEE_EXACTLY_ONCE: _ClassVar[DeliveryGuarantee]

class WriteStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WRITE_STATUS_UNSPECIFIED: _ClassVar[WriteStatus]
    WRITE_STATUS_SUCCESS: _ClassVar[WriteStatus]
    WRITE_STATUS_PARTIAL: _ClassVar[WriteStatus]
    WRITE_STATUS_FAILED: _ClassVar[WriteStatus]
    WRITE_STATUS_PENDING: _ClassVar[WriteStatus]
DELIVERY_GUARANTEE_UNSPECIFIED: DeliveryGuarantee
DELIVERY_GUARANTEE_AT_LEAST_ONCE: DeliveryGuarantee
DELIVERY_GUARANTEE_EXACTLY_ONCE: DeliveryGuarantee
WRITE_STATUS_UNSPECIFIED: WriteStatus
WRITE_STATUS_SUCCESS: WriteStatus
WRITE_STATUS_PARTIAL: WriteStatus
WRITE_STATUS_FAILED: WriteStatus
WRITE_STATUS_PENDING: WriteStatus

class WriteBatchRequest(_message.Message):
    __slots__ = ("sink_id", "batch", "options")
    SINK_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    sink_id: str
    batch: _common_pb2.RecordBatch
    options: WriteOptions
    def __init__(self, sink_id: _Optional[str] = ..., batch: _Optional[_Union[_common_pb2.RecordBatch, _Mapping]] = ..., options: _Optional[_Union[WriteOptions, _Mapping]] = ...) -> None: ...

class WriteOptions(_message.Message):
    __slots__ = ("require_ack", "timeout_ms", "guarantee")
    REQUIRE_ACK_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    GUARANTEE_FIELD_NUMBER: _ClassVar[int]
    require_ack: bool
    timeout_ms: int
    guarantee: DeliveryGuarantee
    def __init__(self, require_ack: _Optional[bool] = ..., timeout_ms: _Optional[int] = ..., guarantee: _Optional[_Union[DeliveryGuarantee, str]] = ...) -> None: ...

class WriteBatchResponse(_message.Message):
    __slots__ = ("batch_id", "status", "results")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    status: WriteStatus
    results: _containers.RepeatedCompositeFieldContainer[RecordWriteResult]
    def __init__(self, batch_id: _Optional[str] = ..., status: _Optional[_Union[WriteStatus, str]] = ..., results: _Optional[_Iterable[_Union[RecordWriteResult, _Mapping]]] = ...) -> None: ...

class RecordWriteResult(_message.Message):
    __slots__ = ("record_id", "success", "error", "retryable")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    record_id: _common_pb2.RecordId
    success: bool
    error: str
    retryable: bool
    def __init__(self, record_id: _Optional[_Union[_common_pb2.RecordId, _Mapping]] = ..., success: _Optional[bool] = ..., error: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class WriteStreamRequest(_message.Message):
    __slots__ = ("init", "record", "commit")
    INIT_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    init: StreamWriteInit
    record: _common_pb2.Record
    commit: CommitMarker
    def __init__(self, init: _Optional[_Union[StreamWriteInit, _Mapping]] = ..., record: _Optional[_Union[_common_pb2.Record, _Mapping]] = ..., commit: _Optional[_Union[CommitMarker, _Mapping]] = ...) -> None: ...

class StreamWriteInit(_message.Message):
    __slots__ = ("sink_id", "stream_id", "options")
    SINK_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    sink_id: str
    stream_id: str
    options: WriteOptions
    def __init__(self, sink_id: _Optional[str] = ..., stream_id: _Optional[str] = ..., options: _Optional[_Union[WriteOptions, _Mapping]] = ...) -> None: ...

class CommitMarker(_message.Message):
    __slots__ = ("stream_id", "up_to_sequence")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    UP_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    up_to_sequence: int
    def __init__(self, stream_id: _Optional[str] = ..., up_to_sequence: _Optional[int] = ...) -> None: ...

class WriteStreamResponse(_message.Message):
    __slots__ = ("ready", "result", "commit_ack", "backpressure")
    READY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    COMMIT_ACK_FIELD_NUMBER: _ClassVar[int]
    BACKPRESSURE_FIELD_NUMBER: _ClassVar[int]
    ready: StreamWriteReady
    result: RecordWriteResult
    commit_ack: CommitAck
    backpressure: BackpressureNotice
    def __init__(self, ready: _Optional[_Union[StreamWriteReady, _Mapping]] = ..., result: _Optional[_Union[RecordWriteResult, _Mapping]] = ..., commit_ack: _Optional[_Union[CommitAck, _Mapping]] = ..., backpressure: _Optional[_Union[BackpressureNotice, _Mapping]] = ...) -> None: ...

class StreamWriteReady(_message.Message):
    __slots__ = ("stream_id", "initial_credits")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    INITIAL_CREDITS_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    initial_credits: int
    def __init__(self, stream_id: _Optional[str] = ..., initial_credits: _Optional[int] = ...) -> None: ...

class CommitAck(_message.Message):
    __slots__ = ("stream_id", "committed_sequence")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    committed_sequence: int
    def __init__(self, stream_id: _Optional[str] = ..., committed_sequence: _Optional[int] = ...) -> None: ...

class BackpressureNotice(_message.Message):
    __slots__ = ("available_credits", "wait_ms")
    AVAILABLE_CREDITS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    available_credits: int
    wait_ms: int
    def __init__(self, available_credits: _Optional[int] = ..., wait_ms: _Optional[int] = ...) -> None: ...

class CapacityResponse(_message.Message):
    __slots__ = ("available_capacity", "current_queue_depth", "estimated_latency_ms")
    AVAILABLE_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    CURRENT_QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    available_capacity: int
    current_queue_depth: int
    estimated_latency_ms: float
    def __init__(self, available_capacity: _Optional[int] = ..., current_queue_depth: _Optional[int] = ..., estimated_latency_ms: _Optional[float] = ...) -> None: ...

class FlushRequest(_message.Message):
    __slots__ = ("sink_id", "wait_for_completion")
    SINK_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FOR_COMPLETION_FIELD_NUMBER: _ClassVar[int]
    sink_id: str
    wait_for_completion: bool
    def __init__(self, sink_id: _Optional[str] = ..., wait_for_completion: _Optional[bool] = ...) -> None: ...

class FlushResponse(_message.Message):
    __slots__ = ("success", "flushed_records")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FLUSHED_RECORDS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    flushed_records: int
    def __init__(self, success: _Optional[bool] = ..., flushed_records: _Optional[int] = ...) -> None: ...
