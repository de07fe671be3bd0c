"""Validation of volumes and volume mounts. No path in them may lead out of the volume."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import (
    duplicate,
    each_invalid,
    forbidden,
    invalid,
    required,
    unsupported,
)
from informers.apiserver.values.names import dns_label
from informers.objects import Object

_MOST_MODE = 0o777
_SHORTEST_TOKEN = 600
_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_SUBSCRIPTS = ("metadata.annotations['", "metadata.labels['")


def validate_volume(volume: Object, field: str, names: set[str]) -> Iterator[Cause]:
    """A volume of a pod.

    :param names: of the volumes before it; the name of this one is added.
    """
    name = str(volume.get("name") or "")
    if not name:
        yield required(f"{field}.name")
    else:
        yield from each_invalid(f"{field}.name", name, dns_label(name))
        if name in names:
            yield duplicate(f"{field}.name", name)
    sources = [kind for kind in volume if kind != "name"]
    for kind in sources[1:]:
        yield forbidden(f"{field}.{kind}", "may not specify more than 1 volume type")
    names.add(name)
    for kind in sources[:1]:
        if kind in _CHECKS and isinstance(volume[kind], dict):
            yield from _CHECKS[kind](volume[kind], f"{field}.{kind}")


def validate_sub_path(mount: Object, field: str) -> Iterator[Cause]:
    """Where in its volume a mount begins."""
    for name in ("subPath", "subPathExpr"):
        if mount.get(name):
            yield from _descending(str(mount[name]), f"{field}.{name}")
    if mount.get("subPath") and mount.get("subPathExpr"):
        detail = "subPathExpr and subPath are mutually exclusive"
        yield invalid(f"{field}.subPathExpr", mount["subPathExpr"], detail)


def _descending(path: str, field: str) -> Iterator[Cause]:
    if path.startswith("/"):
        yield invalid(field, path, "must be a relative path")
    yield from _no_way_up(path, field)


def _no_way_up(path: str, field: str) -> Iterator[Cause]:
    if ".." in path.split("/"):
        yield invalid(field, path, "must not contain '..'")


def _file(path: Any, field: str) -> Iterator[Cause]:
    """A path of a file that the node makes in a volume."""
    if not path:
        yield required(field)
        return
    yield from _descending(str(path), field)
    # Names that begin so are the node's own.
    if str(path).startswith("..") and not str(path).startswith("../"):
        yield invalid(field, path, "must not start with '..'")


def _mode(mode: Any, field: str) -> Iterator[Cause]:
    if isinstance(mode, int) and not 0 <= mode <= _MOST_MODE:
        yield invalid(field, mode, "must be a number between 0 and 0777 (octal), both inclusive")


def _items(source: Object, field: str) -> Iterator[Cause]:
    yield from _mode(source.get("defaultMode"), f"{field}.defaultMode")
    for position, item in enumerate(source.get("items") or ()):
        inner = f"{field}.items[{position}]"
        if not item.get("key"):
            yield required(f"{inner}.key")
        yield from _file(item.get("path"), f"{inner}.path")
        yield from _mode(item.get("mode"), f"{inner}.mode")


def _config_map(source: Object, field: str) -> Iterator[Cause]:
    if not source.get("name"):
        yield required(f"{field}.name")
    yield from _items(source, field)


def _secret(source: Object, field: str) -> Iterator[Cause]:
    if not source.get("secretName"):
        yield required(f"{field}.secretName")
    yield from _items(source, field)


def _downward(source: Object, field: str) -> Iterator[Cause]:
    yield from _mode(source.get("defaultMode"), f"{field}.defaultMode")
    for item in source.get("items") or ():
        # Servers do not say which of the items it is.
        yield from _file(item.get("path"), f"{field}.path")
        yield from _told(item, field)
        yield from _mode(item.get("mode"), f"{field}.mode")


def _told(item: Object, field: str) -> Iterator[Cause]:
    reference, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if isinstance(reference, dict):
        path = str(reference.get("fieldPath") or "")
        if not path:
            yield required(f"{field}.fieldRef.fieldPath")
        elif path not in _FIELDS and not path.startswith(_SUBSCRIPTS):
            yield unsupported(f"{field}.fieldRef.fieldPath", path, _FIELDS)
        if resource is not None:
            both = "fieldRef and resourceFieldRef can not be specified simultaneously"
            yield invalid(field, "resource", both)
    elif not isinstance(resource, dict):
        yield required(field, "one of fieldRef and resourceFieldRef is required")
    elif not resource.get("containerName"):
        yield required(f"{field}.resourceFieldRef.containerName")


def _projected(source: Object, field: str) -> Iterator[Cause]:
    yield from _mode(source.get("defaultMode"), f"{field}.defaultMode")
    seen: set[str] = set()
    for position, one in enumerate(source.get("sources") or ()):
        inner = f"{field}.sources[{position}]"
        kinds = [kind for kind in one if isinstance(one[kind], dict)]
        if len(kinds) > 1:
            yield forbidden(inner, "may not specify more than 1 volume type per source")
        for kind in kinds[:1]:
            yield from _source(kind, one[kind], inner, field)
            yield from _conflicts(kind, one[kind], field, seen)


def _source(kind: str, source: Object, inner: str, field: str) -> Iterator[Cause]:
    here = f"{inner}.{kind}"
    if kind in ("configMap", "secret"):
        if not source.get("name"):
            yield required(f"{here}.name")
        yield from _items(source, here)
    elif kind == "downwardAPI":
        yield from _downward(source, here)
    elif kind == "serviceAccountToken":
        seconds = source.get("expirationSeconds")
        if isinstance(seconds, int) and seconds < _SHORTEST_TOKEN:
            detail = "may not specify a duration less than 10 minutes"
            yield invalid(f"{here}.expirationSeconds", seconds, detail)
        yield from _file(source.get("path"), f"{field}.path")


def _conflicts(kind: str, source: Object, field: str, seen: set[str]) -> Iterator[Cause]:
    paths = [source.get("path")] if kind == "serviceAccountToken" else []
    paths += [item.get("path") for item in source.get("items") or ()]
    for path in paths:
        if path and path in seen:
            yield invalid(field, source.get("name") or path, "conflicting duplicate paths")
        seen.add(str(path))


def _claim(source: Object, field: str) -> Iterator[Cause]:
    if not source.get("claimName"):
        yield required(f"{field}.claimName")


def _host_path(source: Object, field: str) -> Iterator[Cause]:
    if not source.get("path"):
        yield required(f"{field}.path")
    else:
        yield from _no_way_up(str(source["path"]), f"{field}.path")


_CHECKS = {
    "configMap": _config_map,
    "downwardAPI": _downward,
    "hostPath": _host_path,
    "persistentVolumeClaim": _claim,
    "projected": _projected,
    "secret": _secret,
}
