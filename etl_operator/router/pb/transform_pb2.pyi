from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TransformStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSFORM_STATUS_UNSPECIFIED: _ClassVar[TransformStatus]
    TRANSFORM_STATUS_SUCCESS: _ClassVar[TransformStatus]
    TRANSFORM_STATUS_FILTERED: _ClassVar[TransformStatus]
    TRANSFORM_STATUS_ERROR: _ClassVar[TransformStatus]
    TRANSFORM_STATUS_SPLIT: _ClassVar[TransformStatus]
TRANSFORM_STATUS_UNSPECIFIED: TransformStatus
TRANSFORM_STATUS_SUCCESS: TransformStatus
TRANSFORM_STATUS_FILTERED: TransformStatus
TRANSFORM_STATUS_ERROR: TransformStatus
TRANSFORM_STATUS_SPLIT: TransformStatus

class ProcessBatchRequest(_message.Message):
    __slots__ = ("transform_id", "input_batch", "transform_config")
    class TransformConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TRANSFORM_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_BATCH_FIELD_NUMBER: _ClassVar[int]
    TRANSFORM_CONFIG_FIELD_NUMBER: _ClassVar[int]
    transform_id: str
    input_batch: _common_pb2.RecordBatch
    transform_config: _containers.ScalarMap[str, str]
    def __init__(self, transform_id: _Optional[str] = ..., input_batch: _Optional[_Union[_common_pb2.RecordBatch, _Mapping]] = ..., transform_config: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ProcessBatchResponse(_message.Message):
    __slots__ = ("batch_id", "results")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    results: _containers.RepeatedCompositeFieldContainer[TransformResult]
    def __init__(self, batch_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[TransformResult, _Mapping]]] = ...) -> None: ...

class TransformResult(_message.Message):
    __slots__ = ("original_id", "status", "output_records", "error_message")
    ORIGINAL_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    original_id: _common_pb2.RecordId
    status: TransformStatus
    output_records: _containers.RepeatedCompositeFieldContainer[_common_pb2.Record]
    error_message: str
    def __init__(self, original_id: _Optional[_Union[_common_pb2.RecordId, _Mapping]] = ..., status: _Optional[_Union[TransformStatus, str]] = ..., output_records: _Optional[_Iterable[_Union[_common_pb2.Record, _Mapping]]] = ..., error_message: _Optional[str] = ...) -> None: ...

class ProcessStreamRequest(_message.Message):
    __slots__ = ("init", "record", "flush")
    INIT_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    init: StreamInit
    record: _common_pb2.Record
    flush: FlushCommand
    def __init__(self, init: _Optional[_Union[StreamInit, _Mapping]] = ..., record: _Optional[_Union[_common_pb2.Record, _Mapping]] = ..., flush: _Optional[_Union[FlushCommand, _Mapping]] = ...) -> None: ...

class StreamInit(_message.Message):
    __slots__ = ("transform_id", "stream_id", "config")
    class ConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TRANSFORM_ID_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    transform_id: str
    stream_id: str
    config: _containers.ScalarMap[str, str]
    def __init__(self, transform_id: _Optional[str] = ..., stream_id: _Optional[str] = ..., config: _Optional[_Mapping[str, str]] = ...) -> None: ...

class FlushCommand(_message.Message):
    __slots__ = ("stream_id",)
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    def __init__(self, stream_id: _Optional[str] = ...) -> None: ...

class ProcessStreamResponse(_message.Message):
    __slots__ = ("ready", "result", "completed")
    READY_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    ready: StreamReady
    result: TransformResult
    completed: StreamCompleted
    def __init__(self, ready: _Optional[_Union[StreamReady, _Mapping]] = ..., result: _Optional[_Union[TransformResult, _Mapping]] = ..., completed: _Optional[_Union[StreamCompleted, _Mapping]] = ...) -> None: ...

class StreamReady(_message.Message):
    __slots__ = ("stream_id", "buffer_capacity")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    BUFFER_CAPACITY_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    buffer_capacity: int
    def __init__(self, stream_id: _Optional[str] = ..., buffer_capacity: _Optional[int] = ...) -> None: ...

class StreamCompleted(_message.Message):
    __slots__ = ("stream_id", "records_processed")
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    stream_id: str
    records_processed: int
    def __init__(self, stream_id: _Optional[str] = ..., records_processed: _Optional[int] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("transform_id", "supported_record_types", "supports_streaming", "max_batch_size", "max_concurrent_batches")
    TRANSFORM_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_RECORD_TYPES_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_STREAMING_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_BATCHES_FIELD_NUMBER: _ClassVar[int]
    transform_id: str
    supported_record_types: _containers.RepeatedScalarFieldContainer[str]
    supports_streaming: bool
    max_batch_size: int
    max_concurrent_batches: int
    def __init__(self, transform_id: _Optional[str] = ..., supported_record_types: _Optional[_Iterable[str]] = ..., supports_streaming: _Optional[bool] = ..., max_batch_size: _Optional[int] = ..., max_concurrent_batches: _Optional[int] = ...) -> None: ...
