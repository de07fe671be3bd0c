"""Parts of a pod that users set and the operator passes on, shaped as in Kubernetes' own API.

Only shapes and bounds are checked here; what they mean is the API server's to judge when the StatefulSet
is applied, and its error is reported in the cluster's conditions.
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
    """Resources are the compute resources of the router container."""

    requests: Quantities | None = None
    """requests are the guaranteed amounts by resource name, such as cpu: 100m. Defaults to limits."""
    limits: Quantities | None = None
    """limits are the largest amounts by resource name. If not set, there are none."""


class LocalReference(Model):
    """LocalReference names an object of the same namespace."""

    name: ObjectName
    """name of the object."""


class FieldRef(Model):
    """FieldRef selects a field of the pod."""

    api_version: ShortText | None = None
    """apiVersion of the path. Defaults to v1."""
    field_path: ShortText
    """fieldPath is the path of the field, such as metadata.name or status.podIP."""


class ResourceFieldRef(Model):
    """ResourceFieldRef selects a resource of a container."""

    container_name: ShortText | None = None
    """containerName is the name of the container. Defaults to router."""
    resource: ShortText
    """resource to select, such as limits.cpu."""
    divisor: Quantity | None = None
    """divisor is the unit of the value. Defaults to 1."""


class KeyRef(Model):
    """KeyRef selects a key of a ConfigMap or Secret."""

    name: ObjectName
    """name of the ConfigMap or Secret."""
    key: Key
    """key to select."""
    optional: bool | None = None
    """optional specifies whether the pod starts without the object or key. Defaults to false."""


class EnvSource(Model):
    """EnvSource is the source of a variable's value. Exactly one field must be set."""

    field_ref: FieldRef | None = None
    """fieldRef selects a field of the pod."""
    resource_field_ref: ResourceFieldRef | None = None
    """resourceFieldRef selects a resource of a container."""
    config_map_key_ref: KeyRef | None = None
    """configMapKeyRef selects a key of a ConfigMap."""
    secret_key_ref: KeyRef | None = None
    """secretKeyRef selects a key of a Secret. The operator does not read it."""


def _one_origin(variable: EnvVar) -> bool:
    return variable.value is None or variable.value_from is None


class EnvVar(Model):
    """EnvVar is an environment variable."""

    rules = (
        Rule(
            "!has(self.value) || !has(self.valueFrom)", "value and valueFrom exclude each other", _one_origin
        ),
    )

    name: Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
    """name of the variable. Variables that the operator sets cannot be replaced."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """value of the variable; $(NAME) refers to another variable. Defaults to the empty string."""
    value_from: EnvSource | None = None
    """valueFrom is the source of the value. Cannot be used together with value."""


Environment = Annotated[list[EnvVar], ListType("name"), Field(max_length=128)]
PullSecrets = Annotated[list[LocalReference], ListType("name"), Field(max_length=16)]


class Toleration(Model):
    """Toleration is a taint that the pods tolerate."""

    key: OptionalKey | None = None
    """key of the taint. If not set, all keys match; operator must then be Exists."""
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = None
    """operator compares the taint's value with value. Defaults to Equal."""
    value: ShortText | None = None
    """value of the taint. Defaults to the empty string."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """effect of the taint. If not set, all effects match."""
    toleration_seconds: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] | None = None
    """tolerationSeconds is how long a NoExecute taint is tolerated. If not set, without limit."""


class Requirement(Model):
    """Requirement is a condition on a label."""

    key: Key
    """key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """operator relates the label to values."""
    values: Values | None = None
    """values for In and NotIn."""


class NodeRequirement(Model):
    """NodeRequirement is a condition on a label or field of a node."""

    key: Key
    """key of the label, or the field."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    """operator relates the label or field to values."""
    values: Values | None = None
    """values to compare with; exactly one for Gt and Lt."""


class LabelSelector(Model):
    """LabelSelector selects objects by their labels."""

    match_labels: MatchLabels | None = None
    """matchLabels are labels that an object must have."""
    match_expressions: Annotated[list[Requirement], Field(max_length=32)] | None = None
    """matchExpressions are conditions that must all be met."""


class NodeSelectorTerm(Model):
    """NodeSelectorTerm is a list of conditions on a node that must all be met."""

    match_expressions: Annotated[list[NodeRequirement], Field(max_length=32)] | None = None
    """matchExpressions are conditions on labels."""
    match_fields: Annotated[list[NodeRequirement], Field(max_length=32)] | None = None
    """matchFields are conditions on fields."""


class NodeSelector(Model):
    """NodeSelector selects nodes that meet at least one term."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(max_length=16)]
    """nodeSelectorTerms is the list of terms."""


class PreferredNodes(Model):
    """PreferredNodes is a weighted preference for nodes."""

    weight: Weight
    """weight of the preference, 1 to 100."""
    preference: NodeSelectorTerm
    """preference selects the nodes."""


class NodeAffinity(Model):
    """NodeAffinity describes on which nodes the pods can run."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """Only these nodes can run the pods."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredNodes], Field(max_length=16)] | None
    ) = None
    """The scheduler prefers these nodes."""


class PodAffinityTerm(Model):
    """PodAffinityTerm selects pods and defines topology domains."""

    topology_key: Key
    """topologyKey is a node label; nodes with the same value form one domain."""
    label_selector: LabelSelector | None = None
    """labelSelector selects the pods."""
    namespaces: Annotated[list[Namespace], Field(max_length=64)] | None = None
    """namespaces of the pods. Defaults to the cluster's namespace."""
    namespace_selector: LabelSelector | None = None
    """namespaceSelector selects further namespaces by labels."""
    match_label_keys: Keys | None = None
    """matchLabelKeys are labels whose values must equal those of the new pod."""
    mismatch_label_keys: Keys | None = None
    """mismatchLabelKeys are labels whose values must differ."""


class PreferredPods(Model):
    """PreferredPods is a weighted preference for domains."""

    weight: Weight
    """weight of the preference, 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """podAffinityTerm selects the domains."""


class PodAffinity(Model):
    """PodAffinity describes constraints on domains by the pods that run there."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[list[PodAffinityTerm], Field(max_length=16)] | None
    ) = None
    """All of these constraints must be met."""
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[list[PreferredPods], Field(max_length=16)] | None
    ) = None
    """The scheduler prefers domains that meet these constraints."""


class Affinity(Model):
    """Affinity describes the scheduling constraints of the pods."""

    node_affinity: NodeAffinity | None = None
    """nodeAffinity describes on which nodes the pods can run."""
    pod_affinity: PodAffinity | None = None
    """podAffinity places the pods near other pods."""
    pod_anti_affinity: PodAffinity | None = None
    """podAntiAffinity places the pods away from other pods."""


class TopologySpreadConstraint(Model):
    """TopologySpreadConstraint describes how pods are spread across topology domains."""

    max_skew: Annotated[int, Field(ge=1, le=2**31 - 1)]
    """maxSkew is the largest allowed difference in the number of pods between two domains."""
    topology_key: Key
    """topologyKey is a node label; nodes with the same value form one domain."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """whenUnsatisfiable specifies what to do with a pod that does not meet the constraint."""
    label_selector: LabelSelector | None = None
    """labelSelector selects the pods that are counted."""
    min_domains: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """minDomains is the smallest number of domains. Defaults to 1."""
    match_label_keys: Keys | None = None
    """matchLabelKeys are labels whose values the counted pods must share."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """nodeAffinityPolicy specifies whether only nodes that the pod's affinity allows are counted. Defaults to
    Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """nodeTaintsPolicy specifies whether only nodes whose taints are tolerated are counted. Defaults to
    Ignore."""


SpreadConstraints = Annotated[list[TopologySpreadConstraint], Field(max_length=8)]
Tolerations = Annotated[list[Toleration], Field(max_length=64)]
