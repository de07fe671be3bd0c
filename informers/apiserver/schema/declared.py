"""The types of a schema, declared for CEL's type checker.

Objects become messages that exist for the checker alone; values are never turned into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

_PACKAGE = "rule"
_KIND = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "boolean": _KIND.TYPE_BOOL,
    "integer": _KIND.TYPE_INT64,
    "number": _KIND.TYPE_DOUBLE,
    "string": _KIND.TYPE_STRING,
}
_DYNAMIC = ".google.protobuf.Value"
_TIMES = {
    "date": ".google.protobuf.Timestamp",
    "date-time": ".google.protobuf.Timestamp",
    "duration": ".google.protobuf.Duration",
}
_TEXT = {"type": "string"}
_EMBEDDED = {
    "apiVersion": _TEXT,
    "kind": _TEXT,
    "metadata": {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}},
}
_IMPORTS = (duration_pb2.DESCRIPTOR, struct_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR)


class Declarations:
    """The messages of one fragment.

    :param spelled: gives a field the name CEL can spell.
    """

    def __init__(self, raw: Mapping[str, Any], spelled: Callable[[str], str]) -> None:
        self._spelled = spelled
        self._file = descriptor_pb2.FileDescriptorProto(name="rule.proto", package=_PACKAGE, syntax="proto2")
        self._raw = raw

    def variable(self, cel: Any) -> tuple[Any, Any]:
        """The type of ``self``, and the pool that holds what it refers to.

        :param cel: the library.
        """
        found = self._variable(self._raw, cel)
        pool = descriptor_pool.DescriptorPool()
        for imported in _IMPORTS:
            copied = descriptor_pb2.FileDescriptorProto()
            imported.CopyToProto(copied)
            pool.Add(copied)
            self._file.dependency.append(imported.name)
        pool.Add(self._file)
        return found, pool

    def _variable(self, raw: Mapping[str, Any], cel: Any) -> Any:
        kind = cel.Type
        if _is_dynamic(raw):
            return kind.DYN
        if raw["type"] == "array":
            return kind.List(self._variable(raw.get("items") or {}, cel))
        if _is_map(raw):
            return kind.Map(kind.STRING, self._variable(raw["additionalProperties"], cel))
        if raw["type"] == "object":
            return kind(self._message(raw).removeprefix("."))
        if raw["type"] == "string":
            formats = {
                "byte": kind.BYTES,
                "date": kind.TIMESTAMP,
                "date-time": kind.TIMESTAMP,
                "duration": kind.DURATION,
            }
            return formats.get(raw.get("format", ""), kind.STRING)
        return {"boolean": kind.BOOL, "integer": kind.INT, "number": kind.DOUBLE}.get(raw["type"], kind.DYN)

    def _message(self, raw: Mapping[str, Any]) -> str:
        """Declare an object; returns the name of its message."""
        name = f"Object{len(self._file.message_type)}"
        message = self._file.message_type.add(name=name)
        # Nobody writes these as JSON, where names that differ in an underscore would be one.
        message.options.deprecated_legacy_json_field_conflicts = True
        properties = dict(raw.get("properties") or {})
        if raw.get("x-kubernetes-embedded-resource"):
            properties |= _EMBEDDED
        for number, (key, below) in enumerate(properties.items(), 1):
            field = message.field.add(name=self._spelled(key), number=number, label=_KIND.LABEL_OPTIONAL)
            if not _is_dynamic(below) and below["type"] == "array":
                field.label = _KIND.LABEL_REPEATED
                below = below.get("items") or {}
                if not _is_dynamic(below) and (below["type"] == "array" or _is_map(below)):
                    # Protocol buffers have no lists of lists.
                    below = {}
            elif not _is_dynamic(below) and _is_map(below):
                field.label = _KIND.LABEL_REPEATED
                entry = self._entry(message, field.name, below["additionalProperties"])
                field.type, field.type_name = _KIND.TYPE_MESSAGE, f".{_PACKAGE}.{name}.{entry}"
                continue
            self._set_type(field, below)
        return f".{_PACKAGE}.{name}"

    def _entry(self, message: Any, field: str, value: Mapping[str, Any]) -> str:
        # The format asks for this very name.
        words = field.split("_")
        entry = message.nested_type.add(name="".join(one[:1].upper() + one[1:] for one in words) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_KIND.TYPE_STRING, label=_KIND.LABEL_OPTIONAL)
        held = entry.field.add(name="value", number=2, label=_KIND.LABEL_OPTIONAL)
        several = not _is_dynamic(value) and (value["type"] == "array" or _is_map(value))
        self._set_type(held, {} if several else value)
        return str(entry.name)

    def _set_type(self, field: Any, raw: Mapping[str, Any]) -> None:
        if not _is_dynamic(raw) and raw["type"] == "object":
            field.type, field.type_name = _KIND.TYPE_MESSAGE, self._message(raw)
        elif not _is_dynamic(raw) and raw["type"] == "string" and raw.get("format") in _TIMES:
            field.type, field.type_name = _KIND.TYPE_MESSAGE, _TIMES[raw["format"]]
        elif not _is_dynamic(raw) and raw["type"] == "string" and raw.get("format") == "byte":
            field.type = _KIND.TYPE_BYTES
        elif not _is_dynamic(raw) and raw["type"] in _SCALARS:
            field.type = _SCALARS[raw["type"]]
        else:
            field.type, field.type_name = _KIND.TYPE_MESSAGE, _DYNAMIC


def _is_dynamic(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("x-kubernetes-int-or-string")) or not raw.get("type")


def _is_map(raw: Mapping[str, Any]) -> bool:
    return raw["type"] == "object" and isinstance(raw.get("additionalProperties"), Mapping)
