import datetime

from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AckStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_STATUS_UNSPECIFIED: _ClassVar[AckStatus]
    ACK_STATUS_ACCEPTED: _ClassVar[AckStatus]
    ACK_STATUS_DUPLICATE: _ClassVar[AckStatus]
    ACK_STATUS_REJECTED: _ClassVar[AckStatus]

class BackpressureLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKPRESSURE_LEVEL_NONE: _ClassVar[BackpressureLevel]
    BACKPRESSURE_LEVEL_LOW: _ClassVar[BackpressureLevel]
    BACKPRESSURE_LEVEL_MEDIUM: _ClassVar[BackpressureLevel]
    BACKPRESSURE_LEVEL_HIGH: _ClassVar[BackpressureLevel]
    BACKPRESSURE_LEVEL_CRITICAL: _ClassVar[BackpressureLevel]

class CreditPriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDIT_PRIORITY_NORMAL: _ClassVar[CreditPriority]
    CREDIT_PRIORITY_HIGH: _ClassVar[CreditPriority]
    CREDIT_PRIORITY_CRITICAL: _ClassVar[CreditPriority]
ACK_STATUS_UNSPECIFIED: AckStatus
ACK_STATUS_ACCEPTED: AckStatus
ACK_STATUS_DUPLICATE: AckStatus
ACK_STATUS_REJECTED: AckStatus
BACKPRESSURE_LEVEL_NONE: BackpressureLevel
BACKPRESSURE_LEVEL_LOW: BackpressureLevel
BACKPRESSURE_LEVEL_MEDIUM: BackpressureLevel
BACKPRESSURE_LEVEL_HIGH: BackpressureLevel
BACKPRESSURE_LEVEL_CRITICAL: BackpressureLevel
CREDIT_PRIORITY_NORMAL: CreditPriority
CREDIT_PRIORITY_HIGH: CreditPriority
CREDIT_PRIORITY_CRITICAL: CreditPriority

class PushRequest(_message.Message):
    __slots__ = ("batch", "heartbeat")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    batch: _common_pb2.RecordBatch
    heartbeat: Heartbeat
    def __init__(self, batch: _Optional[_Union[_common_pb2.RecordBatch, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("ack", "backpressure", "credits")
    ACK_FIELD_NUMBER: _ClassVar[int]
    BACKPRESSURE_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    ack: BatchAck
    backpressure: BackpressureSignal
    credits: CreditGrant
    def __init__(self, ack: _Optional[_Union[BatchAck, _Mapping]] = ..., backpressure: _Optional[_Union[BackpressureSignal, _Mapping]] = ..., credits: _Optional[_Union[CreditGrant, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("timestamp",)
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class BatchAck(_message.Message):
    __slots__ = ("batch_id", "record_acks")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_ACKS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    record_acks: _containers.RepeatedCompositeFieldContainer[RecordAck]
    def __init__(self, batch_id: _Optional[str] = ..., record_acks: _Optional[_Iterable[_Union[RecordAck, _Mapping]]] = ...) -> None: ...

class RecordAck(_message.Message):
    __slots__ = ("record_id", "status", "error_message")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    record_id: _common_pb2.RecordId
    status: AckStatus
    error_message: str
    def __init__(self, record_id: _Optional[_Union[_common_pb2.RecordId, _Mapping]] = ..., status: _Optional[_Union[AckStatus, str]] = ..., error_message: _Optional[str] = ...) -> None: ...

class BackpressureSignal(_message.Message):
    __slots__ = ("pause", "recommended_batch_size", "resume_after_ms", "level")
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    RESUME_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    pause: bool
    recommended_batch_size: int
    resume_after_ms: int
    level: BackpressureLevel
    def __init__(self, pause: _Optional[bool] = ..., recommended_batch_size: _Optional[int] = ..., resume_after_ms: _Optional[int] = ..., level: _Optional[_Union[BackpressureLevel, str]] = ...) -> None: ...

class CreditGrant(_message.Message):
    __slots__ = ("credits", "expires_at_ms")
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    credits: int
    expires_at_ms: int
    def __init__(self, credits: _Optional[int] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...

class CreditRequest(_message.Message):
    __slots__ = ("source_id", "pipeline_id", "requested_credits", "priority")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    pipeline_id: str
    requested_credits: int
    priority: CreditPriority
    def __init__(self, source_id: _Optional[str] = ..., pipeline_id: _Optional[str] = ..., requested_credits: _Optional[int] = ..., priority: _Optional[_Union[CreditPriority, str]] = ...) -> None: ...

class CreditResponse(_message.Message):
    __slots__ = ("granted_credits", "total_available", "expires_in_ms", "current_pressure")
    GRANTED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_IN_MS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    granted_credits: int
    total_available: int
    expires_in_ms: int
    current_pressure: BackpressureLevel
    def __init__(self, granted_credits: _Optional[int] = ..., total_available: _Optional[int] = ..., expires_in_ms: _Optional[int] = ..., current_pressure: _Optional[_Union[BackpressureLevel, str]] = ...) -> None: ...
