from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CompressionType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPRESSION_NONE: _ClassVar[CompressionType]
    COMPRESSION_GZIP: _ClassVar[CompressionType]
    COMPRESSION_ZSTD: _ClassVar[CompressionType]
COMPRESSION_NONE: CompressionType
COMPRESSION_GZIP: CompressionType
COMPRESSION_ZSTD: CompressionType

class CreateSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class CreateSnapshotResponse(_message.Message):
    __slots__ = ("snapshot_id", "size_bytes", "commit_index", "term", "timestamp")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    size_bytes: int
    commit_index: int
    term: int
    timestamp: int
    def __init__(self, snapshot_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., commit_index: _Optional[int] = ..., term: _Optional[int] = ..., timestamp: _Optional[int] = ...) -> None: ...

class StreamSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id", "compression")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    compression: CompressionType
    def __init__(self, snapshot_id: _Optional[str] = ..., compression: _Optional[_Union[CompressionType, str]] = ...) -> None: ...

class DataChunk(_message.Message):
    __slots__ = ("data", "offset", "is_last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    offset: int
    is_last: bool
    def __init__(self, data: _Optional[bytes] = ..., offset: _Optional[int] = ..., is_last: _Optional[bool] = ...) -> None: ...

class DeleteSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id",)
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    def __init__(self, snapshot_id: _Optional[str] = ...) -> None: ...

class DeleteSnapshotResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...

class UploadSnapshotResponse(_message.Message):
    __slots__ = ("success", "snapshot_id")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    success: bool
    snapshot_id: str
    def __init__(self, success: _Optional[bool] = ..., snapshot_id: _Optional[str] = ...) -> None: ...

class RestoreSnapshotRequest(_message.Message):
    __slots__ = ("snapshot_id", "validate_only")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    validate_only: bool
    def __init__(self, snapshot_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class RestoreSnapshotResponse(_message.Message):
    __slots__ = ("success", "message", "state")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    success: bool
    message: str
    state: StateMetadata
    def __init__(self, success: _Optional[bool] = ..., message: _Optional[str] = ..., state: _Optional[_Union[StateMetadata, _Mapping]] = ...) -> None: ...

class GetStateMetadataRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StateMetadata(_message.Message):
    __slots__ = ("commit_index", "term", "service_count", "pipeline_count", "version")
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SERVICE_COUNT_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_COUNT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    commit_index: int
    term: int
    service_count: int
    pipeline_count: int
    version: str
    def __init__(self, commit_index: _Optional[int] = ..., term: _Optional[int] = ..., service_count: _Optional[int] = ..., pipeline_count: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class ListSnapshotsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSnapshotsResponse(_message.Message):
    __slots__ = ("snapshots",)
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    snapshots: _containers.RepeatedCompositeFieldContainer[SnapshotInfo]
    def __init__(self, snapshots: _Optional[_Iterable[_Union[SnapshotInfo, _Mapping]]] = ...) -> None: ...

class SnapshotInfo(_message.Message):
    __slots__ = ("snapshot_id", "size_bytes", "commit_index", "term", "created_at")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    size_bytes: int
    commit_index: int
    term: int
    created_at: int
    def __init__(self, snapshot_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., commit_index: _Optional[int] = ..., term: _Optional[int] = ..., created_at: _Optional[int] = ...) -> None: ...
