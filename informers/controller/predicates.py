"""Which changes are worth a reconcile. Pure, and cheap: nothing is decoded unless it must be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from informers.cache.informer import Delta
from informers.views.typed import read_status
from informers.views.view import View

Predicate: TypeAlias = Callable[[Delta], bool]

READY = "Ready"


def spec_changed(delta: Delta) -> bool:
    """What people ask for has changed: the generation, deletion, finalizers, labels or annotations.

    Creations and deletions always count. A status, written by the controller itself, does not. Kinds without
    a generation, such as ConfigMaps, Secrets and Services, say no more than that something has changed; of
    them every new version counts.
    """
    old, new = delta.old, delta.new
    if old is None or new is None or old.uid != new.uid:
        return True
    if not new.generation and old.resource_version != new.resource_version:
        return True
    return (
        old.generation != new.generation
        or old.deleting != new.deleting
        or old.finalizers != new.finalizers
        or marked_anew(old, new)
    )


def marked_anew(old: View, new: View) -> bool:
    """Labels or annotations have changed. Mostly they have not, and then not even their JSON has."""
    before, after = old.metadata, new.metadata
    return (bytes(before.labels) != bytes(after.labels) and old.labels != new.labels) or (
        bytes(before.annotations) != bytes(after.annotations) and old.annotations != new.annotations
    )


def ready_changed(delta: Delta) -> bool:
    """What dependents look at has changed: the ``Ready`` condition's status, deletion, the generation, and
    of pods the phase and the address. Creations and deletions always count."""
    old, new = delta.old, delta.new
    if old is None or new is None or old.uid != new.uid:
        return True
    if old.generation != new.generation or old.deleting != new.deleting:
        return True
    return old.resource_version != new.resource_version and _readiness(old) != _readiness(new)


def any_of(*predicates: Predicate) -> Predicate:
    """Passes what at least one predicate passes."""
    return lambda delta: any(predicate(delta) for predicate in predicates)


def all_of(*predicates: Predicate) -> Predicate:
    """Passes what every predicate passes."""
    return lambda delta: all(predicate(delta) for predicate in predicates)


def _readiness(view: View) -> tuple[Any, ...]:
    status: Mapping[str, Any] = read_status(view, dict[str, Any]) or {}
    conditions = status.get("conditions") or ()
    ready = next((one.get("status") for one in conditions if one.get("type") == READY), None)
    return ready, status.get("phase"), status.get("podIP")
