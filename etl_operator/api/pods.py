"""Parts of a pod that users set and the operator passes on, shaped as in Kubernetes' own API.

Only shapes and bounds are checked here; what they mean is the API server's to judge when the StatefulSet
is applied, and its verdict is told in the cluster's conditions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import ListType, Model, Rule
from etl_operator.api.fields import (
    Namespace,
    ObjectName,
    Quantities,
    Quantity,
    ShortText,
)

Weight = Annotated[int, Field(ge=1, le=100)]
Key = Annotated[str, Field(min_length=1, max_length=316)]
OptionalKey = Annotated[str, Field(max_length=316)]
Keys = Annotated[list[Key], Field(max_length=64)]
MatchLabels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)]
Values = Annotated[list[ShortText], Field(max_length=256)]


class Resources(Model):
    """Compute resources of the router container."""

    requests: Quantities | None = None
    """Guaranteed amounts by resource name, such as cpu: 100m and memory: 256Mi. Default: none."""
    limits: Quantities | None = None
    """Upper bounds by resource name. Default: none."""


class LocalReference(Model):
    """An object of the same namespace."""

    name: ObjectName
    """Its name."""


class FieldRef(Model):
    """A field of the pod."""

    api_version: ShortText | None = None
    """API version of the path. Default: v1."""
    field_path: ShortText
    """Such as metadata.name or status.podIP."""


class ResourceFieldRef(Model):
    """A resource of a container."""

    container_name: ShortText | None = None
    """Default: the router container."""
    resource: ShortText
    """Such as limits.cpu."""
    divisor: Quantity | None = None
    """Unit of the value. Default: 1."""


class KeyRef(Model):
    """One key of a ConfigMap or a Secret."""

    name: ObjectName
    """Name of the ConfigMap or Secret."""
    key: Key
    """The key."""
    optional: bool | None = None
    """Start even without it. Default: false."""


class EnvSource(Model):
    """Where the value of a variable comes from: exactly one of these."""

    field_ref: FieldRef | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldRef | None = None
    """A resource of a container."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret; the operator never reads it."""


def _one_origin(variable: EnvVar) -> bool:
    return variable.value is None or variable.value_from is None


class EnvVar(Model):
    """One environment variable."""

    rules = (
        Rule(
            "!has(self.value) || !has(self.valueFrom)", "value and valueFrom exclude each other", _one_origin
        ),
    )

    name: Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    """Name of the variable. The names the operator sets itself cannot be replaced."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """Its value; $(NAME) refers to another variable. Default: empty."""
    value_from: EnvSource | None = None
    """Where the value comes from instead."""


Environment = Annotated[list[EnvVar], ListType("name"), Field(max_length=128)]
PullSecrets = Annotated[list[LocalReference], ListType("name"), Field(max_length=16)]


class Toleration(Model):
    """A taint the pods put up with."""

    key: OptionalKey | None = None
    """Key of the taint. Default: all keys, with operator Exists."""
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = None
    """How value is compared. Default: Equal."""
    value: ShortText | None = None
    """Value of the taint. Default: empty."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: all effects."""
    toleration_seconds: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = None
    """Seconds a NoExecute taint is put up with. Default: for ever."""


class Requirement(Model):
    """One condition on a label."""

    key: Key
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How values are used."""
    values: Values | None = None
    """Values for In and NotIn."""


class NodeRequirement(Model):
    """One condition on a node's label or field."""

    key: Key
    """Key of the label, or the field."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """How values are used."""
    values: Values | None = None
    """Values; exactly one for Gt and Lt."""


class LabelSelector(Model):
    """Objects with certain labels."""

    match_labels: MatchLabels | None = None
    """Labels the objects must have."""
    match_expressions: Annotated[list[Requirement], Field(max_length=32)] | None = None
    """Conditions they must fulfil, all of them."""


class NodeSelectorTerm(Model):
    """Conditions on one node, all of them."""

    match_expressions: Annotated[list[NodeRequirement], Field(max_length=32)] | None = None
    """Conditions on its labels."""
    match_fields: Annotated[list[NodeRequirement], Field(max_length=32)] | None = None
    """Conditions on its fields."""


class NodeSelector(Model):
    """Nodes that fulfil at least one term."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(max_length=16)]
    """The terms."""


class PreferredNodes(Model):
    """Nodes that are liked better."""

    weight: Weight
    """How much, 1 to 100."""
    preference: NodeSelectorTerm
    """Which nodes."""


class NodeAffinity(Model):
    """Which nodes the pods may or should run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Other nodes are out of the question."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodes], Field(max_length=16)] | None
    ) = None
    """Nodes that are liked better."""


class PodAffinityTerm(Model):
    """Pods, and what counts as the same place."""

    topology_key: Key
    """Nodes with the same value of this label are one place."""
    label_selector: LabelSelector | None = None
    """Which pods."""
    namespaces: Annotated[list[Namespace], Field(max_length=64)] | None = None
    """Where they are. Default: the cluster's namespace."""
    namespace_selector: LabelSelector | None = None
    """Where they are, by the labels of the namespaces."""
    match_label_keys: Keys | None = None
    """Labels whose values the pods must share with the new pod."""
    mismatch_label_keys: Keys | None = None
    """Labels whose values must differ."""


class PreferredPods(Model):
    """Places that are liked better."""

    weight: Weight
    """How much, 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """Which places."""


class PodAffinity(Model):
    """Places by the pods that are there."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodAffinityTerm], Field(max_length=16)] | None
    ) = None
    """Must hold, all of them."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredPods], Field(max_length=16)] | None
    ) = None
    """Should hold."""


class Affinity(Model):
    """Where pods may run, by nodes and by neighbours."""

    node_affinity: NodeAffinity | None = None
    """Which nodes."""
    pod_affinity: PodAffinity | None = None
    """Near which pods."""
    pod_anti_affinity: PodAffinity | None = None
    """Away from which pods."""


class TopologySpreadConstraint(Model):
    """How evenly pods are spread over places."""

    max_skew: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """Largest difference in the number of pods between two places."""
    topology_key: Key
    """Nodes with the same value of this label are one place."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What to do when it cannot be kept."""
    label_selector: LabelSelector | None = None
    """Which pods are counted."""
    min_domains: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Least number of places. Default: 1."""
    match_label_keys: Keys | None = None
    """Labels whose values the counted pods must share."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes the pod may run on count. Default: Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether only nodes whose taints are tolerated count. Default: Ignore."""


SpreadConstraints = Annotated[list[TopologySpreadConstraint], Field(max_length=8)]
Tolerations = Annotated[list[Toleration], Field(max_length=64)]
