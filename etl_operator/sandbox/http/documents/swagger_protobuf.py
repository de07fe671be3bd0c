"""``/openapi/v2`` in its protobuf form, the only one that Go's discovery client asks for.

The messages are those of ``openapi.v2``. As on a real server they are made from the JSON document
(``ToProtoBinary`` in k8s.io/kube-openapi, over gnostic's ``ParseDocument``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from informers.apiserver.protobuf.descriptors import swagger

_Waiting = list[tuple[Any, Any]]
"""Messages, and the values that are still to be written to them."""
_Writer = Callable[[Any, Any, _Waiting], None]
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What YAML refuses, or takes for the end of a line, in JSON text. All other JSON is YAML."""


def encoded(document: bytes) -> bytes:
    """The document as an ``openapi.v2.Document``.

    A key that the messages have no field for is left out, as are ``null`` and, since that is how protobuf
    writes nothing, ``0``, ``false`` and ``""``.

    :param document: the same in JSON.
    """
    message = swagger()()
    # Schemas nest deeper than calls may.
    waiting: _Waiting = [(message, msgspec.json.decode(document))]
    while waiting:
        current, value = waiting.pop()
        _WRITERS.get(current.DESCRIPTOR.name, _write)(current, value, waiting)
    return message.SerializeToString()


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where the values of a mapping go in a message.

    :param by_key: fields for one key each.
    :param extensions: the list for keys that begin with ``x-``, if there is one.
    :param entries: the list for all other keys, if there is one.
    """

    by_key: Mapping[str, FieldDescriptor]
    extensions: str | None
    entries: str | None


@cache
def _fields(descriptor: Descriptor) -> _Fields:
    lists = {
        field.name: field
        for field in descriptor.fields
        if field.message_type is not None and field.message_type.name.startswith("Named")
    }
    return _Fields(
        {
            "$ref" if field.name == "_ref" else field.json_name: field
            for field in descriptor.fields
            if field.name not in lists
        },
        next((name for name in lists if name == "vendor_extension"), None),
        next((name for name in lists if name != "vendor_extension"), None),
    )


def _write(message: Any, value: Any, waiting: _Waiting) -> None:
    fields = _fields(message.DESCRIPTOR)
    for key, one in value.items():
        if (field := fields.by_key.get(key)) is not None:
            _set(message, field, one, waiting)
            continue
        entries = fields.extensions if fields.extensions and key.startswith("x-") else fields.entries
        if entries is not None:
            entry = getattr(message, entries).add()
            entry.name = key
            _set(entry, entry.DESCRIPTOR.fields_by_name["value"], one, waiting)


def _set(message: Any, field: FieldDescriptor, value: Any, waiting: _Waiting) -> None:
    if field.message_type is not None:
        current = getattr(message, field.name)
        if field.is_repeated:
            waiting.extend((current.add(), one) for one in value or ())
        elif value is not None or field.message_type.name == "Any":
            # What is empty is there all the same.
            current.SetInParent()
            waiting.append((current, value))
    elif field.is_repeated:
        getattr(message, field.name).extend(value or ())
    elif value is not None:
        setattr(message, field.name, value)


def _any(message: Any, value: Any, _: _Waiting) -> None:
    text = msgspec.json.encode(value).decode()
    message.yaml = _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n"


def _strings(message: Any, value: str | list[str], _: _Waiting) -> None:
    message.value.extend([value] if isinstance(value, str) else value)


def _item(message: Any, value: Any, waiting: _Waiting) -> None:
    waiting.append((message.schema.add(), value))


def _one_of(choose: Callable[[Any], str]) -> _Writer:
    """The writer of a message that has one of several fields, which ``choose`` names."""

    def write(message: Any, value: Any, waiting: _Waiting) -> None:
        _set(message, message.DESCRIPTOR.fields_by_name[choose(value)], value, waiting)

    return write


_WRITERS: Mapping[str, _Writer] = {
    "Any": _any,
    "TypeItem": _strings,
    "StringArray": _strings,
    "ItemsItem": _item,
    "AdditionalPropertiesItem": _one_of(lambda value: "boolean" if isinstance(value, bool) else "schema"),
    "ParametersItem": _one_of(lambda _: "parameter"),
    "Parameter": _one_of(lambda value: "body_parameter" if value["in"] == "body" else "non_body_parameter"),
    "NonBodyParameter": _one_of(lambda value: f"{value['in']}_parameter_sub_schema"),
    "ResponseValue": _one_of(lambda _: "response"),
    "SchemaItem": _one_of(lambda _: "schema"),
    "SecurityDefinitionsItem": _one_of(lambda _: "api_key_security"),
}
"""Messages that are not written as mappings are."""
