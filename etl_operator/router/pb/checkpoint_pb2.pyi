import datetime

from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommitOffsetRequest(_message.Message):
    __slots__ = ("source_id", "partition", "offset", "timestamp")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    partition: int
    offset: int
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, source_id: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CommitOffsetResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class GetOffsetRequest(_message.Message):
    __slots__ = ("source_id", "partition")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    partition: int
    def __init__(self, source_id: _Optional[str] = ..., partition: _Optional[int] = ...) -> None: ...

class GetOffsetResponse(_message.Message):
    __slots__ = ("offsets", "timestamps")
    class OffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    class TimestampsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _timestamp_pb2.Timestamp
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.ScalarMap[int, int]
    timestamps: _containers.MessageMap[int, _timestamp_pb2.Timestamp]
    def __init__(self, offsets: _Optional[_Mapping[int, int]] = ..., timestamps: _Optional[_Mapping[int, _timestamp_pb2.Timestamp]] = ...) -> None: ...

class WatermarkRequest(_message.Message):
    __slots__ = ("watermark",)
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    watermark: _common_pb2.Watermark
    def __init__(self, watermark: _Optional[_Union[_common_pb2.Watermark, _Mapping]] = ...) -> None: ...

class WatermarkResponse(_message.Message):
    __slots__ = ("accepted", "current_global_watermark")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CURRENT_GLOBAL_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    current_global_watermark: _common_pb2.Watermark
    def __init__(self, accepted: _Optional[bool] = ..., current_global_watermark: _Optional[_Union[_common_pb2.Watermark, _Mapping]] = ...) -> None: ...

class GetWatermarkRequest(_message.Message):
    __slots__ = ("source_id", "partition")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    partition: int
    def __init__(self, source_id: _Optional[str] = ..., partition: _Optional[int] = ...) -> None: ...

class GetWatermarkResponse(_message.Message):
    __slots__ = ("watermarks", "global_watermark")
    WATERMARKS_FIELD_NUMBER: _ClassVar[int]
    GLOBAL_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    watermarks: _containers.RepeatedCompositeFieldContainer[_common_pb2.Watermark]
    global_watermark: _common_pb2.Watermark
    def __init__(self, watermarks: _Optional[_Iterable[_Union[_common_pb2.Watermark, _Mapping]]] = ..., global_watermark: _Optional[_Union[_common_pb2.Watermark, _Mapping]] = ...) -> None: ...

class SaveCheckpointRequest(_message.Message):
    __slots__ = ("service_id", "checkpoint_id", "data", "source_offsets")
    class SourceOffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PartitionOffsets
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PartitionOffsets, _Mapping]] = ...) -> None: ...
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SOURCE_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    checkpoint_id: str
    data: bytes
    source_offsets: _containers.MessageMap[str, PartitionOffsets]
    def __init__(self, service_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., data: _Optional[bytes] = ..., source_offsets: _Optional[_Mapping[str, PartitionOffsets]] = ...) -> None: ...

class PartitionOffsets(_message.Message):
    __slots__ = ("offsets",)
    class OffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.ScalarMap[int, int]
    def __init__(self, offsets: _Optional[_Mapping[int, int]] = ...) -> None: ...

class SaveCheckpointResponse(_message.Message):
    __slots__ = ("success", "checkpoint_id", "created_at")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    success: bool
    checkpoint_id: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, success: _Optional[bool] = ..., checkpoint_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ("service_id",)
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    def __init__(self, service_id: _Optional[str] = ...) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("found", "checkpoint_id", "data", "source_offsets", "created_at")
    class SourceOffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PartitionOffsets
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PartitionOffsets, _Mapping]] = ...) -> None: ...
    FOUND_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SOURCE_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    found: bool
    checkpoint_id: str
    data: bytes
    source_offsets: _containers.MessageMap[str, PartitionOffsets]
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, found: _Optional[bool] = ..., checkpoint_id: _Optional[str] = ..., data: _Optional[bytes] = ..., source_offsets: _Optional[_Mapping[str, PartitionOffsets]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetGroupOffsetsRequest(_message.Message):
    __slots__ = ("group_id", "source_id")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    source_id: str
    def __init__(self, group_id: _Optional[str] = ..., source_id: _Optional[str] = ...) -> None: ...

class GetGroupOffsetsResponse(_message.Message):
    __slots__ = ("source_offsets",)
    class SourceOffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PartitionOffsets
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PartitionOffsets, _Mapping]] = ...) -> None: ...
    SOURCE_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    source_offsets: _containers.MessageMap[str, PartitionOffsets]
    def __init__(self, source_offsets: _Optional[_Mapping[str, PartitionOffsets]] = ...) -> None: ...

class CommitGroupOffsetRequest(_message.Message):
    __slots__ = ("group_id", "source_id", "partition", "offset", "timestamp")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    source_id: str
    partition: int
    offset: int
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, group_id: _Optional[str] = ..., source_id: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CommitGroupOffsetResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class GetPipelineCheckpointsRequest(_message.Message):
    __slots__ = ("pipeline_id",)
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    def __init__(self, pipeline_id: _Optional[str] = ...) -> None: ...

class GetPipelineCheckpointsResponse(_message.Message):
    __slots__ = ("service_checkpoints", "source_offsets", "watermarks")
    class SourceOffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PartitionOffsets
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PartitionOffsets, _Mapping]] = ...) -> None: ...
    SERVICE_CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    WATERMARKS_FIELD_NUMBER: _ClassVar[int]
    service_checkpoints: _containers.RepeatedCompositeFieldContainer[ServiceCheckpoint]
    source_offsets: _containers.MessageMap[str, PartitionOffsets]
    watermarks: _containers.RepeatedCompositeFieldContainer[_common_pb2.Watermark]
    def __init__(self, service_checkpoints: _Optional[_Iterable[_Union[ServiceCheckpoint, _Mapping]]] = ..., source_offsets: _Optional[_Mapping[str, PartitionOffsets]] = ..., watermarks: _Optional[_Iterable[_Union[_common_pb2.Watermark, _Mapping]]] = ...) -> None: ...

class ServiceCheckpoint(_message.Message):
    __slots__ = ("service_id", "checkpoint_id", "data", "created_at")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    checkpoint_id: str
    data: bytes
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, service_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., data: _Optional[bytes] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
