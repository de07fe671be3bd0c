"""What is wrong with an object that is about to be installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from informers.apiserver.schema import Schema, compile_schema
from informers.apiserver.schema.bundle import builtin_schemas
from informers.objects import Object

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config"
CHART = ROOT / "helm" / "etl-operator"


@cache
def _schema(group: str, version: str, kind: str) -> Schema:
    return compile_schema(builtin_schemas()[group, version, kind])


def problems(obj: Object) -> list[str]:
    """Unknown fields and broken rules of a built-in kind."""
    group, _, version = str(obj["apiVersion"]).rpartition("/")
    schema = _schema(group, version, obj["kind"])
    stored, unknown = schema.pruned(schema.defaulted(obj))
    return [*(f"unknown field {path}" for path in unknown), *map(str, schema.validate(stored))]


def only(objects: list[Object], kind: str, name: str = "") -> Object:
    """The one object of a kind, or the one of this name."""
    found = [o for o in objects if o["kind"] == kind and name in ("", o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects {kind} {name}"
    return found[0]


def rules(role: Object) -> set[tuple[str, str, str, str]]:
    """A role's rules as single grants: API group, resource, verb, name of the object or ""."""
    return {
        (group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def container_of(deployment: Object) -> dict[str, Any]:
    """The only container of a Deployment."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)
