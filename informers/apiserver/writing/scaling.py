"""The ``scale`` subresource of every scalable kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from informers.apiserver import fields
from informers.apiserver.errors import Cause, StatusError
from informers.apiserver.errors.refusals import bad_request, invalid, not_found, wrong_name
from informers.apiserver.fields import managed
from informers.apiserver.fields.paths import FieldSet, field
from informers.apiserver.kinds.registry import ResourceType, ScalePaths
from informers.apiserver.requests.calls import Call, ObjectOutcome
from informers.apiserver.schema import compile_schema
from informers.apiserver.schema.bundle import builtin_schemas
from informers.apiserver.store import Stored
from informers.apiserver.writing.applying import applied_intent, require_manager
from informers.apiserver.writing.backend import Backend
from informers.apiserver.writing.patch_formats import json_patch, merge_patch
from informers.apiserver.writing.patching import APPLY_PATCH, MERGE_PATCH, check_not_forced
from informers.apiserver.writing.updating import check_expected, update_object, version_of
from informers.apiserver.writing.write import Write
from informers.objects import Object, Resource

_SCALE = Resource("autoscaling", "v1", "scales", "Scale")
_COUNT: FieldSet = frozenset([(field("spec"), field("replicas"))])


def scale(backend: Backend, call: Call) -> ObjectOutcome:
    """GET, PUT and PATCH of a scale."""
    write = Write(backend, call)
    live = write.live()
    paths = call.info.type.scale
    if live is None or paths is None:
        raise not_found(call.info.type.resource, call.info.name)
    current = _scale_of(live.obj, paths)
    if call.info.type.custom and call.info.verb == "get" and _at(live.obj, paths.replicas) is None:
        why = f'the spec replicas field "{paths.replicas}" does not exist'
        text = f"Internal error occurred: {why}"
        raise StatusError(500, "InternalError", text, {"causes": [{"message": why}]})
    if call.info.verb == "get":
        return ObjectOutcome(200, current)
    if call.content_type == APPLY_PATCH:
        return _apply(write, live, paths)
    sent = _sent(write, current)
    replicas = _replicas(write, sent, live)
    path = paths.replicas.strip(".").split(".")
    # A count nobody owns stays without an owner.
    outcome = update_object(
        write, _with(live.obj, path, replicas), live, applied=not _is_owned(live.obj, path)
    )
    return ObjectOutcome(outcome.code, _scale_of(outcome.obj, paths), None, outcome.warnings)


def _apply(write: Write, live: Stored, paths: ScalePaths) -> ObjectOutcome:
    """Apply to the scale as if it were an object, and take its count and its owners over."""
    require_manager(write)
    current = _scale_of(live.obj, paths)
    path = paths.replicas.strip(".").split(".")
    owners = managed.read(live.obj["metadata"].get("managedFields")) or {}
    current["metadata"]["managedFields"] = managed.written(_seen_on_scale(owners, path))
    intent = applied_intent(replace(write.info, type=_scale_type()), write.call.body)
    check_expected(write, version_of(intent), live, required=False)
    merged = fields.apply(
        current,
        intent,
        _scale_type().schema,
        write.manager(applies=True)._replace(api_version=_SCALE.api_version),
        force=bool(write.options.force),
        now=write.now,
        ignore=[("status",)],
    )
    if merged is current:
        return ObjectOutcome(200, _scale_of(live.obj, paths), None, tuple(write.warnings))
    scaled = managed.read(merged["metadata"].get("managedFields")) or {}
    entries = managed.written(_seen_on_object(owners, scaled, path, write.type.resource.api_version))
    changed = _with(live.obj, path, _replicas(write, merged, live))
    changed["metadata"] = {**live.obj["metadata"], "managedFields": entries}
    outcome = update_object(write, changed, live, applied=True)
    return ObjectOutcome(outcome.code, _scale_of(outcome.obj, paths), None, outcome.warnings)


def _seen_on_scale(owners: managed.Managed, path: Sequence[str]) -> managed.Managed:
    """Who owns the count of an object, as owners of the count of its scale."""
    wanted = tuple(map(field, path))
    seen: managed.Managed = {}
    for entry in owners.values():
        if wanted in entry.fields:
            manager = entry.manager._replace(api_version=_SCALE.api_version)
            seen[manager.identity] = managed.Entry(manager, _COUNT, entry.time)
    return seen


def _seen_on_object(
    owners: managed.Managed, scaled: managed.Managed, path: Sequence[str], api_version: str
) -> managed.Managed:
    """The owners of an object's fields, its count owned by those who own a part of its scale now."""
    wanted = frozenset([tuple(map(field, path))])
    left = dict(scaled)
    seen: managed.Managed = {}
    for identity, entry in owners.items():
        on_scale = left.pop(entry.manager._replace(api_version=_SCALE.api_version).identity, None)
        if on_scale is None:
            seen[identity] = entry.changed(entry.fields - wanted)
        else:
            changed = entry.fields != entry.fields | wanted or on_scale.time != entry.time
            fields_now = entry.fields | wanted
            seen[identity] = managed.Entry(entry.manager, fields_now, on_scale.time) if changed else entry
    for entry in left.values():
        manager = entry.manager._replace(api_version=api_version)
        seen[manager.identity] = managed.Entry(manager, wanted, entry.time)
    return seen


@cache
def _scale_type() -> ResourceType:
    schema = compile_schema(builtin_schemas()[_SCALE.group, _SCALE.version, _SCALE.kind])
    return ResourceType(_SCALE, "scale", schema=schema)


def _sent(write: Write, current: Object) -> Any:
    body = write.call.body
    if write.info.verb == "update":
        return body
    check_not_forced(write)
    if isinstance(body, list):
        return json_patch(current, body)
    if not isinstance(body, dict):
        raise bad_request(f"the patch is not an object; {MERGE_PATCH} requires one")
    # A scale has neither lists nor directives: a strategic merge is a merge.
    return merge_patch(current, body)


def _replicas(write: Write, sent: Any, live: Stored) -> int:
    if not isinstance(sent, Mapping) or sent.get("kind") not in (None, "Scale"):
        raise bad_request("the body of the request is not a Scale")
    metadata, spec = sent.get("metadata") or {}, sent.get("spec") or {}
    if not isinstance(metadata, Mapping) or not isinstance(spec, Mapping):
        raise bad_request("metadata and spec of a Scale must be objects")
    if metadata.get("name") not in (None, "", live.key.name):
        raise wrong_name(metadata["name"], live.key.name)
    check_expected(write, metadata, live, required=False)
    replicas = spec.get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise bad_request("spec.replicas is not an integer")
    if replicas < 0:
        raise _negative(write.type, live.key.name, replicas)
    return replicas


def _negative(type_: ResourceType, name: str, replicas: int) -> StatusError:
    if type_.custom and type_.scale is not None:
        text = f"Invalid value: {replicas}: should be a non-negative integer"
        return invalid(type_.resource, name, [Cause("FieldValueInvalid", text, type_.scale.replicas)])
    text = f"Invalid value: {replicas}: must be greater than or equal to 0"
    return invalid(_SCALE, name, [Cause("FieldValueInvalid", text, "spec.replicas")])


def _is_owned(obj: Object, path: Sequence[str]) -> bool:
    entries = managed.read(obj["metadata"].get("managedFields")) or {}
    wanted = tuple(f"f:{part}" for part in path)
    return any(wanted in entry.fields for entry in entries.values())


def _scale_of(obj: Object, paths: ScalePaths) -> Object:
    metadata = obj["metadata"]
    status: Object = {"replicas": _at(obj, paths.status_replicas) or 0}
    selector = _at(obj, paths.selector) if paths.selector else None
    if selector:
        status["selector"] = selector if isinstance(selector, str) else _selector_text(selector)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: metadata[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in metadata
        },
        "spec": {"replicas": replicas} if (replicas := _at(obj, paths.replicas)) else {},
        "status": status,
    }


def _selector_text(selector: Mapping[str, Any]) -> str:
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        key, operator = one["key"], one["operator"]
        if operator in ("In", "NotIn"):
            terms.append(f"{key} {operator.lower()} ({','.join(sorted(one['values']))})")
        else:
            terms.append(key if operator == "Exists" else f"!{key}")
    return ",".join(sorted(terms))


def _at(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.strip(".").split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _with(obj: Object, path: list[str], value: Any) -> Object:
    below = value if len(path) == 1 else _with(obj.get(path[0]) or {}, path[1:], value)
    return {**obj, path[0]: below}
