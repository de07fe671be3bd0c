"""A CustomResourceDefinition for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from informers.objects import Object


def definition(
    kind: str, group: str, schema: Object, *, names: Mapping[str, Any] | None = None, **version: Any
) -> Object:
    """A namespaced kind with one version, ``v1``, whose plural is the kind in lower case with an ``s``.

    :param schema: ``openAPIV3Schema`` of the version.
    :param names: replace or add to ``spec.names``.
    :param version: further fields of the version.
    """
    singular = kind.lower()
    all_names = {
        "plural": f"{singular}s",
        "singular": singular,
        "kind": kind,
        "listKind": f"{kind}List",
        **(names or {}),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{all_names['plural']}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": all_names,
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    **version,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def with_spec(spec: Object) -> Object:
    """A schema with nothing but a spec."""
    return {"type": "object", "properties": {"spec": spec}}
