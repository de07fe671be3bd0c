"""Schemas of whole objects: defaults, pruning, and validation with the messages of a real server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.schema import filling
from informers.apiserver.schema.node import BUILTIN, Compiler, Node
from informers.apiserver.schema.structural import check_structural
from informers.apiserver.schema.validation import Validation
from informers.objects import Object

__all__ = ["Schema", "check_structural", "compile_schema"]

_GVK = "x-kubernetes-group-version-kind"


class Schema:
    """One compiled schema of a whole object, of a custom resource or of a built-in kind.

    :param raw: OpenAPI v3, without references.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw: dict[str, Any] = dict(raw)
        self.builtin = bool(raw.get(_GVK))
        self.root: Node = (BUILTIN if self.builtin else Compiler()).root(raw)
        names = (raw.get("properties") or {}).get("metadata") if not self.builtin else None
        # A custom schema may restrict names; everything else about metadata is the server's.
        self._names: Node | None = Compiler().compile(names) if names and names.get("properties") else None

    def defaulted(self, obj: Object, *, keep_nulls: bool = False, whole: bool = True) -> Object:
        """The object with defaults; nulls in fields that must not be null are dropped first.

        :param keep_nulls: leave them to validation, as servers do after a server-side apply.
        :param whole: write 2.0 as 2.
        """
        how = filling.Filling(keep_nulls, self.builtin, whole)
        result: Object = filling.defaulted(obj, self.root, how)
        return result

    def pruned(self, obj: Object) -> tuple[Object, list[str]]:
        """The object without unknown fields, and their paths, such as ``spec.containers[0].foo``."""
        unknown: list[str] = []
        result: Object = filling.pruned(obj, self.root, "", unknown)
        return result, unknown

    def validate(self, obj: Object, old: Object | None = None) -> list[Cause]:
        """What is wrong with a defaulted object, as causes of a 422.

        :param old: the object it replaces: rules about transitions need it, and what was wrong before
            and did not change is let through.
        """
        return Validation(self.builtin).run(obj, old, self.root, self._names)


def compile_schema(raw: Mapping[str, Any]) -> Schema:
    """Compile a schema once, use it often. It must have passed :func:`check_structural`."""
    return Schema(raw)
