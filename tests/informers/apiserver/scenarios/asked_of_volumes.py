"""Pods whose volumes lead somewhere else, or say too much, and what kube-apiserver 1.37.2 says of them."""

from __future__ import annotations

from typing import Any

from informers.objects import Object

_INVALID, _REQUIRED, _FORBIDDEN = "FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"
_UP = "must not contain '..'"
_OWN = "must not start with '..'"
_RELATIVE = "must be a relative path"
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
# Path, what is wrong with it as a file's, and what as a sub path.
_PATHS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("../x", (_UP,), (_UP,)),
    ("a/../b", (_UP,), (_UP,)),
    ("a/..", (_UP,), (_UP,)),
    ("..", (_UP, _OWN), (_UP,)),
    ("..data", (_OWN,), ()),
    ("/abs", (_RELATIVE,), (_RELATIVE,)),
    ("/../x", (_RELATIVE, _UP), (_RELATIVE, _UP)),
    ("a/..b", (), ()),
    ("./x", (), ()),
    ("a//b", (), ()),
)

Wanted = list[tuple[str, str, str]]
"""Reason, message and field of each cause; empty when the pod is taken."""


def pod(volume: Object | None = None, mount: Object | None = None) -> Object:
    """A pod with one volume ``v``, mounted when ``mount`` says how."""
    container: Object = {"name": "a", "image": "b"}
    if mount:
        container["volumeMounts"] = [{"name": "v", "mountPath": "/m", **mount}]
    volumes = [{"name": "v", **(volume or {"emptyDir": {}})}]
    spec = {"containers": [container], "volumes": volumes}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "volumes"}, "spec": spec}


def _wrong(path: str, problems: tuple[str, ...], field: str) -> Wanted:
    return [(_INVALID, f'Invalid value: "{path}": {problem}', field) for problem in problems]


def _item(path: str = "p", **fields: Any) -> Object:
    return {"key": "k", "path": path, **fields}


def _projected(*sources: Object, **fields: Any) -> Object:
    return pod({"projected": {"sources": list(sources), **fields}})


_NAME = {"fieldRef": {"fieldPath": "metadata.name"}}
_AT = "spec.volumes[0]"


def cases() -> dict[str, tuple[Object, Wanted]]:
    """Pod and answer by title."""
    found: dict[str, tuple[Object, Wanted]] = {}
    for path, file, sub in _PATHS:
        items = f"{_AT}.configMap.items[0].path"
        found[f"config map {path}"] = (
            pod({"configMap": {"name": "c", "items": [_item(path)]}}),
            _wrong(path, file, items),
        )
        found[f"secret {path}"] = (
            pod({"secret": {"secretName": "s", "items": [_item(path)]}}),
            _wrong(path, file, f"{_AT}.secret.items[0].path"),
        )
        found[f"downward {path}"] = (
            pod({"downwardAPI": {"items": [{"path": path, **_NAME}]}}),
            _wrong(path, file, f"{_AT}.downwardAPI.path"),
        )
        for kind in ("configMap", "secret"):
            found[f"projected {kind} {path}"] = (
                _projected({kind: {"name": "c", "items": [_item(path)]}}),
                _wrong(path, file, f"{_AT}.projected.sources[0].{kind}.items[0].path"),
            )
        found[f"projected downward {path}"] = (
            _projected({"downwardAPI": {"items": [{"path": path, **_NAME}]}}),
            _wrong(path, file, f"{_AT}.projected.sources[0].downwardAPI.path"),
        )
        for name in ("subPath", "subPathExpr"):
            found[f"{name} {path}"] = (
                pod(mount={name: path}),
                _wrong(path, sub, f"spec.containers[0].volumeMounts.{name}"),
            )
    return found | _other_problems() | _downward_problems()


def _other_problems() -> dict[str, tuple[Object, Wanted]]:
    maps = f"{_AT}.configMap"
    return {
        "no key and no path": (
            pod({"configMap": {"name": "c", "items": [{"key": "", "path": ""}]}}),
            [
                (_REQUIRED, "Required value", f"{maps}.items[0].key"),
                (_REQUIRED, "Required value", f"{maps}.items[0].path"),
            ],
        ),
        "modes": (
            pod({"configMap": {"name": "c", "defaultMode": 9999, "items": [_item(mode=-1)]}}),
            [
                (_INVALID, f"Invalid value: 9999: {_MODE}", f"{maps}.defaultMode"),
                (_INVALID, f"Invalid value: -1: {_MODE}", f"{maps}.items[0].mode"),
            ],
        ),
        "modes of a projection": (
            _projected(defaultMode=9999),
            [(_INVALID, f"Invalid value: 9999: {_MODE}", f"{_AT}.projected.defaultMode")],
        ),
        "the same path twice": (
            _projected(
                {"configMap": {"name": "a", "items": [_item("x")]}},
                {"secret": {"name": "b", "items": [_item("x")]}},
            ),
            [(_INVALID, 'Invalid value: "b": conflicting duplicate paths', f"{_AT}.projected")],
        ),
        "two kinds in one source": (
            _projected({"configMap": {"name": "a"}, "secret": {"name": "b"}}),
            [
                (
                    _FORBIDDEN,
                    "Forbidden: may not specify more than 1 volume type per source",
                    f"{_AT}.projected.sources[0]",
                )
            ],
        ),
        "a host path": (
            pod({"hostPath": {"path": "/a/../b"}}),
            [(_INVALID, f'Invalid value: "/a/../b": {_UP}', f"{_AT}.hostPath.path")],
        ),
    }


def _downward_problems() -> dict[str, tuple[Object, Wanted]]:
    down = f"{_AT}.downwardAPI"
    fields = ", ".join(f'"metadata.{name}"' for name in ("annotations", "labels", "name", "namespace", "uid"))
    return {
        "no field": (
            pod({"downwardAPI": {"items": [{"path": "a"}]}}),
            [(_REQUIRED, "Required value: one of fieldRef and resourceFieldRef is required", down)],
        ),
        "another field": (
            pod({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "spec.nodeName"}}]}}),
            [
                (
                    "FieldValueNotSupported",
                    f'Unsupported value: "spec.nodeName": supported values: {fields}',
                    f"{down}.fieldRef.fieldPath",
                )
            ],
        ),
        "no container": (
            pod({"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            [(_REQUIRED, "Required value", f"{down}.resourceFieldRef.containerName")],
        ),
    }
