"""Parts that every kind has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import ListType, Model
from etl_operator.api.fields import Counter, LongText, Namespace, ObjectName, Timestamp


class ObjectMeta(Model):
    """ObjectMeta has the fields of ``metadata`` that the operator reads; the API server validates them, not
    the schema."""

    name: ObjectName
    """name is unique within a namespace and kind."""
    namespace: Namespace | None = None
    """namespace is set by the API server if a manifest has none."""
    uid: str | None = None
    """uid identifies this object; another object of the same name has another uid."""
    generation: Counter | None = None
    """generation increases with every change of the spec."""
    resource_version: str | None = None
    """resourceVersion changes with every write."""
    creation_timestamp: str | None = None
    """creationTimestamp is the time when the object was created, in RFC 3339."""
    deletion_timestamp: str | None = None
    """deletionTimestamp is the time when deletion was requested, in RFC 3339. Not set before."""
    labels: dict[str, str] | None = None
    """labels are the labels of the object."""
    annotations: dict[str, str] | None = None
    """annotations are the annotations of the object."""
    finalizers: list[str] | None = None
    """finalizers must be empty before the object is removed."""


class ClusterRef(Model):
    """ClusterRef names an EtlRouterCluster."""

    name: ObjectName
    """name is the name of the EtlRouterCluster."""
    namespace: Namespace | None = None
    """namespace is the namespace of the EtlRouterCluster, which must list this object's namespace in
    spec.allowedNamespaces if they differ. If not set, the namespace of this object is used."""


class Condition(Model):
    """Condition is one aspect of the current state of an object."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """type of the condition, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """status of the condition: True, False or Unknown."""
    reason: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """reason is one word in CamelCase that says why the status is what it is. Programs can rely on it."""
    message: LongText
    """message describes the details for people."""
    last_transition_time: Timestamp
    """lastTransitionTime is the time when status last changed. A new reason or message does not change it."""
    observed_generation: Counter | None = None
    """observedGeneration is the metadata.generation that the condition is based on."""


Conditions = Annotated[list[Condition], ListType("type"), Field(max_length=32)]


class Status(Model):
    """Status has the status fields of all kinds."""

    observed_generation: Counter | None = None
    """observedGeneration is the metadata.generation that this status is based on."""
    conditions: Conditions | None = None
    """conditions is the list of conditions, sorted by type. Ready is always present; Reconciling and Stalled
    only while they are true."""
