"""``ObjectMeta``: the fields the server sets, immutable fields, validation."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from informers.apiserver.errors import Cause
from informers.apiserver.errors.causes import invalid
from informers.apiserver.kinds.registry import ResourceType
from informers.apiserver.kinds.table import DEFINITION
from informers.apiserver.values.names import check_annotations, check_labels, dns_subdomain, label_key
from informers.objects import Object

_SERVER_OWNED = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "resourceVersion",
    "selfLink",
    "uid",
)
_STANDARD_FINALIZERS = frozenset({"foregroundDeletion", "kubernetes", "orphan"})


def new_uid(rng: random.Random) -> str:
    """A random UUID, from the server's own source of randomness so that runs can be repeated."""
    digits = f"{rng.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def born(sent: Object, *, namespace: str, uid: str, now: str, generation: bool) -> Object:
    """The metadata of a new object."""
    metadata = _cleaned({key: value for key, value in sent.items() if key not in _SERVER_OWNED})
    if namespace:
        metadata["namespace"] = namespace
    metadata["uid"] = uid
    metadata["creationTimestamp"] = now
    if generation:
        metadata["generation"] = 1
    return metadata


def carried_over(sent: Object, old: Object) -> Object:
    """The metadata of an update: what the server owns stays, whatever was sent."""
    metadata = _cleaned({key: value for key, value in sent.items() if key not in ("generation", "selfLink")})
    for name in ("creationTimestamp", "generation", "resourceVersion"):
        metadata.pop(name, None)
        if name in old:
            metadata[name] = old[name]
    for name in ("name", "namespace", "uid"):
        if not metadata.get(name) and name in old:
            metadata[name] = old[name]
    for name in ("deletionGracePeriodSeconds", "deletionTimestamp"):
        if name in old:
            metadata[name] = old[name]
    return metadata


def _cleaned(metadata: Object) -> Object:
    """Without what is empty: the server does not store it."""
    return {key: value for key, value in metadata.items() if value not in (None, "", {}, [])}


def check_metadata(new: Object, old: Object | None, type_: ResourceType) -> Iterator[Cause]:
    """What is wrong with an object's metadata.

    :param old: what it replaces.
    """
    metadata = new["metadata"]
    before = old["metadata"] if old is not None else None
    if type_.custom and before is None:
        for problem in dns_subdomain(metadata["name"]):
            yield invalid("metadata.name", metadata["name"], problem)
    if before is None or metadata.get("labels") != before.get("labels"):
        yield from check_labels(metadata.get("labels") or {}, "metadata.labels")
    if before is None or metadata.get("annotations") != before.get("annotations"):
        yield from check_annotations(metadata.get("annotations") or {}, "metadata.annotations")
    yield from _owners(metadata.get("ownerReferences") or ())
    yield from _finalizers(metadata.get("finalizers") or (), type_)
    if before is not None:
        yield from _immutable(metadata, before)


def _finalizers(names: Sequence[str], type_: ResourceType) -> Iterator[Cause]:
    for name in names:
        for problem in label_key(name):
            yield invalid("metadata.finalizers", name, problem)
    if type_.custom or type_.resource == DEFINITION:
        return
    for position, name in enumerate(names):
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            yield invalid(f"metadata.finalizers[{position}]", name, text)


def _immutable(metadata: Object, before: Object) -> Iterator[Cause]:
    for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"):
        if metadata.get(name) != before.get(name):
            yield invalid(f"metadata.{name}", metadata.get(name), "field is immutable")
    if before.get("deletionTimestamp"):
        kept = before.get("finalizers") or ()
        added = sorted(set(metadata.get("finalizers") or ()) - set(kept))
        if added:
            listed = "[]string{" + ", ".join(f'"{name}"' for name in added) + "}"
            yield Cause(
                "FieldValueForbidden",
                "Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers {listed}",
                "metadata.finalizers",
            )


def _owners(references: Any) -> Iterator[Cause]:
    controllers: list[str] = []
    for position, reference in enumerate(references):
        path = f"metadata.ownerReferences[{position}]"
        if not isinstance(reference, Mapping):
            continue
        for name in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(name):
                yield Cause("FieldValueRequired", "Required value: must not be empty", f"{path}.{name}")
        version = reference.get("apiVersion")
        if version and (version.count("/") > 1 or version.endswith("/")):
            yield invalid(f"{path}.apiVersion", version, "must be <group>/<version> or <version>")
        if (reference.get("apiVersion"), reference.get("kind")) == ("v1", "Event"):
            yield invalid(path, dict(reference), "/v1, Kind=Event is disallowed from being an owner")
        if reference.get("controller"):
            controllers.append(f"{reference.get('kind')}/{reference.get('name')}")
    if len(controllers) > 1:
        yield invalid(
            "metadata.ownerReferences",
            list(references),
            'Only one reference can have Controller set to true. Found "true" in references for '
            f"{controllers[0]} and {controllers[1]}",
        )


def finalizer_warnings(metadata: Object) -> Iterator[str]:
    """Finalizers that work, but may collide with others."""
    for name in metadata.get("finalizers") or ():
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            yield (
                f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name including a path '
                "(/) to avoid accidental conflicts with other finalizer writers"
            )
