from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServiceType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVICE_TYPE_UNSPECIFIED: _ClassVar[ServiceType]
    SERVICE_TYPE_SOURCE: _ClassVar[ServiceType]
    SERVICE_TYPE_TRANSFORM: _ClassVar[ServiceType]
    SERVICE_TYPE_SINK: _ClassVar[ServiceType]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_ASSIGNED: _ClassVar[EventType]
    EVENT_TYPE_UPDATED: _ClassVar[EventType]
    EVENT_TYPE_REVOKED: _ClassVar[EventType]

class AckStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_STATUS_UNSPECIFIED: _ClassVar[AckStatus]
    ACK_STATUS_SUCCESS: _ClassVar[AckStatus]
    ACK_STATUS_FAILED: _ClassVar[AckStatus]
    ACK_STATUS_RETRY: _ClassVar[AckStatus]
SERVICE_TYPE_UNSPECIFIED: ServiceType
SERVICE_TYPE_SOURCE: ServiceType
SERVICE_TYPE_TRANSFORM: ServiceType
SERVICE_TYPE_SINK: ServiceType
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_ASSIGNED: EventType
EVENT_TYPE_UPDATED: EventType
EVENT_TYPE_REVOKED: EventType
ACK_STATUS_UNSPECIFIED: AckStatus
ACK_STATUS_SUCCESS: AckStatus
ACK_STATUS_FAILED: AckStatus
ACK_STATUS_RETRY: AckStatus

class LocalService(_message.Message):
    __slots__ = ("service_name", "service_type", "local_endpoint")
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    LOCAL_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    service_type: ServiceType
    local_endpoint: str
    def __init__(self, service_name: _Optional[str] = ..., service_type: _Optional[_Union[ServiceType, str]] = ..., local_endpoint: _Optional[str] = ...) -> None: ...

class RegisterSidecarRequest(_message.Message):
    __slots__ = ("sidecar_id", "pod_name", "namespace", "sidecar_endpoint", "local_services")
    SIDECAR_ID_FIELD_NUMBER: _ClassVar[int]
    POD_NAME_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    LOCAL_SERVICES_FIELD_NUMBER: _ClassVar[int]
    sidecar_id: str
    pod_name: str
    namespace: str
    sidecar_endpoint: str
    local_services: _containers.RepeatedCompositeFieldContainer[LocalService]
    def __init__(self, sidecar_id: _Optional[str] = ..., pod_name: _Optional[str] = ..., namespace: _Optional[str] = ..., sidecar_endpoint: _Optional[str] = ..., local_services: _Optional[_Iterable[_Union[LocalService, _Mapping]]] = ...) -> None: ...

class RegisterSidecarResponse(_message.Message):
    __slots__ = ("success", "error", "registration_id", "initial_assignments")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
    INITIAL_ASSIGNMENTS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    registration_id: str
    initial_assignments: _containers.RepeatedCompositeFieldContainer[PipelineAssignment]
    def __init__(self, success: _Optional[bool] = ..., error: _Optional[str] = ..., registration_id: _Optional[str] = ..., initial_assignments: _Optional[_Iterable[_Union[PipelineAssignment, _Mapping]]] = ...) -> None: ...

class LocalServiceHealth(_message.Message):
    __slots__ = ("service_name", "healthy", "active_requests")
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    healthy: bool
    active_requests: int
    def __init__(self, service_name: _Optional[str] = ..., healthy: _Optional[bool] = ..., active_requests: _Optional[int] = ...) -> None: ...

class SidecarLoad(_message.Message):
    __slots__ = ("cpu_usage", "memory_usage", "total_active_requests", "local_queue_depth")
    CPU_USAGE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USAGE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_ACTIVE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    cpu_usage: float
    memory_usage: float
    total_active_requests: int
    local_queue_depth: int
    def __init__(self, cpu_usage: _Optional[float] = ..., memory_usage: _Optional[float] = ..., total_active_requests: _Optional[int] = ..., local_queue_depth: _Optional[int] = ...) -> None: ...

class SidecarHeartbeatRequest(_message.Message):
    __slots__ = ("sidecar_id", "service_health", "load")
    SIDECAR_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_HEALTH_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    sidecar_id: str
    service_health: _containers.RepeatedCompositeFieldContainer[LocalServiceHealth]
    load: SidecarLoad
    def __init__(self, sidecar_id: _Optional[str] = ..., service_health: _Optional[_Iterable[_Union[LocalServiceHealth, _Mapping]]] = ..., load: _Optional[_Union[SidecarLoad, _Mapping]] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("acknowledged", "commands")
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    acknowledged: bool
    commands: _containers.RepeatedCompositeFieldContainer[SidecarCommand]
    def __init__(self, acknowledged: _Optional[bool] = ..., commands: _Optional[_Iterable[_Union[SidecarCommand, _Mapping]]] = ...) -> None: ...

class SidecarCommand(_message.Message):
    __slots__ = ("assign", "revoke", "drain")
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    assign: PipelineAssignment
    revoke: PipelineRevocation
    drain: DrainCommand
    def __init__(self, assign: _Optional[_Union[PipelineAssignment, _Mapping]] = ..., revoke: _Optional[_Union[PipelineRevocation, _Mapping]] = ..., drain: _Optional[_Union[DrainCommand, _Mapping]] = ...) -> None: ...

class PipelineAssignment(_message.Message):
    __slots__ = ("pipeline_id", "is_local_complete", "stages")
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    IS_LOCAL_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    is_local_complete: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageAssignment]
    def __init__(self, pipeline_id: _Optional[str] = ..., is_local_complete: _Optional[bool] = ..., stages: _Optional[_Iterable[_Union[StageAssignment, _Mapping]]] = ...) -> None: ...

class StageAssignment(_message.Message):
    __slots__ = ("stage_id", "local_endpoint", "remote_sidecar")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    LOCAL_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    REMOTE_SIDECAR_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    local_endpoint: str
    remote_sidecar: RemoteSidecar
    def __init__(self, stage_id: _Optional[str] = ..., local_endpoint: _Optional[str] = ..., remote_sidecar: _Optional[_Union[RemoteSidecar, _Mapping]] = ...) -> None: ...

class RemoteSidecar(_message.Message):
    __slots__ = ("sidecar_id", "endpoint")
    SIDECAR_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    sidecar_id: str
    endpoint: str
    def __init__(self, sidecar_id: _Optional[str] = ..., endpoint: _Optional[str] = ...) -> None: ...

class PipelineRevocation(_message.Message):
    __slots__ = ("pipeline_id", "drain_first")
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIRST_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    drain_first: bool
    def __init__(self, pipeline_id: _Optional[str] = ..., drain_first: _Optional[bool] = ...) -> None: ...

class DrainCommand(_message.Message):
    __slots__ = ("pipeline_ids", "timeout_ms")
    PIPELINE_IDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    pipeline_ids: _containers.RepeatedScalarFieldContainer[str]
    timeout_ms: int
    def __init__(self, pipeline_ids: _Optional[_Iterable[str]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class WatchAssignmentsRequest(_message.Message):
    __slots__ = ("sidecar_id",)
    SIDECAR_ID_FIELD_NUMBER: _ClassVar[int]
    sidecar_id: str
    def __init__(self, sidecar_id: _Optional[str] = ...) -> None: ...

class PipelineAssignmentEvent(_message.Message):
    __slots__ = ("event_type", "assignment")
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    event_type: EventType
    assignment: PipelineAssignment
    def __init__(self, event_type: _Optional[_Union[EventType, str]] = ..., assignment: _Optional[_Union[PipelineAssignment, _Mapping]] = ...) -> None: ...

class PushRecordsRequest(_message.Message):
    __slots__ = ("init", "batch", "heartbeat")
    INIT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    init: PushInit
    batch: _common_pb2.RecordBatch
    heartbeat: PushHeartbeat
    def __init__(self, init: _Optional[_Union[PushInit, _Mapping]] = ..., batch: _Optional[_Union[_common_pb2.RecordBatch, _Mapping]] = ..., heartbeat: _Optional[_Union[PushHeartbeat, _Mapping]] = ...) -> None: ...

class PushInit(_message.Message):
    __slots__ = ("source_id", "pipeline_id")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    pipeline_id: str
    def __init__(self, source_id: _Optional[str] = ..., pipeline_id: _Optional[str] = ...) -> None: ...

class PushHeartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PushRecordsResponse(_message.Message):
    __slots__ = ("ack", "backpressure", "credits")
    ACK_FIELD_NUMBER: _ClassVar[int]
    BACKPRESSURE_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    ack: PushAck
    backpressure: PushBackpressure
    credits: PushCredits
    def __init__(self, ack: _Optional[_Union[PushAck, _Mapping]] = ..., backpressure: _Optional[_Union[PushBackpressure, _Mapping]] = ..., credits: _Optional[_Union[PushCredits, _Mapping]] = ...) -> None: ...

class PushAck(_message.Message):
    __slots__ = ("batch_id", "success", "record_acks")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    RECORD_ACKS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    success: bool
    record_acks: _containers.RepeatedCompositeFieldContainer[RecordAck]
    def __init__(self, batch_id: _Optional[str] = ..., success: _Optional[bool] = ..., record_acks: _Optional[_Iterable[_Union[RecordAck, _Mapping]]] = ...) -> None: ...

class RecordAck(_message.Message):
    __slots__ = ("record_id", "status", "error")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    record_id: _common_pb2.RecordId
    status: AckStatus
    error: str
    def __init__(self, record_id: _Optional[_Union[_common_pb2.RecordId, _Mapping]] = ..., status: _Optional[_Union[AckStatus, str]] = ..., error: _Optional[str] = ...) -> None: ...

class PushBackpressure(_message.Message):
    __slots__ = ("pause", "wait_ms", "reason")
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    pause: bool
    wait_ms: int
    reason: str
    def __init__(self, pause: _Optional[bool] = ..., wait_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class PushCredits(_message.Message):
    __slots__ = ("granted",)
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    granted: int
    def __init__(self, granted: _Optional[int] = ...) -> None: ...

class ReceiveRecordsRequest(_message.Message):
    __slots__ = ("pipeline_id", "stage_id", "source_sidecar_id", "batch")
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SIDECAR_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    stage_id: str
    source_sidecar_id: str
    batch: _common_pb2.RecordBatch
    def __init__(self, pipeline_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., source_sidecar_id: _Optional[str] = ..., batch: _Optional[_Union[_common_pb2.RecordBatch, _Mapping]] = ...) -> None: ...

class ReceiveRecordsResponse(_message.Message):
    __slots__ = ("success", "error", "record_acks")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RECORD_ACKS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    record_acks: _containers.RepeatedCompositeFieldContainer[RecordAck]
    def __init__(self, success: _Optional[bool] = ..., error: _Optional[str] = ..., record_acks: _Optional[_Iterable[_Union[RecordAck, _Mapping]]] = ...) -> None: ...
