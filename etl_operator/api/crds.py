"""CustomResourceDefinitions, generated from the models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from etl_operator.api.base import Model
from etl_operator.api.cluster import EtlRouterCluster
from etl_operator.api.pipeline import EtlPipeline
from etl_operator.api.resources import CATEGORY, CLUSTER, PIPELINE, SINK, SOURCE, TRANSFORM
from etl_operator.api.schema import structural_schema
from etl_operator.api.service import EtlSink, EtlSource, EtlTransform
from informers.objects import Object, Resource

_HEADER = "# Written by `etl-operator crds` from the models in etl_operator/api; do not edit.\n"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``.

    :param priority: 1 shows it with ``-o wide`` only.
    """

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


_READY = Column("Ready", _ready("status"))
_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_MESSAGE = Column("Message", _ready("message"), priority=1)
_IN_CLUSTER = Column("Cluster", ".status.cluster")

_CLUSTER_COLUMNS = (
    _READY,
    Column("Replicas", ".spec.replicas", "integer"),
    Column("ReadyReplicas", ".status.readyReplicas", "integer"),
    Column("Leader", ".status.leaderPod"),
    Column("Health", ".status.clusterHealth"),
    _AGE,
    _MESSAGE,
)
_PIPELINE_COLUMNS = (
    _READY,
    Column("Source", ".spec.source"),
    Column("Sink", ".spec.sink"),
    Column("Enabled", ".spec.enabled", "boolean"),
    Column("Records", ".status.recordsProcessed", "integer"),
    Column("DLQ", ".status.deadLetters", "integer"),
    _IN_CLUSTER,
    _AGE,
    _MESSAGE,
)
_SERVICE_COLUMNS = (
    _READY,
    Column("Endpoint", ".spec.grpc.endpoint"),
    Column("Health", ".status.health"),
    _IN_CLUSTER,
    _AGE,
    _MESSAGE,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: its resource, its model, and how people see it."""

    resource: Resource
    model: type[Model]
    short_name: str
    columns: tuple[Column, ...]
    scalable: bool = False


KINDS = (
    Kind(CLUSTER, EtlRouterCluster, "erc", _CLUSTER_COLUMNS, scalable=True),
    Kind(PIPELINE, EtlPipeline, "epl", _PIPELINE_COLUMNS),
    Kind(SOURCE, EtlSource, "esrc", _SERVICE_COLUMNS),
    Kind(TRANSFORM, EtlTransform, "etf", _SERVICE_COLUMNS),
    Kind(SINK, EtlSink, "esnk", _SERVICE_COLUMNS),
)
"""All kinds of the API group."""


@cache
def schema_of(resource: Resource) -> dict[str, Any]:
    """The ``openAPIV3Schema`` of one of the five resources. Read-only.

    :raises KeyError: for any other resource.
    """
    return structural_schema({kind.resource: kind.model for kind in KINDS}[resource])


def definition(kind: Kind) -> Object:
    """The CustomResourceDefinition of a kind."""
    resource = kind.resource
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "names": {
                "categories": [CATEGORY],
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "shortNames": [kind.short_name],
                "singular": resource.kind.lower(),
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": schema_of(resource)},
                    "subresources": _subresources(kind),
                }
            ],
        },
    }


def render_crds() -> dict[str, str]:
    """YAML text by file name, such as ``etl.router_etlsinks.yaml``; each ends with a newline."""
    return {
        f"{kind.resource.group}_{kind.resource.plural}.yaml": _HEADER
        + yaml.dump(definition(kind), Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
        for kind in KINDS
    }


_DEEP = 10
"""Mappings around a fragment, two for each level of fields."""


class _Dumper(yaml.SafeDumper):
    """Short lists and leaves on one line; no anchors, which make a manifest hard to patch."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        plain = all(isinstance(item, str) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=plain)

    _depth = 0

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        plain = "type" in mapping and all(isinstance(value, str | int) for value in mapping.values())
        short = "description" not in mapping and "jsonPath" not in mapping
        # Further in, the indentation of a leaf would be longer than the leaf.
        deep = "type" in mapping and self._depth > _DEEP and all(map(_is_flat, mapping.values()))
        self._depth += 1
        try:
            return super().represent_mapping(tag, mapping, flow_style=(plain and short) or deep)
        finally:
            self._depth -= 1


def _is_flat(value: Any) -> bool:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not any(isinstance(one, dict | list) for one in below)


def _column(column: Column) -> dict[str, Any]:
    wide = {"priority": column.priority} if column.priority else {}
    return {"name": column.name, "type": column.type, "jsonPath": column.json_path, **wide}


def _subresources(kind: Kind) -> dict[str, Any]:
    if not kind.scalable:
        return {"status": {}}
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    return {"status": {}, "scale": scale}
