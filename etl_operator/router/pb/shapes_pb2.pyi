import datetime

from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordBytes(_message.Message):
    __slots__ = ("batch_id", "records", "watermark")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    batch_id: _containers.RepeatedScalarFieldContainer[bytes]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    watermark: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, batch_id: _Optional[_Iterable[bytes]] = ..., records: _Optional[_Iterable[bytes]] = ..., watermark: _Optional[_Iterable[bytes]] = ...) -> None: ...

class JoinedBatch(_message.Message):
    __slots__ = ("batch_id", "records", "watermark")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    records: JoinedRecord
    watermark: _common_pb2.Watermark
    def __init__(self, batch_id: _Optional[str] = ..., records: _Optional[_Union[JoinedRecord, _Mapping]] = ..., watermark: _Optional[_Union[_common_pb2.Watermark, _Mapping]] = ...) -> None: ...

class JoinedRecord(_message.Message):
    __slots__ = ("id", "record_type", "key", "payload", "metadata", "event_time", "ingestion_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_TYPE_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    INGESTION_TIME_FIELD_NUMBER: _ClassVar[int]
    id: _containers.RepeatedScalarFieldContainer[bytes]
    record_type: str
    key: bytes
    payload: bytes
    metadata: Entry
    event_time: _timestamp_pb2.Timestamp
    ingestion_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[_Iterable[bytes]] = ..., record_type: _Optional[str] = ..., key: _Optional[bytes] = ..., payload: _Optional[bytes] = ..., metadata: _Optional[_Union[Entry, _Mapping]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ingestion_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class ResultBytes(_message.Message):
    __slots__ = ("batch_id", "results")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    results: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, batch_id: _Optional[str] = ..., results: _Optional[_Iterable[bytes]] = ...) -> None: ...
