"""The schemas of the built-in kinds, as a real server serves them (Apache-2.0, see NOTICE).

``make.py`` writes the bundle out of the ``/openapi/v3`` of a kube-apiserver.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

VERSION = "1.37"
"""The Kubernetes minor version the schemas come from."""

OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

_REFERENCE = "#/components/schemas/"
_GVK = "x-kubernetes-group-version-kind"


@cache
def definitions() -> dict[str, Any]:
    """All definitions by name, as in the ``components.schemas`` of an OpenAPI v3 document. Read-only."""
    packed = files(__package__).joinpath(f"builtin-{VERSION}.json.gz").read_bytes()
    result: dict[str, Any] = json.loads(gzip.decompress(packed))
    return result


@cache
def builtin_schemas() -> Mapping[tuple[str, str, str], dict[str, Any]]:
    """The schemas of whole objects by (group, version, kind), as :func:`resolved`. Read-only.

    Fragments used in several places are the same dictionary everywhere.
    """
    result: dict[tuple[str, str, str], dict[str, Any]] = {}
    for name, schema in definitions().items():
        for gvk in schema.get(_GVK, ()):
            result[gvk["group"], gvk["version"], gvk["kind"]] = resolved(name)
    return result


@cache
def resolved(name: str) -> dict[str, Any]:
    """One definition with every reference replaced by what it refers to.

    A definition that contains itself is cut there: any value is accepted below. Enumerations are left out:
    they inform readers, while what a server accepts, and how it refuses the rest, is up to each kind.

    :raises KeyError: no such definition.
    """
    return _RESOLVER.definition(name)


class _Resolver:
    def __init__(self) -> None:
        self._open: set[str] = set()
        self._done: dict[str, dict[str, Any]] = {}

    def definition(self, name: str) -> dict[str, Any]:
        if name in self._open:
            return {"x-kubernetes-preserve-unknown-fields": True}
        if name not in self._done:
            self._open.add(name)
            self._done[name] = self._fragment(definitions()[name])
            self._open.discard(name)
        return self._done[name]

    def _fragment(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._fragment(one) for one in value]
        if not isinstance(value, dict):
            return value
        target = value.get("$ref")
        if not isinstance(target, str):
            # A list: the schema of schemas has a field of this name.
            kept = {key: one for key, one in value.items() if key != "enum" or not isinstance(one, list)}
            return {key: self._fragment(one) for key, one in kept.items()}
        found = self.definition(target.removeprefix(_REFERENCE))
        if len(value) == 1:
            return found
        return {**found, **{key: self._fragment(one) for key, one in value.items() if key != "$ref"}}


_RESOLVER = _Resolver()
