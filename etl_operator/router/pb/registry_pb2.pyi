import datetime

from etl_operator.router.pb import common_pb2 as _common_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_ADDED: _ClassVar[EventType]
    EVENT_TYPE_MODIFIED: _ClassVar[EventType]
    EVENT_TYPE_REMOVED: _ClassVar[EventType]
    EVENT_TYPE_HEALTH_CHANGED: _ClassVar[EventType]
    EVENT_TYPE_PARTITIONS_ASSIGNED: _ClassVar[EventType]
    EVENT_TYPE_PARTITIONS_REVOKED: _ClassVar[EventType]
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_ADDED: EventType
EVENT_TYPE_MODIFIED: EventType
EVENT_TYPE_REMOVED: EventType
EVENT_TYPE_HEALTH_CHANGED: EventType
EVENT_TYPE_PARTITIONS_ASSIGNED: EventType
EVENT_TYPE_PARTITIONS_REVOKED: EventType

class RegisterRequest(_message.Message):
    __slots__ = ("identity", "endpoint", "metadata", "heartbeat_interval", "sidecar_id")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_ID_FIELD_NUMBER: _ClassVar[int]
    identity: _common_pb2.ServiceIdentity
    endpoint: _common_pb2.Endpoint
    metadata: ServiceMetadata
    heartbeat_interval: _duration_pb2.Duration
    sidecar_id: str
    def __init__(self, identity: _Optional[_Union[_common_pb2.ServiceIdentity, _Mapping]] = ..., endpoint: _Optional[_Union[_common_pb2.Endpoint, _Mapping]] = ..., metadata: _Optional[_Union[ServiceMetadata, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sidecar_id: _Optional[str] = ...) -> None: ...

class ServiceMetadata(_message.Message):
    __slots__ = ("labels", "record_types_handled", "max_concurrent_requests", "weight")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RECORD_TYPES_HANDLED_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENT_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    record_types_handled: _containers.RepeatedScalarFieldContainer[str]
    max_concurrent_requests: int
    weight: int
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., record_types_handled: _Optional[_Iterable[str]] = ..., max_concurrent_requests: _Optional[int] = ..., weight: _Optional[int] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("success", "registration_id", "lease_id", "lease_ttl", "initial_credits")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    INITIAL_CREDITS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    registration_id: str
    lease_id: str
    lease_ttl: _duration_pb2.Duration
    initial_credits: int
    def __init__(self, success: _Optional[bool] = ..., registration_id: _Optional[str] = ..., lease_id: _Optional[str] = ..., lease_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., initial_credits: _Optional[int] = ...) -> None: ...

class DeregisterRequest(_message.Message):
    __slots__ = ("service_id", "registration_id", "graceful", "drain_timeout")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_FIELD_NUMBER: _ClassVar[int]
    DRAIN_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    registration_id: str
    graceful: bool
    drain_timeout: _duration_pb2.Duration
    def __init__(self, service_id: _Optional[str] = ..., registration_id: _Optional[str] = ..., graceful: _Optional[bool] = ..., drain_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class DeregisterResponse(_message.Message):
    __slots__ = ("success", "pending_records")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    PENDING_RECORDS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    pending_records: int
    def __init__(self, success: _Optional[bool] = ..., pending_records: _Optional[int] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("service_id", "registration_id", "health", "load")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    registration_id: str
    health: ServiceHealth
    load: ServiceLoad
    def __init__(self, service_id: _Optional[str] = ..., registration_id: _Optional[str] = ..., health: _Optional[_Union[ServiceHealth, _Mapping]] = ..., load: _Optional[_Union[ServiceLoad, _Mapping]] = ...) -> None: ...

class ServiceHealth(_message.Message):
    __slots__ = ("status", "message", "components")
    class ComponentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ComponentHealth
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ComponentHealth, _Mapping]] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.HealthStatus
    message: str
    components: _containers.MessageMap[str, ComponentHealth]
    def __init__(self, status: _Optional[_Union[_common_pb2.HealthStatus, str]] = ..., message: _Optional[str] = ..., components: _Optional[_Mapping[str, ComponentHealth]] = ...) -> None: ...

class ComponentHealth(_message.Message):
    __slots__ = ("name", "status", "message")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    status: _common_pb2.HealthStatus
    message: str
    def __init__(self, name: _Optional[str] = ..., status: _Optional[_Union[_common_pb2.HealthStatus, str]] = ..., message: _Optional[str] = ...) -> None: ...

class ServiceLoad(_message.Message):
    __slots__ = ("cpu_usage", "memory_usage", "active_requests", "queue_depth", "avg_latency_ms")
    CPU_USAGE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_USAGE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    AVG_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    cpu_usage: float
    memory_usage: float
    active_requests: int
    queue_depth: int
    avg_latency_ms: float
    def __init__(self, cpu_usage: _Optional[float] = ..., memory_usage: _Optional[float] = ..., active_requests: _Optional[int] = ..., queue_depth: _Optional[int] = ..., avg_latency_ms: _Optional[float] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("acknowledged", "next_heartbeat_deadline", "commands")
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    NEXT_HEARTBEAT_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    acknowledged: bool
    next_heartbeat_deadline: _duration_pb2.Duration
    commands: _containers.RepeatedCompositeFieldContainer[RouterCommand]
    def __init__(self, acknowledged: _Optional[bool] = ..., next_heartbeat_deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., commands: _Optional[_Iterable[_Union[RouterCommand, _Mapping]]] = ...) -> None: ...

class RouterCommand(_message.Message):
    __slots__ = ("drain", "resume", "config", "revoke", "assign")
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    drain: DrainCommand
    resume: ResumeCommand
    config: ConfigUpdate
    revoke: RevokePartitions
    assign: AssignPartitions
    def __init__(self, drain: _Optional[_Union[DrainCommand, _Mapping]] = ..., resume: _Optional[_Union[ResumeCommand, _Mapping]] = ..., config: _Optional[_Union[ConfigUpdate, _Mapping]] = ..., revoke: _Optional[_Union[RevokePartitions, _Mapping]] = ..., assign: _Optional[_Union[AssignPartitions, _Mapping]] = ...) -> None: ...

class DrainCommand(_message.Message):
    __slots__ = ("reason", "timeout")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    timeout: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ResumeCommand(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConfigUpdate(_message.Message):
    __slots__ = ("config",)
    class ConfigEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: _containers.ScalarMap[str, str]
    def __init__(self, config: _Optional[_Mapping[str, str]] = ...) -> None: ...

class RevokePartitions(_message.Message):
    __slots__ = ("group_id", "partitions", "generation")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    generation: int
    def __init__(self, group_id: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., generation: _Optional[int] = ...) -> None: ...

class AssignPartitions(_message.Message):
    __slots__ = ("group_id", "partitions", "generation")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    partitions: _containers.RepeatedScalarFieldContainer[int]
    generation: int
    def __init__(self, group_id: _Optional[str] = ..., partitions: _Optional[_Iterable[int]] = ..., generation: _Optional[int] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ("type_filter", "label_selector", "include_unhealthy")
    class LabelSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FILTER_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_UNHEALTHY_FIELD_NUMBER: _ClassVar[int]
    type_filter: _common_pb2.ServiceType
    label_selector: _containers.ScalarMap[str, str]
    include_unhealthy: bool
    def __init__(self, type_filter: _Optional[_Union[_common_pb2.ServiceType, str]] = ..., label_selector: _Optional[_Mapping[str, str]] = ..., include_unhealthy: _Optional[bool] = ...) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[RegisteredService]
    def __init__(self, services: _Optional[_Iterable[_Union[RegisteredService, _Mapping]]] = ...) -> None: ...

class RegisteredService(_message.Message):
    __slots__ = ("identity", "endpoint", "metadata", "health", "registered_at", "last_heartbeat", "assigned_partitions")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    identity: _common_pb2.ServiceIdentity
    endpoint: _common_pb2.Endpoint
    metadata: ServiceMetadata
    health: ServiceHealth
    registered_at: _timestamp_pb2.Timestamp
    last_heartbeat: _timestamp_pb2.Timestamp
    assigned_partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, identity: _Optional[_Union[_common_pb2.ServiceIdentity, _Mapping]] = ..., endpoint: _Optional[_Union[_common_pb2.Endpoint, _Mapping]] = ..., metadata: _Optional[_Union[ServiceMetadata, _Mapping]] = ..., health: _Optional[_Union[ServiceHealth, _Mapping]] = ..., registered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_heartbeat: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., assigned_partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class WatchServicesRequest(_message.Message):
    __slots__ = ("type_filter", "label_selector")
    class LabelSelectorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FILTER_FIELD_NUMBER: _ClassVar[int]
    LABEL_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    type_filter: _common_pb2.ServiceType
    label_selector: _containers.ScalarMap[str, str]
    def __init__(self, type_filter: _Optional[_Union[_common_pb2.ServiceType, str]] = ..., label_selector: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ServiceEvent(_message.Message):
    __slots__ = ("event_type", "service")
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    event_type: EventType
    service: RegisteredService
    def __init__(self, event_type: _Optional[_Union[EventType, str]] = ..., service: _Optional[_Union[RegisteredService, _Mapping]] = ...) -> None: ...

class GetServiceEndpointsRequest(_message.Message):
    __slots__ = ("service_name", "service_type", "group_id")
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    SERVICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    service_type: _common_pb2.ServiceType
    group_id: str
    def __init__(self, service_name: _Optional[str] = ..., service_type: _Optional[_Union[_common_pb2.ServiceType, str]] = ..., group_id: _Optional[str] = ...) -> None: ...

class GetServiceEndpointsResponse(_message.Message):
    __slots__ = ("endpoints",)
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[EndpointInfo]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[EndpointInfo, _Mapping]]] = ...) -> None: ...

class EndpointInfo(_message.Message):
    __slots__ = ("service_id", "endpoint", "weight", "health", "assigned_partitions")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    endpoint: _common_pb2.Endpoint
    weight: int
    health: _common_pb2.HealthStatus
    assigned_partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, service_id: _Optional[str] = ..., endpoint: _Optional[_Union[_common_pb2.Endpoint, _Mapping]] = ..., weight: _Optional[int] = ..., health: _Optional[_Union[_common_pb2.HealthStatus, str]] = ..., assigned_partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class JoinGroupRequest(_message.Message):
    __slots__ = ("service_id", "group_id", "stage_id", "partition_preferences")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    group_id: str
    stage_id: str
    partition_preferences: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, service_id: _Optional[str] = ..., group_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., partition_preferences: _Optional[_Iterable[int]] = ...) -> None: ...

class JoinGroupResponse(_message.Message):
    __slots__ = ("success", "generation", "assigned_partitions")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    generation: int
    assigned_partitions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, success: _Optional[bool] = ..., generation: _Optional[int] = ..., assigned_partitions: _Optional[_Iterable[int]] = ...) -> None: ...

class LeaveGroupRequest(_message.Message):
    __slots__ = ("service_id", "group_id", "graceful")
    SERVICE_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    GRACEFUL_FIELD_NUMBER: _ClassVar[int]
    service_id: str
    group_id: str
    graceful: bool
    def __init__(self, service_id: _Optional[str] = ..., group_id: _Optional[str] = ..., graceful: _Optional[bool] = ...) -> None: ...

class LeaveGroupResponse(_message.Message):
    __slots__ = ("success",)
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    def __init__(self, success: _Optional[bool] = ...) -> None: ...
