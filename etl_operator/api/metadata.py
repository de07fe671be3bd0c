"""Parts that every kind has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from etl_operator.api.base import ListType, Model
from etl_operator.api.fields import Counter, LongText, Namespace, ObjectName, Timestamp


class ObjectMeta(Model):
    """The fields of ``metadata`` the operator looks at; the API server checks it, not the schema."""

    name: ObjectName
    """Unique within its namespace and kind."""
    namespace: Namespace | None = None
    """Set by the API server when a manifest has none."""
    uid: str | None = None
    """Identity of this very object; a new object of the same name gets another one."""
    generation: Counter | None = None
    """Grows with every change of the spec."""
    resource_version: str | None = None
    """Changes with every write."""
    creation_timestamp: str | None = None
    """When the object was created, RFC 3339."""
    deletion_timestamp: str | None = None
    """When its deletion was asked for, RFC 3339; absent while nobody did."""
    labels: dict[str, str] | None = None
    """Labels."""
    annotations: dict[str, str] | None = None
    """Annotations."""
    finalizers: list[str] | None = None
    """Who has to let go before the object vanishes."""


class ClusterRef(Model):
    """The EtlRouterCluster an object belongs to."""

    name: ObjectName
    """Name of the EtlRouterCluster."""
    namespace: Namespace | None = None
    """Its namespace. Default: the object's own. Another one must list this namespace in allowedNamespaces."""


class Condition(Model):
    """One aspect of an object's state."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What is judged, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """The verdict."""
    reason: Annotated[str, Field(max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """One word for programs."""
    message: LongText
    """A sentence for people."""
    last_transition_time: Timestamp
    """When the status last changed; a new reason or message does not move it."""
    observed_generation: Counter | None = None
    """The metadata.generation this verdict is about."""


Conditions = Annotated[list[Condition], ListType("type"), Field(max_length=32)]


class Status(Model):
    """What the statuses of all kinds have in common."""

    observed_generation: Counter | None = None
    """The metadata.generation this status is about."""
    conditions: Conditions | None = None
    """Sorted by type. Ready is always there; Reconciling and Stalled only while they are true."""
