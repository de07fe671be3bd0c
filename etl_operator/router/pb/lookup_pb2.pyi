from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LookupStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOOKUP_STATUS_UNSPECIFIED: _ClassVar[LookupStatus]
    LOOKUP_STATUS_FOUND: _ClassVar[LookupStatus]
    LOOKUP_STATUS_NOT_FOUND: _ClassVar[LookupStatus]
    LOOKUP_STATUS_ERROR: _ClassVar[LookupStatus]
    LOOKUP_STATUS_TIMEOUT: _ClassVar[LookupStatus]
LOOKUP_STATUS_UNSPECIFIED: LookupStatus
LOOKUP_STATUS_FOUND: LookupStatus
LOOKUP_STATUS_NOT_FOUND: LookupStatus
LOOKUP_STATUS_ERROR: LookupStatus
LOOKUP_STATUS_TIMEOUT: LookupStatus

class LookupRequest(_message.Message):
    __slots__ = ("lookup_id", "input_record", "key_fields")
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_RECORD_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELDS_FIELD_NUMBER: _ClassVar[int]
    lookup_id: str
    input_record: _common_pb2.Record
    key_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lookup_id: _Optional[str] = ..., input_record: _Optional[_Union[_common_pb2.Record, _Mapping]] = ..., key_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class LookupResponse(_message.Message):
    __slots__ = ("original_id", "status", "lookup_data", "error_message", "latency_us")
    class LookupDataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    ORIGINAL_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LOOKUP_DATA_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    original_id: _common_pb2.RecordId
    status: LookupStatus
    lookup_data: _containers.ScalarMap[str, bytes]
    error_message: str
    latency_us: int
    def __init__(self, original_id: _Optional[_Union[_common_pb2.RecordId, _Mapping]] = ..., status: _Optional[_Union[LookupStatus, str]] = ..., lookup_data: _Optional[_Mapping[str, bytes]] = ..., error_message: _Optional[str] = ..., latency_us: _Optional[int] = ...) -> None: ...

class BatchLookupRequest(_message.Message):
    __slots__ = ("lookup_id", "records", "key_fields")
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELDS_FIELD_NUMBER: _ClassVar[int]
    lookup_id: str
    records: _containers.RepeatedCompositeFieldContainer[_common_pb2.Record]
    key_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lookup_id: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_common_pb2.Record, _Mapping]]] = ..., key_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchLookupResponse(_message.Message):
    __slots__ = ("batch_id", "results", "stats")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    STATS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    results: _containers.RepeatedCompositeFieldContainer[LookupResponse]
    stats: BatchStats
    def __init__(self, batch_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[LookupResponse, _Mapping]]] = ..., stats: _Optional[_Union[BatchStats, _Mapping]] = ...) -> None: ...

class BatchStats(_message.Message):
    __slots__ = ("found", "not_found", "errors", "avg_latency_us")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    NOT_FOUND_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    AVG_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    found: int
    not_found: int
    errors: int
    avg_latency_us: int
    def __init__(self, found: _Optional[int] = ..., not_found: _Optional[int] = ..., errors: _Optional[int] = ..., avg_latency_us: _Optional[int] = ...) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("lookup_id", "supported_key_types", "supports_batch", "max_batch_size", "avg_latency_us")
    LOOKUP_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_KEY_TYPES_FIELD_NUMBER: _ClassVar[int]
    SUPPORTS_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    AVG_LATENCY_US_FIELD_NUMBER: _ClassVar[int]
    lookup_id: str
    supported_key_types: _containers.RepeatedScalarFieldContainer[str]
    supports_batch: bool
    max_batch_size: int
    avg_latency_us: int
    def __init__(self, lookup_id: _Optional[str] = ..., supported_key_types: _Optional[_Iterable[str]] = ..., supports_batch: _Optional[bool] = ..., max_batch_size: _Optional[int] = ..., avg_latency_us: _Optional[int] = ...) -> None: ...
