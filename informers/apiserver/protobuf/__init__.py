"""Request bodies in Kubernetes' protobuf form, which kubectl and Helm send for built-in kinds.

A body is four magic bytes and an envelope that names the kind; inside is the kind's own message. Answers
are always JSON: clients take that.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from informers.apiserver.builtin.gotypes import Struct, struct_of
from informers.apiserver.errors import StatusError
from informers.apiserver.errors.bounds import too_deep
from informers.apiserver.protobuf.descriptors import kubernetes
from informers.objects import Object

__all__ = ["CONTENT_TYPE", "MAGIC", "decode"]

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1"
_ENVELOPE = "k8s.io.apimachinery.pkg.runtime.Unknown"
_PACKAGES: Mapping[str, str] = {
    "": "k8s.io.api.core",
    "rbac.authorization.k8s.io": "k8s.io.api.rbac",
    "apiextensions.k8s.io": "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
    "apiregistration.k8s.io": "k8s.io.kube_aggregator.pkg.apis.apiregistration",
    "flowcontrol.apiserver.k8s.io": "k8s.io.api.flowcontrol",
    **{
        f"{name}.k8s.io": f"k8s.io.api.{name}"
        for name in (
            "admissionregistration",
            "authentication",
            "authorization",
            "certificates",
            "coordination",
            "discovery",
            "events",
            "networking",
            "node",
            "resource",
            "scheduling",
            "storage",
            "storagemigration",
        )
    },
    **{name: f"k8s.io.api.{name}" for name in ("apps", "autoscaling", "batch", "policy")},
}
# Sent in the name of any group.
_EVERYWHERE = ("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "ListOptions")


def decode(body: bytes) -> Object:
    """The object in a body, as its JSON form would be decoded, without the zero values Go writes along.

    :raises StatusError: 400 for a body that cannot be read, 415 for a kind that is not known here.
    """
    if not body.startswith(MAGIC):
        raise _unreadable("the body does not begin with the protobuf prefix")
    envelope = _read(_ENVELOPE, body[len(MAGIC) :])
    api_version, kind = _text(envelope.typeMeta.apiVersion), _text(envelope.typeMeta.kind)
    if envelope.contentEncoding:
        raise _unreadable(f"content encoding {envelope.contentEncoding!r}")
    group, _, version = api_version.rpartition("/")
    package = _META if kind in _EVERYWHERE else f"{_PACKAGES.get(group, group)}.{version}"
    message = _read(f"{package}.{kind}", envelope.raw)
    result: Object = {"apiVersion": api_version, "kind": kind}
    try:
        struct = struct_of(api_version, kind) or struct_of(group, kind)
        return {**result, **_object(message, struct)}
    except UnicodeDecodeError as error:
        # The key of a map that is no UTF-8: the library notices when it is read.
        raise _unreadable(str(error)) from None


def _unreadable(why: str) -> StatusError:
    return StatusError(400, "BadRequest", f"the object provided is unrecognized: {why}")


def _read(name: str, data: bytes) -> Any:
    try:
        kind: Any = kubernetes(name)
    except KeyError:
        raise StatusError(
            415, "UnsupportedMediaType", f"this server does not accept {name} in protobuf form; send JSON"
        ) from None
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise _unreadable(str(error)) from None


def _object(message: Message, struct: Struct | None) -> Object:
    """The JSON form of a message.

    :param struct: its Go type, which says what is embedded and which zeros are nothing; ``None`` keeps all.
    """
    result: Object = {}
    spelled = _of_schema if message.DESCRIPTOR.full_name == f"{_EXTENSIONS}.JSONSchemaProps" else str
    for field, value in message.ListFields():
        name = spelled(field.name)
        known = struct.fields.get(name) if struct is not None else None
        if struct is not None and known is None and _is_plain(field):
            # Embedded in Go: its fields are those of what it stands in.
            result.update(_object(value, struct))
            continue
        written = _field(field, value, known.struct if known else None, known.inner if known else None)
        if written is None:
            continue
        nothing = known is not None and known.optional and not known.pointer
        if nothing and written in ("", False, 0) and not isinstance(written, dict | list):
            continue
        result[name] = written
    return result


def _is_plain(field: Any) -> bool:
    """Whether a field holds one message without a JSON form of its own."""
    if field.is_repeated or field.type != FieldDescriptor.TYPE_MESSAGE:
        return False
    return field.message_type.full_name not in _WRITERS


def _field(field: Any, value: Any, struct: Struct | None, inner: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        of_value = field.message_type.fields_by_name["value"]
        below = inner.struct if inner is not None else None
        return {_text(key): _value(of_value, one, below) for key, one in sorted(value.items())}
    if field.is_repeated:
        below = inner.struct if inner is not None else None
        return [_value(field, one, below) for one in value]
    return _value(field, value, struct)


def _value(field: Any, value: Any, struct: Struct | None) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64.b64encode(value).decode()
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text(value)
    if field.type == FieldDescriptor.TYPE_DOUBLE and value.is_integer():
        return int(value)
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        return value
    name = field.message_type.full_name
    writer = _WRITERS.get(name)
    if writer is not None:
        return writer(value)
    return _object(value, _metadata_struct() if name == f"{_META}.ObjectMeta" else struct)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        # What is no UTF-8 is handed out as bytes.
        raise _unreadable("a string is no UTF-8")
    return value


def _moment(value: Any) -> datetime | None:
    if not value.HasField("seconds"):
        return None
    try:
        return datetime.fromtimestamp(value.seconds, UTC).replace(microsecond=value.nanos // 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise _unreadable(str(error)) from None


def _time(value: Any) -> str | None:
    moment = _moment(value)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else None


def _micro_time(value: Any) -> str | None:
    moment = _moment(value)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment is not None else None


def _json(data: bytes) -> Any:
    try:
        # As strict as with a body in JSON: no NaN, no half of a character.
        return msgspec.json.decode(data) if data else None
    except RecursionError:
        raise too_deep() from None
    except (ValueError, msgspec.DecodeError) as error:
        raise _unreadable(str(error)) from None


def _schema(value: Any) -> Object:
    return _object(value.schema, _schema_struct())


def _of_schema(name: str) -> str:
    """The JSON name of a schema's field, where it is no identifier."""
    if name in ("ref", "schema"):
        return f"${name}"
    if name.startswith("xKubernetes"):
        return re.sub("[A-Z]", lambda found: "-" + found.group().lower(), name)
    return name


@cache
def _metadata_struct() -> Struct | None:
    # The same for every kind, also for those without a table of their own.
    kind = struct_of("", "ConfigMap")
    return kind.fields["metadata"].struct if kind is not None else None


@cache
def _schema_struct() -> Struct | None:
    definition = struct_of("apiextensions.k8s.io", "CustomResourceDefinition")
    for name in ("spec", "versions", "schema", "openAPIV3Schema"):
        assert definition is not None
        field = definition.fields[name]
        definition = field.struct or (field.inner.struct if field.inner else None)
    return definition


_WRITERS: Mapping[str, Callable[[Any], Any]] = {
    f"{_META}.Time": _time,
    f"{_META}.MicroTime": _micro_time,
    f"{_META}.FieldsV1": lambda value: _json(value.Raw),
    "k8s.io.apimachinery.pkg.api.resource.Quantity": lambda value: _text(value.string) or None,
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": lambda value: (
        _text(value.strVal) if value.type == 1 else value.intVal
    ),
    "k8s.io.apimachinery.pkg.runtime.RawExtension": lambda value: _json(value.raw),
    "k8s.io.api.authorization.v1.ExtraValue": lambda value: list(value.items),
    "k8s.io.api.authentication.v1.ExtraValue": lambda value: list(value.items),
    f"{_EXTENSIONS}.JSON": lambda value: _json(value.raw),
    f"{_EXTENSIONS}.JSONSchemaPropsOrBool": lambda value: (
        _schema(value) if value.HasField("schema") else value.allows
    ),
    f"{_EXTENSIONS}.JSONSchemaPropsOrArray": lambda value: (
        [_object(one, _schema_struct()) for one in value.jSONSchemas] if value.jSONSchemas else _schema(value)
    ),
    f"{_EXTENSIONS}.JSONSchemaPropsOrStringArray": lambda value: (
        _schema(value) if value.HasField("schema") else list(value.property)
    ),
}
"""Messages with a JSON form of their own; ``None`` is nothing."""
