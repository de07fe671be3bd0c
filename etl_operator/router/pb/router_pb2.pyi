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

class StageType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_TYPE_UNSPECIFIED: _ClassVar[StageType]
    STAGE_TYPE_SOURCE: _ClassVar[StageType]
    STAGE_TYPE_TRANSFORM: _ClassVar[StageType]
    STAGE_TYPE_SINK: _ClassVar[StageType]

class LoadBalanceStrategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOAD_BALANCE_UNSPECIFIED: _ClassVar[LoadBalanceStrategy]
    LOAD_BALANCE_ROUND_ROBIN: _ClassVar[LoadBalanceStrategy]
    LOAD_BALANCE_LEAST_CONNECTIONS: _ClassVar[LoadBalanceStrategy]
    LOAD_BALANCE_WEIGHTED_RANDOM: _ClassVar[LoadBalanceStrategy]
    LOAD_BALANCE_CONSISTENT_HASH: _ClassVar[LoadBalanceStrategy]

class NodeRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_ROLE_UNSPECIFIED: _ClassVar[NodeRole]
    NODE_ROLE_LEADER: _ClassVar[NodeRole]
    NODE_ROLE_FOLLOWER: _ClassVar[NodeRole]
    NODE_ROLE_CANDIDATE: _ClassVar[NodeRole]
    NODE_ROLE_LEARNER: _ClassVar[NodeRole]

class ClusterHealth(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLUSTER_HEALTH_UNSPECIFIED: _ClassVar[ClusterHealth]
    CLUSTER_HEALTH_HEALTHY: _ClassVar[ClusterHealth]
    CLUSTER_HEALTH_DEGRADED: _ClassVar[ClusterHealth]
    CLUSTER_HEALTH_UNHEALTHY: _ClassVar[ClusterHealth]
STAGE_TYPE_UNSPECIFIED: StageType
STAGE_TYPE_SOURCE: StageType
STAGE_TYPE_TRANSFORM: StageType
STAGE_TYPE_SINK: StageType
LOAD_BALANCE_UNSPECIFIED: LoadBalanceStrategy
LOAD_BALANCE_ROUND_ROBIN: LoadBalanceStrategy
LOAD_BALANCE_LEAST_CONNECTIONS: LoadBalanceStrategy
LOAD_BALANCE_WEIGHTED_RANDOM: LoadBalanceStrategy
LOAD_BALANCE_CONSISTENT_HASH: LoadBalanceStrategy
NODE_ROLE_UNSPECIFIED: NodeRole
NODE_ROLE_LEADER: NodeRole
NODE_ROLE_FOLLOWER: NodeRole
NODE_ROLE_CANDIDATE: NodeRole
NODE_ROLE_LEARNER: NodeRole
CLUSTER_HEALTH_UNSPECIFIED: ClusterHealth
CLUSTER_HEALTH_HEALTHY: ClusterHealth
CLUSTER_HEALTH_DEGRADED: ClusterHealth
CLUSTER_HEALTH_UNHEALTHY: ClusterHealth

class PipelineConfig(_message.Message):
    __slots__ = ("id", "name", "description", "stages", "edges", "enabled", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    edges: _containers.RepeatedCompositeFieldContainer[Edge]
    enabled: bool
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., edges: _Optional[_Iterable[_Union[Edge, _Mapping]]] = ..., enabled: _Optional[bool] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("id", "name", "stage_type", "service_selector", "routing_rules", "parallelism")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    ROUTING_RULES_FIELD_NUMBER: _ClassVar[int]
    PARALLELISM_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    stage_type: StageType
    service_selector: ServiceSelector
    routing_rules: _containers.RepeatedCompositeFieldContainer[RoutingRule]
    parallelism: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., stage_type: _Optional[_Union[StageType, str]] = ..., service_selector: _Optional[_Union[ServiceSelector, _Mapping]] = ..., routing_rules: _Optional[_Iterable[_Union[RoutingRule, _Mapping]]] = ..., parallelism: _Optional[int] = ...) -> None: ...

class ServiceSelector(_message.Message):
    __slots__ = ("service_name", "group_id", "labels", "load_balance")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SERVICE_NAME_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LOAD_BALANCE_FIELD_NUMBER: _ClassVar[int]
    service_name: str
    group_id: str
    labels: _containers.ScalarMap[str, str]
    load_balance: LoadBalanceStrategy
    def __init__(self, service_name: _Optional[str] = ..., group_id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., load_balance: _Optional[_Union[LoadBalanceStrategy, str]] = ...) -> None: ...

class RoutingRule(_message.Message):
    __slots__ = ("name", "condition", "target_stages", "priority")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    TARGET_STAGES_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    name: str
    condition: Condition
    target_stages: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    def __init__(self, name: _Optional[str] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., target_stages: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("always", "record_type", "metadata_match", "expression")
    ALWAYS_FIELD_NUMBER: _ClassVar[int]
    RECORD_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_MATCH_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    AND_FIELD_NUMBER: _ClassVar[int]
    OR_FIELD_NUMBER: _ClassVar[int]
    NOT_FIELD_NUMBER: _ClassVar[int]
    always: str
    record_type: str
    metadata_match: MetadataMatch
    expression: str
    def __init__(self, always: _Optional[str] = ..., record_type: _Optional[str] = ..., metadata_match: _Optional[_Union[MetadataMatch, _Mapping]] = ..., expression: _Optional[str] = ..., **kwargs) -> None: ...

class MetadataMatch(_message.Message):
    __slots__ = ("key", "pattern")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    key: str
    pattern: str
    def __init__(self, key: _Optional[str] = ..., pattern: _Optional[str] = ...) -> None: ...

class AndCondition(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class OrCondition(_message.Message):
    __slots__ = ("conditions",)
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class NotCondition(_message.Message):
    __slots__ = ("condition",)
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    condition: Condition
    def __init__(self, condition: _Optional[_Union[Condition, _Mapping]] = ...) -> None: ...

class Edge(_message.Message):
    __slots__ = ("from_stage", "to_stage", "condition")
    FROM_STAGE_FIELD_NUMBER: _ClassVar[int]
    TO_STAGE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    from_stage: str
    to_stage: str
    condition: Condition
    def __init__(self, from_stage: _Optional[str] = ..., to_stage: _Optional[str] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ...) -> None: ...

class CreatePipelineRequest(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: PipelineConfig
    def __init__(self, config: _Optional[_Union[PipelineConfig, _Mapping]] = ...) -> None: ...

class CreatePipelineResponse(_message.Message):
    __slots__ = ("success", "pipeline_id", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    pipeline_id: str
    error: str
    def __init__(self, success: _Optional[bool] = ..., pipeline_id: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class UpdatePipelineRequest(_message.Message):
    __slots__ = ("pipeline_id", "config")
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    config: PipelineConfig
    def __init__(self, pipeline_id: _Optional[str] = ..., config: _Optional[_Union[PipelineConfig, _Mapping]] = ...) -> None: ...

class UpdatePipelineResponse(_message.Message):
    __slots__ = ("success", "version", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    version: int
    error: str
    def __init__(self, success: _Optional[bool] = ..., version: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class DeletePipelineRequest(_message.Message):
    __slots__ = ("pipeline_id", "force")
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    force: bool
    def __init__(self, pipeline_id: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class DeletePipelineResponse(_message.Message):
    __slots__ = ("success", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    def __init__(self, success: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class GetPipelineRequest(_message.Message):
    __slots__ = ("pipeline_id",)
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    def __init__(self, pipeline_id: _Optional[str] = ...) -> None: ...

class GetPipelineResponse(_message.Message):
    __slots__ = ("found", "config", "status")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    found: bool
    config: PipelineConfig
    status: PipelineStatus
    def __init__(self, found: _Optional[bool] = ..., config: _Optional[_Union[PipelineConfig, _Mapping]] = ..., status: _Optional[_Union[PipelineStatus, _Mapping]] = ...) -> None: ...

class PipelineStatus(_message.Message):
    __slots__ = ("enabled", "version", "created_at", "updated_at", "stage_statuses")
    class StageStatusesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: StageStatus
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[StageStatus, _Mapping]] = ...) -> None: ...
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    STAGE_STATUSES_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    version: int
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    stage_statuses: _containers.MessageMap[str, StageStatus]
    def __init__(self, enabled: _Optional[bool] = ..., version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stage_statuses: _Optional[_Mapping[str, StageStatus]] = ...) -> None: ...

class StageStatus(_message.Message):
    __slots__ = ("records_processed", "records_buffered", "errors", "avg_latency_ms")
    RECORDS_PROCESSED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_BUFFERED_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    AVG_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    records_processed: int
    records_buffered: int
    errors: int
    avg_latency_ms: float
    def __init__(self, records_processed: _Optional[int] = ..., records_buffered: _Optional[int] = ..., errors: _Optional[int] = ..., avg_latency_ms: _Optional[float] = ...) -> None: ...

class ListPipelinesRequest(_message.Message):
    __slots__ = ("include_disabled",)
    INCLUDE_DISABLED_FIELD_NUMBER: _ClassVar[int]
    include_disabled: bool
    def __init__(self, include_disabled: _Optional[bool] = ...) -> None: ...

class ListPipelinesResponse(_message.Message):
    __slots__ = ("pipelines",)
    PIPELINES_FIELD_NUMBER: _ClassVar[int]
    pipelines: _containers.RepeatedCompositeFieldContainer[PipelineConfig]
    def __init__(self, pipelines: _Optional[_Iterable[_Union[PipelineConfig, _Mapping]]] = ...) -> None: ...

class EnablePipelineRequest(_message.Message):
    __slots__ = ("pipeline_id",)
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    def __init__(self, pipeline_id: _Optional[str] = ...) -> None: ...

class EnablePipelineResponse(_message.Message):
    __slots__ = ("success", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    error: str
    def __init__(self, success: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class DisablePipelineRequest(_message.Message):
    __slots__ = ("pipeline_id", "drain")
    PIPELINE_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    pipeline_id: str
    drain: bool
    def __init__(self, pipeline_id: _Optional[str] = ..., drain: _Optional[bool] = ...) -> None: ...

class DisablePipelineResponse(_message.Message):
    __slots__ = ("success", "pending_records", "error")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    PENDING_RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    success: bool
    pending_records: int
    error: str
    def __init__(self, success: _Optional[bool] = ..., pending_records: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class GetClusterStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClusterStatusResponse(_message.Message):
    __slots__ = ("node_id", "leader_id", "term", "commit_index", "applied_index", "nodes", "health")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    leader_id: int
    term: int
    commit_index: int
    applied_index: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeStatus]
    health: ClusterHealth
    def __init__(self, node_id: _Optional[int] = ..., leader_id: _Optional[int] = ..., term: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeStatus, _Mapping]]] = ..., health: _Optional[_Union[ClusterHealth, str]] = ...) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("node_id", "address", "role", "healthy", "match_index", "last_contact")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    address: str
    role: NodeRole
    healthy: bool
    match_index: int
    last_contact: _timestamp_pb2.Timestamp
    def __init__(self, node_id: _Optional[int] = ..., address: _Optional[str] = ..., role: _Optional[_Union[NodeRole, str]] = ..., healthy: _Optional[bool] = ..., match_index: _Optional[int] = ..., last_contact: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetMetricsRequest(_message.Message):
    __slots__ = ("metric_names",)
    METRIC_NAMES_FIELD_NUMBER: _ClassVar[int]
    metric_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, metric_names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetMetricsResponse(_message.Message):
    __slots__ = ("metrics",)
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    METRICS_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...
