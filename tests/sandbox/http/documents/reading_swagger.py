"""The protobuf form of ``/openapi/v2``, read back into what its JSON form decodes to."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from informers.apiserver.protobuf.descriptors import swagger


def decoded(body: bytes) -> Any:
    """The document in a body."""
    return _value(swagger().FromString(body))


@cache
def _yaml(text: str) -> Any:
    return yaml.load(text, yaml.CSafeLoader)


def _value(message: Any) -> Any:
    kind = message.DESCRIPTOR.name
    if kind == "Any":
        return _yaml(message.yaml)
    if kind in ("TypeItem", "StringArray"):
        values = list(message.value)
        return values[0] if kind == "TypeItem" and len(values) == 1 else values
    if kind == "ItemsItem":
        return _value(message.schema[0])
    if "oneof" in message.DESCRIPTOR.oneofs_by_name:
        chosen = message.WhichOneof("oneof")
        one = getattr(message, chosen)
        return one if chosen == "boolean" else _value(one)
    return _fields(message)


def _fields(message: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.name.startswith("Named"):
            result.update((one.name, _value(one.value)) for one in value)
            continue
        if field.message_type is None:
            read = list(value) if field.is_repeated else value
        else:
            read = [_value(one) for one in value] if field.is_repeated else _value(value)
        result["$ref" if field.name == "_ref" else field.json_name] = read
    return result
