"""Whether the body is an object of the kind, name and namespace that the path names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.errors.refusals import bad_request, invalid, wrong_name
from informers.apiserver.requests.routes import RequestInfo
from informers.apiserver.schema.bundle import builtin_schemas
from informers.objects import Object, Resource

_SCHEME = "pkg/runtime/scheme.go:111"
"""Where a real server keeps its list of kinds; part of what it says about kinds that are not on it."""


def require_identity(info: RequestInfo, body: Any, *, fill_namespace: bool = True) -> Object:
    """The sent object, with kind, version, name and namespace filled in from the path.

    :raises StatusError: 400 when it says something else than the path, 422 for a custom resource of another
        kind.
    """
    resource = info.type.resource
    if not isinstance(body, dict):
        raise _unrecognized(body, resource)
    kind, api_version = body.get("kind"), body.get("apiVersion")
    if info.type.custom and not kind:
        raise bad_request("Object 'Kind' is missing in the body of the request")
    if not info.type.custom:
        _check_kind(resource, str(kind or resource.kind), str(api_version or resource.api_version))
    if api_version and api_version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    if kind and kind != resource.kind:
        name = str((body.get("metadata") or {}).get("name") or "")
        text = f'Invalid value: "{kind}": must be {resource.kind}'
        raise invalid(replace(resource, kind=kind), name, [Cause("FieldValueInvalid", text, "kind")])
    metadata = body.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise bad_request("metadata is not an object")
    found = dict(metadata or {})
    _check_place(info, found)
    if info.namespace and fill_namespace:
        found["namespace"] = info.namespace
    return {**body, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": found}


def _unrecognized(body: Any, resource: Resource) -> StatusError:
    """400: the body is no object at all."""
    kinds: dict[type, str] = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    header = (
        r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
    )
    shown = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode().hex()
    found = kinds.get(type(body), "null")
    return bad_request(
        f"the object provided is unrecognized (must be of type {resource.kind}): couldn't get version/kind; "
        f"json parse error: json: cannot unmarshal {found} into Go value of type {header} ({shown})"
    )


def _check_kind(resource: Resource, kind: str, api_version: str) -> None:
    """:raises StatusError: 400 when the body is of another built-in kind, or of none."""
    if (api_version, kind) == (resource.api_version, resource.kind):
        return
    group, _, version = api_version.rpartition("/")
    if (group, version, kind) in builtin_schemas():
        internal = resource.group.partition(".")[0] or "core"
        why = f"converting ({version}.{kind}) to ({internal}.{resource.kind}): unknown conversion"
    else:
        why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    raise bad_request(f'{kind} in version "{version}" cannot be handled as a {resource.kind}: {why}')


def _check_place(info: RequestInfo, metadata: dict[str, Any]) -> None:
    name, namespace = metadata.get("name"), metadata.get("namespace")
    for value in (name, namespace, metadata.get("generateName")):
        if value is not None and not isinstance(value, str):
            raise bad_request("names must be strings")
    if info.name:
        if name and name != info.name:
            raise wrong_name(name, info.name)
        metadata["name"] = info.name
    if namespace and namespace != info.namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
